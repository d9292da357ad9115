"""Issuing certificates to a fleet of stand-in hosts, over real Ansible, with the real CA and store.

What a host's commit would have made is prepared beforehand: its key and its signing request.
"""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from remediator import wire
from remediator.access import Access, Secret
from remediator.catalogue import load_catalogue
from remediator.errors import HostError
from remediator.exit_codes import ExitCode
from remediator.harden import make_key_for_driver
from remediator.host import Program
from remediator.host.commit import staged_pair
from remediator.inventory import load_inventory
from remediator.observation import parse_observation
from remediator.request import compile_request
from remediator.session import Session, SessionDirectory
from remediator.tls.authority import Authority, create_authority, open_authority
from remediator.tls.certificates import faults, names_of, public_sha256, read_chain
from remediator.tls.issue import KEY, NEEDS, REQUEST, Desk, IssuedHost, exit_code, issue_certificates
from remediator.tls.names import Names, common_name
from remediator.tls.store import Store
from remediator.views.terminal import TerminalView
from tests.unit import stand_in
from tests.unit.stand_in_keys import Made, host_seen, pair

PASSPHRASE = "correct horse battery staple"
RUN = "01JD0000000000000000000000"
NOW = datetime.now(UTC)
LONG = f"web1.{'x' * 40}.{'y' * 40}.example"


class Fleet:
    """Stand-in hosts, a CA, and a store in which some hosts have certificates already."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Store(directory / "tls")
        create_authority(self.store, Secret(PASSPHRASE), NOW)
        self.authority: Authority = open_authority(self.store, lambda: Secret(PASSPHRASE))
        self._lines: dict[str, str] = {}
        self._commits: dict[str, str] = {}
        self._seen: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self.made: dict[str, Made] = {}

    def add(
        self,
        name: str,
        *,
        commit: str = "applied",
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        made: Made | None = None,
        variables: str = "",
    ) -> None:
        self.made[name] = made or pair(name)
        self._commits[name] = commit
        self._seen[name] = (dict(before or host_seen(None)), dict(after or host_seen(self.made[name])))
        self._lines[name] = variables

    def hold(self, name: str, made: Made, days_ago: int = 0, names: Iterable[str] | None = None) -> None:
        """Have a certificate in the store that was issued `days_ago`."""
        bears = Names(tuple(names or (name,)))
        pem = self.authority.sign_host(made.request, name, bears, NOW - timedelta(days=days_ago))
        self.store.save_host(name, pem)

    def make(self) -> None:
        inventory = stand_in.fleet(self.directory, self._commits)
        lines = inventory.read_text().splitlines()
        lines = [f"{line} {self._lines[line.split()[0]]}" for line in lines]
        lines.append("down ansible_host=127.0.0.1 ansible_port=1 ansible_connection=ssh")
        inventory.write_text("\n".join(lines) + "\n")
        for name, (before, after) in self._seen.items():
            (self.directory / name / "observation.json").write_text(json.dumps(before))
            (self.directory / name / "after.json").write_text(json.dumps(after))

    def issue(self, limit: str, renew: bool = False) -> dict[str, IssuedHost]:
        access = Access(sources=(str(self.directory / "hosts.ini"),), limit=limit)
        inventory = load_inventory(access, load_catalogue().defaults)
        self.progress = io.StringIO()
        view = TerminalView(io.StringIO(), self.progress, verbose=False)
        desk = Desk(self.authority, self.store, NOW, renew)
        hosts = issue_certificates(inventory, access, desk, view, RUN, "ann@controller")
        assert [host.host for host in hosts] == [host.name for host in inventory.hosts]
        return {host.host: host for host in hosts}

    def certificate(self, name: str) -> x509.Certificate:
        return read_chain(self.store.host_certificate(name).read_bytes())[0]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Every way for a host to end, in one fleet."""
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    made.add("fresh", variables='docker_tls_names=\'["www.example", "192.0.2.7"]\'')
    made.add(LONG)

    waiting = pair("staged")
    made.add("staged", commit="dies", before=host_seen(waiting))
    made.hold("staged", waiting)
    serving = pair("serving")
    made.add("serving", commit="dies", before=host_seen(None, installed=serving.public))
    made.hold("serving", serving)
    old = pair("old")
    made.add("old", before=host_seen(None, installed=old.public))
    made.hold("old", old, days_ago=370)
    made.add("rebuilt")
    made.hold("rebuilt", pair("rebuilt"))
    named = pair("named")
    made.add("named", before=host_seen(named))
    made.hold("named", named, names=("named", "former.example"))

    made.add("forged", made=pair("fresh"))
    made.add("greedy", made=pair("greedy", claims="fresh"))
    made.add("mixed", after=host_seen(pair("mixed"), public_sha256=pair("mixed").public))
    made.add("empty", after=host_seen(None))
    made.add("hostile", after={"format_version": 1, "host": "\x1b[2J"})
    made.add("lock", commit="locked")
    made.add("bare", commit="refused")
    made.add("dead", commit="dies")
    made.add("user", before=host_seen(None, uid=1000))
    opened = {"run": RUN, "group": "docker", "restarts": ["docker.service"]}
    made.add("halfway", before={**host_seen(None), "state": {"open": [opened]}})
    made.add("storage", before=host_seen(None, docker=False))
    made.add("own", variables="docker_tls_cert_file=/srv/own.pem")
    made.add("twin1", variables="docker_tls_names='[\"shared.example\"]'")
    made.add("twin2", variables="docker_tls_names='[\"shared.example\"]'")
    made.add("late", variables="docker_tls_names='[\"taken.example\"]'")
    made.hold("elsewhere", pair("elsewhere"), names=("taken.example",))
    made.add("odd", variables="docker_tls_names='[\"*.example\"]'")
    made.make()
    return made


