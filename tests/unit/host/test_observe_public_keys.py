"""The public half of real keys, and why there is none of others; the keys themselves stay where they are."""

import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from remediator.host.observe.command import UNIT_NAMES
from remediator.host.observe.docker import DockerHost
from remediator.host.observe.public_keys import MAX_KEY, note_public_keys
from remediator.host.observe.state import HostState
from remediator.host.observe.units import HostUnit, unit_from_block


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def ec_key(path: Path) -> Path:
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", path)
    return path


def rsa_key(path: Path) -> Path:
    openssl("genrsa", "-traditional", "-out", path, "2048")
    return path


def public_sha256(path: Path) -> str:
    """What the controller computes of the same key."""
    key = load_pem_private_key(path.read_bytes(), None)
    return hashlib.sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def observed(path: Path | str) -> HostState:
    """A host whose daemon has this key."""
    units = {name: HostUnit(name) for name in UNIT_NAMES}
    line = f"/usr/sbin/dockerd --config-file=/nonexistent --tlsverify --tlskey={path}"
    block = f"LoadState=loaded\nExecStart={{ path=/usr/sbin/dockerd ; argv[]={line} ; ignore_errors=no }}"
    units["docker.service"] = unit_from_block("docker.service", block)
    state = HostState(units, {})
    note_public_keys(state, DockerHost(state))
    return state


def problem(path: Path | str) -> str:
    facts = observed(path).files.answer()[str(path)]
    assert "public_sha256" not in facts
    return str(facts["key_problem"])


@pytest.mark.parametrize("make", [ec_key, rsa_key])
def test_the_digest_is_the_one_that_the_controller_computes(make: object, tmp_path: Path) -> None:
    assert callable(make)
    path = make(tmp_path / "key.pem")
    facts = observed(path).files.answer()[str(path)]
    assert facts["public_sha256"] == public_sha256(path)
    assert "key_problem" not in facts
    assert facts["type"] == "file"


def test_nothing_of_the_key_itself_is_in_the_answer(tmp_path: Path) -> None:
    path = ec_key(tmp_path / "key.pem")
    answer = json.dumps(observed(path).files.answer())
    assert hashlib.sha256(path.read_bytes()).hexdigest() not in answer
    for line in path.read_text().splitlines():
        assert line not in answer
    assert "content" not in observed(path).files.answer()[str(path)]


def test_a_key_with_parameters_or_a_certificate_before_it_is_read_as_the_daemon_reads_it(tmp_path: Path) -> None:
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-out", tmp_path / "key.pem")
    assert "EC PARAMETERS" in (tmp_path / "key.pem").read_text()
    facts = observed(tmp_path / "key.pem").files.answer()[str(tmp_path / "key.pem")]
    expected = facts["public_sha256"]
    openssl("req", "-x509", "-key", tmp_path / "key.pem", "-subj", "/CN=a", "-days", "2", "-out", tmp_path / "c.pem")
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "c.pem").read_bytes() + (tmp_path / "key.pem").read_bytes())
    assert observed(both).files.answer()[str(both)]["public_sha256"] == expected


@pytest.mark.parametrize("passphrase", ["secret", ""])
def test_an_encrypted_key_is_told_as_one_whatever_its_passphrase(passphrase: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    plain = ec_key(tmp_path / "plain.pem")
    openssl("pkcs8", "-topk8", "-in", plain, "-passout", f"pass:{passphrase}", "-out", path)
    assert problem(path) == "it is encrypted"


def test_a_key_that_is_encrypted_the_old_way_is_told_as_one(tmp_path: Path) -> None:
    plain = rsa_key(tmp_path / "plain.pem")
    openssl("rsa", "-traditional", "-aes128", "-passout", "pass:secret", "-in", plain, "-out", tmp_path / "key.pem")
    assert "Proc-Type: 4,ENCRYPTED" in (tmp_path / "key.pem").read_text()
    assert problem(tmp_path / "key.pem") == "it is encrypted"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b"\0\xff" * 1000,
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nZ2FyYmFnZQ==\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n",
    ],
)
def test_what_is_no_private_key_is_told_as_such(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    assert problem(tmp_path / "key.pem") == "it is no private key"


def test_a_key_in_der_is_none_to_the_daemon_either(tmp_path: Path) -> None:
    plain = ec_key(tmp_path / "plain.pem")
    openssl("pkey", "-in", plain, "-outform", "DER", "-out", tmp_path / "key.pem")
    assert problem(tmp_path / "key.pem") == "it is no private key"


def test_a_large_file_is_not_given_to_openssl(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(ec_key(tmp_path / "plain.pem").read_bytes() + b"\n" * MAX_KEY)
    assert problem(path) == f"it cannot be read: {path.stat().st_size} bytes long, which is larger than {MAX_KEY} bytes"


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert problem(tmp_path / "fifo") == "it cannot be read: it is a fifo"
    assert problem(tmp_path) == "it cannot be read: it is a directory"
    assert problem(tmp_path / "none") == "it cannot be read: no such file"
    assert problem("relative/key.pem") == "it cannot be read: not an absolute path"


def test_a_link_to_a_key_and_the_key_both_have_its_digest(tmp_path: Path) -> None:
    path = ec_key(tmp_path / "privkey1.pem")
    (tmp_path / "key.pem").symlink_to("privkey1.pem")
    files = observed(tmp_path / "key.pem").files.answer()
    assert files[str(tmp_path / "key.pem")]["type"] == "symlink"
    assert files[str(tmp_path / "key.pem")]["public_sha256"] == public_sha256(path)
    assert files[str(path)]["public_sha256"] == public_sha256(path)


def test_a_link_that_leads_nowhere_or_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("nowhere")
    (tmp_path / "b").symlink_to("b")
    assert problem(tmp_path / "a").startswith("it cannot be read: no such file")
    assert "symbolic links" in problem(tmp_path / "b")


def test_a_host_without_openssl_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ec_key(tmp_path / "key.pem")
    monkeypatch.setattr("remediator.host.observe.command.COMMAND_DIRECTORIES", (str(tmp_path),))
    assert problem(path) == "openssl is not installed on this host"


@pytest.mark.root
def test_an_openssl_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ec_key(tmp_path / "key.pem")
    # What others could replace is not run, and a temporary directory is anybody's.
    with tempfile.TemporaryDirectory(dir="/var/lib") as name:
        (Path(name) / "openssl").write_text("#!/bin/sh\nexec sleep 60\n")
        (Path(name) / "openssl").chmod(0o755)
        monkeypatch.setattr("remediator.host.observe.command.COMMAND_DIRECTORIES", (name,))
        monkeypatch.setattr("remediator.host.observe.command.COMMAND_SECONDS", 1)
        assert problem(path).startswith("it cannot be read: openssl gave no end after 1 seconds")


def test_the_place_of_the_hosts_own_key_is_always_looked_at(tmp_path: Path) -> None:
    facts = observed(tmp_path / "key.pem").files.answer()["/var/lib/remediator/tls/key.pem"]
    assert ("public_sha256" in facts) != ("key_problem" in facts)
