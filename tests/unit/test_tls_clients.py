"""Clients' certificates: who may be one, what stays on record, and the bundle as Docker expects it."""

from __future__ import annotations

import os
import shlex
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from remediator.access import Secret
from remediator.errors import UsageError
from remediator.tls import bundle
from remediator.tls.authority import Authority, create_authority, open_authority
from remediator.tls.certificates import fingerprint, names_of, read_chain
from remediator.tls.clients import check_client_name, ensure_controller, issue_client
from remediator.tls.holdings import client_of
from remediator.tls.listing import held_names, list_store
from remediator.tls.names import Names
from remediator.tls.store import Store
from tests.unit.openssl import Workshop, openssl, public_digest
from tests.unit.tls_server import handshake, serving

NOW = datetime.now(UTC)
PASSPHRASE = Secret("correct horse battery")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a CA."""
    made = Store(tmp_path / "tls")
    create_authority(made, PASSPHRASE, NOW)
    return made


@pytest.fixture
def authority(store: Store) -> Authority:
    """The CA, open."""
    return open_authority(store, lambda: PASSPHRASE)


def issue_host(authority: Authority, store: Store, host: str, names: Names, workshop: Workshop) -> None:
    """Keep a host's certificate; its key is the workshop's."""
    request = workshop.request(host, f"/CN={host}")
    store.save_host(host, authority.sign_host(request.read_bytes(), host, names, NOW))


@pytest.mark.parametrize("name", ["ann", "ann.b-c_d+e", "7x", "x" * 63])
def test_a_name_that_docker_takes_for_a_context_is_a_clients(name: str) -> None:
    check_client_name(name)


@pytest.mark.parametrize(
    "name", ["", "a", "-ann", ".ann", "a b", "a/b", "a@b", "ünn", "x" * 64, "ann\n", "controller", "default"]
)
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_client_name(name)


def test_only_the_certificate_stays_on_record(authority: Authority, store: Store) -> None:
    certificate, key = issue_client(authority, store, "ann", NOW)
    assert store.client_certificates("ann").read_bytes() == certificate
    secret = b"".join(key.splitlines()[1:-1])
    for path in store.directory.rglob("*.pem"):
        assert secret not in path.read_bytes().replace(b"\n", b"")


def test_earlier_certificates_stay_on_record_until_they_expire(authority: Authority, store: Store) -> None:
    short, _ = issue_client(authority, store, "ann", NOW, days=5)
    long, _ = issue_client(authority, store, "ann", NOW, days=50)
    later = NOW + timedelta(days=10)
    newest, _ = issue_client(authority, store, "ann", later)
    assert store.client_certificates("ann").read_bytes() == newest + long
    assert short not in newest + long
    shown = list_store(store, later).clients
    assert [(each.name, each.days_left) for each in shown] == [("ann", 396), ("ann", 39)]


def test_a_name_can_be_used_often_and_not_more_often_than_there_is_record_of(
    authority: Authority, store: Store
) -> None:
    for _ in range(10):
        certificate, _ = issue_client(authority, store, "ann", NOW)
    with pytest.raises(UsageError, match="valid still"):
        issue_client(authority, store, "ann", NOW)
    held = read_chain(store.client_certificates("ann").read_bytes())
    assert len(held) == 10
    assert fingerprint(held[0]) == fingerprint(read_chain(certificate)[0])


def test_a_record_that_cannot_be_read_is_not_overwritten(authority: Authority, store: Store) -> None:
    issue_client(authority, store, "ann", NOW)
    store.client_certificates("ann").write_bytes(b"garbage")
    with pytest.raises(UsageError, match="Restore it from a backup"):
        issue_client(authority, store, "ann", NOW)
    assert store.client_certificates("ann").read_bytes() == b"garbage"


def test_the_controllers_own_pair_is_made_once_and_renewed_in_time(authority: Authority, store: Store) -> None:
    assert client_of({}, store.directory) is None
    ensure_controller(authority, store, NOW)
    first = store.controller_certificate.read_bytes()
    ensure_controller(authority, store, NOW + timedelta(days=300))
    assert store.controller_certificate.read_bytes() == first
    ensure_controller(authority, store, NOW + timedelta(days=380))
    renewed = store.controller_certificate.read_bytes()
    assert renewed != first
    assert stat.S_IMODE(store.controller_key.stat().st_mode) == 0o600
    store.controller_key.write_bytes(b"spoilt")
    ensure_controller(authority, store, NOW + timedelta(days=381))
    assert store.controller_certificate.read_bytes() != renewed
    digest = public_digest(store.controller_key)
    (shown,) = list_store(store, NOW).clients
    assert (shown.name, shown.public_sha256) == ("controller", digest)


def test_the_controllers_pair_opens_a_real_server(authority: Authority, store: Store, tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    issue_host(authority, store, "web1", Names((), ("127.0.0.1",)), workshop)
    ensure_controller(authority, store, NOW)
    client = client_of({}, store.directory)
    assert client is not None
    with serving(store.host_certificate("web1"), tmp_path / "web1-key.pem", store.authority) as port:
        assert handshake(port, "127.0.0.1", client.authority, (client.certificate, client.key)) == b"welcome"


def test_the_names_that_are_held_are_those_of_certificates_that_are_valid(
    authority: Authority, store: Store, tmp_path: Path
) -> None:
    workshop = Workshop(tmp_path)
    issue_host(authority, store, "web1", Names(("web1",), ("192.0.2.7",)), workshop)
    store.save_host("spoilt", b"garbage")
    assert held_names(store, NOW) == {"web1": Names(("web1",), ("192.0.2.7",))}
    assert held_names(store, NOW + timedelta(days=398)) == {}
    shown = {each.name: each for each in list_store(store, NOW).hosts}
    assert shown["web1"].names == ("web1", "192.0.2.7")
    assert "no certificate" in shown["spoilt"].problem


def test_an_empty_store_holds_nothing(tmp_path: Path) -> None:
    document = list_store(Store(tmp_path / "none"), NOW)
    assert (document.authority, document.hosts, document.clients) == (None, (), ())


def test_a_bundle_is_what_docker_expects(authority: Authority, store: Store, tmp_path: Path) -> None:
    certificate, key = issue_client(authority, store, "ann", NOW)
    target = tmp_path / "deep" / "ann"
    before = os.umask(0)
    try:
        bundle.write_bundle(target, store.authority.read_bytes(), certificate, key)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()}
    assert modes == {"ca.pem": 0o444, "cert.pem": 0o444, "key.pem": 0o400}
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert b": OK" in openssl("verify", "-purpose", "sslclient", "-CAfile", target / "ca.pem", target / "cert.pem")
    assert names_of(read_chain((target / "cert.pem").read_bytes())[0]) == Names()


@pytest.mark.parametrize("there", ["ca.pem", "cert.pem", "key.pem"])
def test_a_bundle_takes_the_place_of_nothing(there: str, tmp_path: Path) -> None:
    (tmp_path / there).symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=rf"{there} exists, and is not overwritten.*-o"):
        bundle.write_bundle(tmp_path, b"a", b"b", b"c")
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_a_bundle_may_lie_beside_other_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    bundle.write_bundle(tmp_path, b"a", b"b", b"c")
    assert (tmp_path / "key.pem").read_bytes() == b"c"


def test_a_bundle_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    sync = os.fsync

    def no_space_later(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", no_space_later)
    with pytest.raises(UsageError, match="No space left on device"):
        bundle.write_bundle(tmp_path / "ann", b"a", b"b", b"c")
    assert list((tmp_path / "ann").iterdir()) == []


def test_a_file_is_no_directory_for_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is no directory"):
        bundle.check_bundle_directory(tmp_path / "file")
    with pytest.raises(UsageError, match="cannot be written"):
        bundle.write_bundle(tmp_path / "file" / "below", b"a", b"b", b"c")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("web1", "tcp://web1:2376"),
        ("Web1.Example", "tcp://web1.example:2376"),
        ("192.0.2.7", "tcp://192.0.2.7:2376"),
        ("web1:2377", "tcp://web1:2377"),
        ("2001:db8::1", "tcp://[2001:db8::1]:2376"),
        ("[2001:db8::1]:2377", "tcp://[2001:db8::1]:2377"),
        ("HOST", "tcp://HOST:2376"),
    ],
)
def test_a_daemons_address_is_written_as_docker_wants_it(text: str, address: str) -> None:
    assert bundle.listener(text) == address


@pytest.mark.parametrize(
    "text", ["", "web 1", "web1:", "web1:0", "web1:99999", "tcp://web1", "a;b", "web1:x", "web1:²"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a daemon's host is"):
        bundle.listener(text)


def test_the_commands_survive_a_shell(tmp_path: Path) -> None:
    odd = tmp_path / "it's a, b $HOME"
    words = shlex.split(bundle.context_command("ann", "tcp://web1:2376", odd))
    assert words[:5] == ["docker", "context", "create", "ann", "--docker"]
    assert words[5] == f'host=tcp://web1:2376,"ca={odd}/ca.pem","cert={odd}/cert.pem","key={odd}/key.pem"'
    plain = shlex.split(bundle.context_command("ann", "tcp://web1:2376", Path("/b")))[5]
    assert plain == "host=tcp://web1:2376,ca=/b/ca.pem,cert=/b/cert.pem,key=/b/key.pem"
    assert shlex.split(bundle.environment("tcp://[::1]:2376", odd))[1:] == [
        "DOCKER_HOST=tcp://[::1]:2376",
        "DOCKER_TLS_VERIFY=1",
        f"DOCKER_CERT_PATH={odd}",
    ]