@pytest.fixture(scope="module")
def issued(fleet: Fleet) -> dict[str, IssuedHost]:
    """The results of the first call for the whole fleet."""
    return fleet.issue("all")


def told(fleet: Fleet, name: str) -> list[str]:
    return stand_in.told(fleet.directory, name)


def test_a_host_makes_its_key_and_gets_a_certificate_for_the_inventorys_names(
    fleet: Fleet, issued: dict[str, IssuedHost]
) -> None:
    certificate = fleet.certificate("fresh")
    assert issued["fresh"].result == "issued"
    assert told(fleet, "fresh") == ["observe", "commit", "observe"]
    assert stand_in.in_units(fleet.directory, "fresh") == ["commit"]
    assert names_of(certificate) == Names(("fresh", "www.example"), ("192.0.2.7",))
    assert public_sha256(certificate) == fleet.made["fresh"].public
    assert certificate.not_valid_after_utc - NOW > timedelta(days=396)
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert issued["fresh"].names == ("fresh", "www.example", "192.0.2.7")
    assert issued["fresh"].expires == certificate.not_valid_after_utc


def test_what_the_host_was_asked_for_is_one_key_under_its_own_name(fleet: Fleet, issued: dict[str, IssuedHost]) -> None:
    order = json.loads((fleet.directory / "fresh" / "order.json").read_text())
    assert (order["run"], order["host"], order["who"]) == (RUN, "fresh", "ann@controller")
    (transaction,) = order["transactions"]
    assert transaction["group"] == "tls-key"
    assert [(action["do"], action["subject"]) for action in transaction["actions"]] == [("make_key", "fresh")]
    assert transaction["activation"] == []


def test_a_name_that_is_too_long_for_a_subject_is_asked_for_as_the_ca_will_accept_it(
    fleet: Fleet, issued: dict[str, IssuedHost]
) -> None:
    order = json.loads((fleet.directory / LONG / "order.json").read_text())
    assert order["transactions"][0]["actions"][0]["subject"] == common_name(LONG)
    assert order["host"] == LONG
    assert (issued[LONG].result, issued[LONG].names) == ("issued", (LONG,))


