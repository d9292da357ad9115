"""What there is for a host: the user's own files, what the private CA issued, or nothing. Never an error."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from remediator.access import Secret
from remediator.errors import UsageError
from remediator.surroundings import Surroundings
from remediator.text import is_plain
from remediator.tls.authority import create_authority, open_authority
from remediator.tls.certificates import describe, fingerprint, read_chain
from remediator.tls.holdings import Client, client_of, key_of, surroundings_of
from remediator.tls.names import Names
from remediator.tls.store import Store
from tests.unit.openssl import P256, RSA, Pair, Workshop, openssl, public_digest

NOW = datetime.now(UTC) + timedelta(hours=1)
PASSPHRASE = Secret("correct horse battery")


@dataclass(frozen=True)
class Own:
    """The user's own files, and the variables that name them."""

    workshop: Workshop
    authority: Pair
    server: Pair

    def variables(self, **other: Any) -> dict[str, Any]:
        """The three variables, and others or other values."""
        return {
            "docker_tls_ca_file": str(self.authority.certificate),
            "docker_tls_cert_file": str(self.server.certificate),
            "docker_tls_key_file": str(self.server.key),
            **other,
        }


@pytest.fixture
def own(tmp_path: Path) -> Own:
    """A CA and a daemon's pair for web1 as Docker's guide makes them."""
    directory = tmp_path / "own"
    directory.mkdir()
    workshop = Workshop(directory)
    authority = workshop.authority("own-ca")
    return Own(workshop, authority, workshop.server("server", authority, "DNS:web1,IP:192.0.2.7"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A private CA that issued a certificate for web1."""
    made = Store(tmp_path / "tls")
    create_authority(made, PASSPHRASE, datetime.now(UTC))
    (tmp_path / "web1").mkdir()
    request = Workshop(tmp_path / "web1").request("web1", "/CN=web1").read_bytes()
    names = Names(("web1",), ("192.0.2.7",))
    made.save_host("web1", open_authority(made, lambda: PASSPHRASE).sign_host(request, "web1", names, NOW))
    return made


NOTHING = Path("/nonexistent/tls")


def held(variables: dict[str, Any], store: Path = NOTHING, now: datetime = NOW, host: str = "web1") -> Surroundings:
    """The surroundings of web1, which is reached at 192.0.2.7."""
    found = surroundings_of(host, "192.0.2.7", variables, store, now)
    assert is_plain(found.problem)
    assert found.material is None or not found.problem
    return found


def test_without_certificates_there_are_names_and_nothing_else() -> None:
    assert held({"docker_tls_names": ["api"]}) == Surroundings(NOW, ("web1", "api", "192.0.2.7"))
    empty = dict.fromkeys(("docker_tls_ca_file", "docker_tls_cert_file", "docker_tls_key_file"), "")
    assert held(empty) == Surroundings(NOW, ("web1", "192.0.2.7"), any_name=True)


def test_without_certificates_cryptography_is_not_loaded(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from remediator.tls.holdings import client_of, surroundings_of;"
        f"store = Path({str(tmp_path)!r});"
        "surroundings_of('web1', '192.0.2.7', {}, store); client_of({}, store);"
        "print([name for name in ('cryptography', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_the_users_own_pair_is_material(own: Own) -> None:
    material = held(own.variables()).material
    assert material is not None
    (leaf,) = read_chain(own.server.pem)
    assert (material.authority, material.certificate) == (own.authority.pem, own.server.pem)
    assert (material.public_sha256, material.fingerprint) == (public_digest(own.server.key), fingerprint(leaf))
    assert (material.source, material.expires) == ("controller", leaf.not_valid_after_utc)
    assert material.details == describe(leaf)


def test_the_users_own_files_go_before_the_private_ca(own: Own, store: Store) -> None:
    found = held(own.variables(), store.directory).material
    assert found is not None
    assert found.source == "controller"
    spoilt = held(own.variables(docker_tls_cert_file="/nonexistent"), store.directory)
    assert spoilt.material is None
    assert "/nonexistent cannot be read" in spoilt.problem


def test_what_the_private_ca_issued_is_material(store: Store) -> None:
    material = held({}, store.directory).material
    assert material is not None
    assert material.source == "host"
    assert material.certificate == store.host_certificate("web1").read_bytes()
    assert material.authority == store.authority.read_bytes()
    assert held({}, store.directory, host="web2").material is None


@pytest.mark.parametrize(
    ("names", "later", "words"),
    [(["api"], 0, "does not bear the name api"), ([], 398, "expired on"), ([], -2, "is not valid before")],
)
def test_an_issued_certificate_that_clients_would_not_accept_is_a_problem(
    names: list[str], later: int, words: str, store: Store
) -> None:
    found = held({"docker_tls_names": names}, store.directory, NOW + timedelta(days=later))
    assert found.material is None
    assert f"The certificate in {store.host_certificate('web1')} {words}" in found.problem
    assert "`remediate tls issue`" in found.problem


def test_a_certificate_that_expires_soon_can_still_be_installed(store: Store, own: Own) -> None:
    assert held({}, store.directory, NOW + timedelta(days=390)).material is not None
    assert held(own.variables(), now=NOW + timedelta(days=360)).material is not None


def test_a_store_without_its_authority_is_a_problem(store: Store) -> None:
    store.authority.unlink()
    assert "ca.pem is missing" in held({}, store.directory).problem


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 300_000])
def test_a_spoilt_file_in_the_store_is_a_problem(content: bytes, store: Store) -> None:
    store.save_host("web1", content)
    problem = held({}, store.directory).problem
    assert str(store.host_certificate("web1")) in problem


def test_a_key_of_another_certificate_is_a_problem_that_names_both_files(own: Own) -> None:
    other = own.workshop.key("other")
    problem = held(own.variables(docker_tls_key_file=str(other))).problem
    assert f"{other} is not the key of the first certificate in {own.server.certificate}" in problem


@pytest.mark.parametrize("kind", [P256, RSA])
def test_an_encrypted_key_is_a_problem_that_says_how_to_decrypt_it(kind: tuple[str, ...], own: Own) -> None:
    for form in ((), ("-traditional",)):
        path = own.workshop.directory / "encrypted.pem"
        key = own.workshop.key("plain", kind)
        openssl("pkey", *form, "-aes256", "-passout", "pass:hunter2", "-in", key, "-out", path)
        found = held(own.variables(docker_tls_key_file=str(path)))
        assert f"{path} is encrypted, and dockerd cannot decrypt it" in found.problem
        with pytest.raises(UsageError, match="is encrypted"):
            key_of(own.variables(docker_tls_key_file=str(path)))


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"x" * 70_000,
     b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"],
)  # fmt: skip
def test_what_is_no_key_is_a_problem(content: bytes, own: Own) -> None:
    own.server.key.write_bytes(content)
    problem = held(own.variables()).problem
    assert str(own.server.key) in problem
    assert "docker_tls_key_file" in problem


@pytest.mark.parametrize("form", [("-traditional",), ()])
@pytest.mark.parametrize("kind", [P256, RSA])
def test_a_key_in_any_form_that_dockerd_reads_will_do(kind: tuple[str, ...], form: tuple[str, ...], own: Own) -> None:
    usage = "subjectAltName=DNS:web1,IP:192.0.2.7\nextendedKeyUsage=serverAuth\n"
    pair = own.workshop.signed("typed", own.authority, usage, kind=kind)
    written = own.workshop.directory / "form.pem"
    openssl("pkey", *form, "-in", pair.key, "-out", written)
    variables = own.variables(docker_tls_cert_file=str(pair.certificate), docker_tls_key_file=str(written))
    assert held(variables).problem == ""
    assert key_of(variables) == written.read_bytes()


def test_faults_of_the_users_own_certificate_are_the_problem(own: Own) -> None:
    wrong = own.workshop.signed("wrong", own.authority, "subjectAltName=DNS:other\nextendedKeyUsage=clientAuth\n")
    other = own.workshop.authority("other-ca")
    files = {
        "docker_tls_ca_file": str(other.certificate),
        "docker_tls_cert_file": str(wrong.certificate),
        "docker_tls_key_file": str(wrong.key),
    }
    problem = held(files).problem
    for words in ("CN=own-ca, the CA is CN=other-ca", "name web1, 192.0.2.7", "lacks serverAuth", "docker_tls_names"):
        assert words in problem


def test_a_private_key_in_a_certificate_file_never_gets_into_the_material(own: Own) -> None:
    own.server.certificate.write_bytes(own.server.pem + own.server.key.read_bytes())
    found = held(own.variables())
    assert found.material is None
    assert "holds a private key, which belongs into a file of its own" in found.problem


def test_comments_in_a_certificate_file_are_left_behind(own: Own) -> None:
    own.server.certificate.write_bytes(b"token=hunter2\n" + own.server.pem)
    found = held(own.variables()).material
    assert found is not None
    assert b"hunter2" not in found.certificate


@pytest.mark.parametrize("missing", ["docker_tls_ca_file", "docker_tls_cert_file", "docker_tls_key_file"])
def test_all_three_files_or_none(missing: str, own: Own) -> None:
    problem = held(own.variables(**{missing: ""})).problem
    assert f"set {missing} too, or none of them" in problem


@pytest.mark.parametrize("value", [7, ["a"], {"a": 1}, True, "a\0b"])
def test_a_variable_of_a_wrong_type_is_a_problem(value: object, own: Own) -> None:
    for name in ("docker_tls_ca_file", "docker_tls_key_file", "docker_tls_client_key_file"):
        variables = own.variables(docker_tls_client_cert_file="/x", docker_tls_client_key_file="/y")
        assert f"{name} must be the path of a file" in held({**variables, name: value}).problem
        assert client_of({**variables, name: value}, NOTHING) is None


def test_names_of_a_wrong_type_are_a_problem() -> None:
    assert "docker_tls_names must be a list" in held({"docker_tls_names": "api"}).problem


def test_half_a_client_pair_is_a_problem(own: Own) -> None:
    assert "docker_tls_client_key_file" in held(own.variables(docker_tls_client_cert_file="/x")).problem


def test_a_directory_a_pipe_and_a_missing_file_are_problems(own: Own, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path, "no regular file"),
        (tmp_path / "pipe", "no regular file"),
        (tmp_path / "x", "No such"),
    ):
        for name in ("docker_tls_ca_file", "docker_tls_cert_file", "docker_tls_key_file"):
            problem = held(own.variables(**{name: str(path)})).problem
            assert words in problem
            assert name in problem


def test_a_relative_path_is_relative_to_the_working_directory(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.workshop.directory.parent)
    monkeypatch.setenv("HOME", str(own.workshop.directory))
    variables = own.variables(docker_tls_cert_file="own/server.pem", docker_tls_key_file="~/server-key.pem")
    assert held(variables).problem == ""
    assert key_of(variables) == own.server.key.read_bytes()


def test_a_file_that_is_replaced_is_read_anew(own: Own) -> None:
    assert held(own.variables()).problem == ""
    renewed = own.workshop.server("renewed", own.authority, "DNS:web1,IP:192.0.2.7")
    renewed.certificate.replace(own.server.certificate)
    assert "is not the key of" in held(own.variables()).problem
    renewed.key.replace(own.server.key)
    found = held(own.variables()).material
    assert found is not None
    assert found.public_sha256 == public_digest(own.server.key)


def test_a_name_that_cannot_be_worked_out_is_a_problem(store: Store) -> None:
    found = surroundings_of("web_1", "fe80::1%eth0", {}, store.directory, NOW)
    assert (found.names, found.material) == ((), None)
    assert "docker_tls_names" in found.problem


@pytest.mark.parametrize("host", ["", "x" * 400, "../../etc", "\udcff", "\x1b[31m"])
def test_no_host_name_is_more_than_a_problem(host: str, store: Store) -> None:
    found = surroundings_of(host, "192.0.2.7", {}, store.directory, NOW)
    assert found.material is None
    assert is_plain(found.problem)


def test_the_key_is_in_nothing_but_what_the_commit_asks_for(own: Own) -> None:
    secret = own.server.key.read_text().splitlines()[1]
    assert secret not in repr(held(own.variables()))
    assert secret in key_of(own.variables()).decode()
    with pytest.raises(UsageError, match="docker_tls_key_file is not set"):
        key_of({})


def test_what_the_controller_shows_goes_with_where_the_certificates_come_from(own: Own, store: Store) -> None:
    assert client_of(own.variables(), store.directory) is None
    pair = {"docker_tls_client_cert_file": "/c.pem", "docker_tls_client_key_file": "/k.pem"}
    found = client_of(own.variables(**pair), store.directory)
    assert found == Client(Path("/c.pem"), Path("/k.pem"), own.authority.certificate)
    assert client_of(pair, store.directory) is None
    store.save_controller(b"certificate", b"key")
    assert client_of({}, store.directory) == Client(store.controller_certificate, store.controller_key, store.authority)


def test_a_certificate_of_ones_own_may_bear_the_hosts_name_alone(own: Own) -> None:
    named = own.workshop.server("named", own.authority, "DNS:web1")
    files = {"docker_tls_cert_file": str(named.certificate), "docker_tls_key_file": str(named.key)}
    found = held(own.variables(**files))
    assert found.material is not None
    assert found.names == ("web1",)


def test_a_certificate_of_ones_own_must_bear_the_names_that_clients_are_said_to_use(own: Own) -> None:
    found = held(own.variables(docker_tls_names=["api.example"]))
    assert found.names == ("api.example",)
    assert "api.example" in found.problem