@pytest.mark.parametrize("name", ["staged", "serving"])
def test_a_certificate_whose_key_waits_or_serves_on_the_host_is_left_as_it_is(
    fleet: Fleet, issued: dict[str, IssuedHost], name: str
) -> None:
    assert (issued[name].result, told(fleet, name)) == ("valid", ["observe"])
    assert issued[name].expires == fleet.certificate(name).not_valid_after_utc


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("old", "expires within 30 days"),
        ("rebuilt", "its key is no longer on the host"),
        ("named", "former.example"),
    ],
)
def test_a_certificate_that_is_of_no_use_any_more_is_renewed_and_the_reason_is_told(
    fleet: Fleet, issued: dict[str, IssuedHost], name: str, why: str
) -> None:
    assert issued[name].result == "renewed"
    assert why in issued[name].reason
    assert public_sha256(fleet.certificate(name)) == fleet.made[name].public
    assert names_of(fleet.certificate(name)).all == (name,)


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("forged", "request", "asks for the subject CN=fresh"),
        ("greedy", "request", "asks for names or extensions of its own"),
        ("mixed", "request", "not one of the key in"),
        ("empty", "request", "could not be read back (missing)"),
        ("hostile", "answer", "no observation document"),
        ("lock", "locked", "run 01X of ann has the lock"),
        ("bare", "key", "made no key: \\x1b[31mrefused"),
        ("dead", "answer", "without an answer"),
        ("user", "become", "--become"),
        ("down", "unreachable", "refused"),
        ("twin1", "request", "shares the name shared.example with twin2"),
        ("twin2", "request", "shares the name shared.example with twin1"),
        ("late", "request", "elsewhere (which holds a certificate for it)"),
        ("odd", "usage", "docker_tls_names"),
        ("halfway", "open", "remediate recover -i INVENTORY -l halfway"),
    ],
)
def test_a_host_that_fails_is_told_with_its_reason_and_gets_nothing(
    fleet: Fleet, issued: dict[str, IssuedHost], name: str, kind: str, why: str
) -> None:
    host = issued[name]
    assert (host.result, host.kind) == ("failed", kind), host.reason
    assert why in host.reason
    assert "\x1b" not in host.reason
    assert not host.reason.startswith(f"{name}:")
    assert not fleet.store.host_certificate(name).exists()


@pytest.mark.parametrize("name", ["twin1", "twin2", "late", "odd", "own"])
def test_a_host_that_can_get_no_certificate_is_not_even_asked(
    fleet: Fleet, issued: dict[str, IssuedHost], name: str
) -> None:
    assert told(fleet, name) == []


def test_making_a_key_does_not_restart_in_passing_what_was_interrupted(
    fleet: Fleet, issued: dict[str, IssuedHost]
) -> None:
    assert issued["halfway"].result == "failed"
    assert "commit" not in told(fleet, "halfway")


@pytest.mark.parametrize(("name", "why"), [("storage", "not installed"), ("own", "docker_tls_cert_file")])
def test_a_host_without_docker_or_with_certificates_of_its_own_is_skipped(
    fleet: Fleet, issued: dict[str, IssuedHost], name: str, why: str
) -> None:
    assert (issued[name].result, issued[name].kind) == ("skipped", "")
    assert why in issued[name].reason
    assert "commit" not in told(fleet, name)


def test_a_lock_outranks_other_failures_and_skipped_hosts_are_none(issued: dict[str, IssuedHost]) -> None:
    assert exit_code(issued.values()) == ExitCode.LOCKED
    assert exit_code([issued["fresh"], issued["down"]]) == ExitCode.FAILED
    assert exit_code([issued["fresh"], issued["staged"], issued["storage"]]) == ExitCode.DONE


def test_the_controller_has_a_client_certificate_of_its_own(fleet: Fleet, issued: dict[str, IssuedHost]) -> None:
    certificate = fleet.store.controller_certificate.read_bytes()
    assert faults(certificate, fleet.store.authority.read_bytes(), (), NOW, "client") == ()
    assert fleet.store.controller_key.stat().st_mode & 0o777 == 0o600


def test_neither_passphrase_nor_the_ca_key_is_to_be_seen_anywhere(fleet: Fleet, issued: dict[str, IssuedHost]) -> None:
    saw = json.dumps(stand_in.circumstances(fleet.directory, "fresh"))
    said = fleet.progress.getvalue() + repr(issued) + repr(fleet.authority)
    for text in (saw, said, (fleet.directory / "fresh" / "order.json").read_text()):
        assert PASSPHRASE not in text
        assert "PRIVATE KEY" not in text


def test_once_issued_it_is_left_alone_until_a_renewal_is_asked_for(fleet: Fleet, issued: dict[str, IssuedHost]) -> None:
    first = fleet.certificate("fresh")
    again = fleet.issue("fresh:storage")
    assert {name: host.result for name, host in again.items()} == {"fresh": "valid", "storage": "skipped"}
    assert told(fleet, "fresh") == ["observe", "commit", "observe", "observe"]

    new = pair("fresh")
    (fleet.directory / "fresh" / "after.json").write_text(json.dumps(host_seen(new)))
    renewed = fleet.issue("fresh:storage", renew=True)
    assert (renewed["fresh"].result, renewed["storage"].result) == ("renewed", "skipped")
    assert fleet.certificate("fresh") != first
    assert public_sha256(fleet.certificate("fresh")) == new.public


def test_the_paths_are_those_that_commit_writes() -> None:
    assert (KEY, REQUEST) == (staged_pair.KEY_PATH, staged_pair.REQUEST_PATH)


def test_what_contact_lost_after_the_key_was_made_is_an_error_and_no_answer(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def exchange(program: Program, request: bytes, secret: bytes = b"") -> bytes:
        asked.append(request)
        document = json.loads(request)
        if "transactions" in document:
            results = [
                {"group": t["group"], "outcome": "applied", "digest": t["digest"]} for t in document["transactions"]
            ]
            return json.dumps({"format_version": 1, "run": RUN, "host": "web1", "results": results}).encode()
        raise HostError("web1", "unreachable", "web1: gone")

    tmp_path.chmod(0o700)
    place = SessionDirectory(tmp_path)
    session = Session(mode="keys", request='{"asked": 1}', run=RUN)
    place.create(session)
    make_key_for_driver(place, session, "web1", exchange)
    answer = place.answer("web1")
    assert isinstance(answer, HostError)
    assert (answer.kind, str(answer)) == ("unreachable", "web1: gone")
    assert asked[1] == b'{"asked": 1}'
    assert "keep" not in json.loads(asked[0]), "whoever only makes keys removes no old record"


_NAMESPACE = """
set -e
mount --make-rprivate /
mount --bind {base}/var-lib /var/lib
[ ! -e /dev/log ] || mount --bind {base}/no-log /dev/log
exec /bin/sh -c {command}
"""


@pytest.mark.root
def test_a_real_hosts_openssl_makes_a_request_that_the_ca_signs(fleet: Fleet, tmp_path: Path) -> None:
    base = tmp_path / "host"
    for name in ("var-lib", "session"):
        (base / name).mkdir(parents=True, mode=0o755)
    (base / "no-log").touch()

    def exchange(program: Program, request: bytes, secret: bytes = b"") -> bytes:
        """Runs the real program on this machine, with a /var/lib of its own."""
        marker = wire.new_marker()
        command = shlex.quote(wire.command(sys.executable, marker))
        script = _NAMESPACE.format(base=shlex.quote(str(base)), command=command)
        ran = subprocess.run(
            ["unshare", "--mount", "/bin/sh", "-c", script],
            input=wire.frame(marker, program, request),
            capture_output=True,
            timeout=120,
            check=False,
        )
        return wire.read_answer(LONG, ran.stdout, marker, ran.returncode, ran.stderr)

    (base / "session").chmod(0o700)
    place = SessionDirectory(base / "session")
    session = Session(mode="keys", request=compile_request(NEEDS).decode(), run=RUN, who="ann@controller")
    place.create(session)
    make_key_for_driver(place, session, LONG, exchange)

    answer = place.answer(LONG)
    assert isinstance(answer, bytes), answer
    seen = parse_observation(LONG, answer)
    request = seen.files[REQUEST].content
    assert request is not None
    signed = fleet.authority.sign_host(request, LONG, Names((LONG,)), NOW)
    assert public_sha256(read_chain(signed)[0]) == seen.files[KEY].public_sha256
    key = base / "var-lib" / "remediator" / "tls" / "key.pem"
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert seen.files[KEY].content is None
