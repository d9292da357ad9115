"""Keys: made here by the host's own openssl, moved into place, and never told."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from remediator.host.commit.key_install import KeyInstall, KeySource
from remediator.host.commit.outcomes import StepError
from remediator.plan import Action, Precondition, Step
from tests.unit.host.commit.certificates import key_pem, new_key, public_sha256
from tests.unit.host.commit.host import CommitHost, chmod, seen, state_of, transaction
from tests.unit.host.commit.single import backups, planned, put_back

NO_OPENSSL = "mount --bind /dev/null /usr/bin/openssl"
# Notes its words, and does what the real one does.
NOTING_OPENSSL = """
with (here / "words").open("a") as words:
    words.write("\\n".join(argv) + "\\n" + "\\n".join(f"{k}={v}" for k, v in os.environ.items()) + "\\n")
os.execv("/usr/bin/openssl", ["openssl", *argv])
"""


def make(subject: str = "web1") -> Action:
    return Action(do="make_key", subject=subject)


def install(path: Path, sha256: str, source: Any = "host", mode: int = 0o400) -> Action:
    return Action(do="install_key", path=str(path), source=source, public_sha256=sha256, mode=mode, uid=0, gid=0)


def impossible(path: Path) -> Step:
    return Step(do="mode_is", path=str(path), mode=1, uid=0, gid=0)


def pair(host: CommitHost) -> tuple[Path, Path]:
    return host.state / "tls" / "key.pem", host.state / "tls" / "request.pem"


def made(host: CommitHost, subject: str = "web1") -> str:
    """Has the host make its key; answers with its public digest."""
    [result] = host.run(transaction(make(subject)))
    assert result["outcome"] == "applied", result
    return digest_of(pair(host)[0])


def digest_of(path: Path) -> str:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return public_sha256(key.public_key())


def request_digest(path: Path) -> str:
    public = x509.load_pem_x509_csr(path.read_bytes()).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    return public_sha256(public)


def seen_key(path: Path) -> Precondition:
    """The precondition of a key that is there: its inode tells whether it is still that one, no digest does."""
    return seen(path, content=False).model_copy(update={"ctime_ns": path.stat().st_ctime_ns})


def test_a_host_makes_a_key_that_root_alone_reads_and_a_request_for_its_name(host: CommitHost) -> None:
    [result] = host.run(transaction(make("web1"), group="tls-key"))
    assert (result["outcome"], result["reason"]) == ("applied", "")
    assert result["paths"] == ["/var/lib/remediator/tls/key.pem", "/var/lib/remediator/tls/request.pem"]
    key, request = pair(host)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (key.parent, key, request)] == [0o700, 0o600, 0o644]
    assert {path.stat().st_uid for path in (key.parent, key, request)} == {0}
    held = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(held, ec.EllipticCurvePrivateKey)
    assert held.curve.name == "secp256r1"
    asked = x509.load_pem_x509_csr(request.read_bytes())
    assert asked.is_signature_valid
    assert asked.public_key() == held.public_key()
    assert asked.subject.rfc4514_string() == "CN=web1"
    assert list(asked.extensions) == []
    assert host.state_names == ["lock", "tls", "transactions"]
    [line] = host.journal()
    assert 'path="/var/lib/remediator/tls/key.pem" outcome=applied' in line


@pytest.mark.parametrize(
    "subject",
    ["a/CN=b", "a+O=b", "a\\/b", "CN=x", "-x", 'a"b$c;d,e#f', "$ENV::PATH", "*.example.com", "ünï.example", "x" * 64,
     "a=b", "\\", "/", "a b", "@name", "'; touch /x; '"],
)  # fmt: skip
def test_a_name_is_one_common_name_whatever_it_looks_like(host: CommitHost, subject: str) -> None:
    made(host, subject)
    asked = x509.load_pem_x509_csr(pair(host)[1].read_bytes())
    assert [(part.oid, part.value) for part in asked.subject] == [(NameOID.COMMON_NAME, subject)]
    assert list(asked.extensions) == []


@pytest.mark.parametrize("subject", ["", " ", " a", "a ", "a\nb", "x" * 65, "a\u202eb"])
def test_a_name_that_cannot_be_one_is_refused(host: CommitHost, subject: str) -> None:
    [result] = host.run(transaction(make(subject)))
    assert result["outcome"] == "refused"
    assert "1 to 64 printable characters" in result["reason"]
    assert not (host.state / "tls").exists()


def test_a_host_without_openssl_is_told_what_to_install(host: CommitHost) -> None:
    path = host.file("key.pem")
    for action, found in ((make(), ()), (install(path, "0" * 64), (seen_key(path),))):
        [result] = host.run(transaction(action, preconditions=found), setup=NO_OPENSSL)
        assert result["outcome"] == "refused"
        assert "install its package openssl, then run this again" in result["reason"]
    assert not (host.state / "tls").exists()


def test_a_new_pair_replaces_the_old_one_as_a_whole(host: CommitHost) -> None:
    first = made(host)
    second = made(host, "web2")
    assert first != second
    assert request_digest(pair(host)[1]) == second
    assert host.state_names == ["lock", "tls", "transactions"]


@pytest.mark.parametrize("had_one", [True, False])
def test_a_transaction_that_fails_puts_the_old_pair_back(host: CommitHost, had_one: bool) -> None:
    if had_one:
        made(host)
    path = host.file("other")
    before = [state_of(item) for item in pair(host) if item.exists()]
    [result] = host.run(transaction(make("web2"), chmod(path, 0o600), probe=(impossible(path),)))
    assert result["outcome"] == "rolled_back"
    assert [state_of(item) for item in pair(host) if item.exists()] == before
    assert host.state_names == (["lock", "tls", "transactions"] if had_one else ["lock", "transactions"])


@pytest.mark.parametrize("fails", ["genpkey", "req", "pkey"])
def test_an_openssl_that_fails_leaves_the_old_pair_and_nothing_beside_it(host: CommitHost, fails: str) -> None:
    made(host)
    before = [state_of(item) for item in pair(host)]
    host.program("openssl", f"if argv[0] == {fails!r}: sys.exit('no entropy')\n" + NOTING_OPENSSL)
    [result] = host.run(transaction(make("web2")))
    assert result["outcome"] == "refused"
    assert "openssl" in result["reason"]
    assert [state_of(item) for item in pair(host)] == before
    assert host.state_names == ["lock", "tls", "transactions"]


def test_a_request_of_another_key_is_not_kept(host: CommitHost) -> None:
    other = host.base / "other.pem"
    other.write_bytes(key_pem(new_key()))
    swap = f"argv = [{str(other)!r} if word.endswith('/key.pem') else word for word in argv]\n"
    host.program("openssl", swap + NOTING_OPENSSL)
    [result] = host.run(transaction(make()))
    assert result["outcome"] == "refused"
    assert "of another key" in result["reason"]
    assert not (host.state / "tls").exists()


def test_a_kill_at_any_moment_leaves_the_old_pair_or_the_new_one_or_none_and_never_a_mix(host: CommitHost) -> None:
    made(host)
    begun = time.monotonic()
    made(host)
    whole = time.monotonic() - begun
    for moment in range(12):
        running = host.start(host.request(transaction(make())))
        time.sleep(whole * (moment + 1) / 12)
        running.process.kill()
        running.process.communicate()
        if (host.state / "tls").exists():
            assert digest_of(pair(host)[0]) == request_digest(pair(host)[1])
        made(host)
        assert host.state_names == ["lock", "tls", "transactions"]


def test_an_exchange_that_was_cut_in_its_middle_is_ended_with_the_old_pair(host: CommitHost) -> None:
    held = made(host)
    (host.state / "tls").rename(host.state / ".tls.remediator-0123456789ab.old")
    half = host.state / ".tls.remediator-ba9876543210.new"
    half.mkdir(mode=0o700)
    (half / "key.pem").write_bytes(b"half a k")
    theirs = host.state / ".tls.swp"
    theirs.mkdir()
    path = host.files / "key.pem"
    [result] = host.run(transaction(install(path, held)))
    assert (result["outcome"], digest_of(path)) == ("applied", held)
    assert host.state_names == [".tls.swp", "lock", "tls", "transactions"]


def hostile_link(host: CommitHost) -> None:
    (host.base / "victim").mkdir()
    (host.state / "tls").symlink_to(host.base / "victim")


def hostile_file(host: CommitHost) -> None:
    (host.state / "tls").write_bytes(b"")


def hostile_owner(host: CommitHost) -> None:
    (host.state / "tls").mkdir()
    os.chown(host.state / "tls", 1000, 0)


@pytest.mark.parametrize("spoil", [hostile_link, hostile_file, hostile_owner])
def test_a_hostile_directory_in_the_pairs_place_gets_and_gives_no_key(host: CommitHost, spoil: Any) -> None:
    host.state.mkdir(mode=0o700)
    spoil(host)
    for action in (make(), install(host.files / "key.pem", "0" * 64)):
        [result] = host.run(transaction(action))
        assert result["outcome"] == "refused"
        assert "/var/lib/remediator/tls" in result["reason"]
    assert list(host.files.iterdir()) == []
    assert not any((host.base / "victim").glob("*"))


def test_a_key_is_moved_into_place_and_is_in_one_place_then(host: CommitHost) -> None:
    held = made(host)
    path = host.files / "tls" / "key.pem"
    directory = Action(do="mkdir", path=str(path.parent), mode=0o755, uid=0, gid=0)
    [result] = host.run(transaction(directory, install(path, held)))
    assert (result["outcome"], result["paths"]) == ("applied", [str(path.parent), str(path)])
    assert (digest_of(path), stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) == (held, 0o400, 0)
    assert list((host.state / "tls").iterdir()) == []
    assert [item.name for item in path.parent.iterdir()] == ["key.pem"]
    [again] = host.run(transaction(install(host.files / "other.pem", held)))
    assert again["outcome"] == "refused"
    assert "/var/lib/remediator/tls/key.pem is not there: have this host make a key" in again["reason"]


def test_a_key_from_the_controller_comes_beside_the_request_and_is_written_as_it_is(host: CommitHost) -> None:
    held = made(host)
    key = new_key()
    path = host.file("key.pem", b"their old key")
    for form in ("PKCS8", "EC"):
        pem = key_pem(key, form=form)
        planned = transaction(
            install(path, public_sha256(key.public_key()), "controller"), preconditions=(seen_key(path),)
        )
        [result] = host.run(planned, secret=pem)
        assert (result["outcome"], path.read_bytes()) == ("applied", pem)
    assert digest_of(pair(host)[0]) == held
    assert [item.name for item in host.files.iterdir()] == ["key.pem"]


def refused_key(host: CommitHost, sha256: str, source: str, secret: bytes) -> str:
    """Why a key is refused; what was there is untouched."""
    return unwritten(host, sha256, source, secret, "refused")


def unwritten(host: CommitHost, sha256: str, source: str, secret: bytes, outcome: str) -> str:
    """Why nothing was done; what was there is untouched, by the transaction before as well."""
    path, other = host.file("key.pem", b"their old key", 0o600), host.file("other")
    before = state_of(path), state_of(other)
    first = transaction(chmod(other, 0o600), group="first")
    planned = transaction(install(path, sha256, source), preconditions=(seen_key(path),))
    sent = (first, planned) if outcome == "stale" else (planned,)
    results = host.run(*sent, secret=secret)
    assert [result["outcome"] for result in results] == [outcome] * len(sent)
    assert (state_of(path), state_of(other)) == before
    return str(results[-1]["reason"])


def test_a_key_that_is_not_the_previewed_one_is_stale_before_the_hosts_first_write(host: CommitHost) -> None:
    made(host)
    first, second = new_key(), new_key()
    wanted, found = public_sha256(first.public_key()), public_sha256(second.public_key())
    reason = unwritten(host, wanted, "controller", key_pem(second), "stale")
    assert f"{found} now, {wanted} then" in reason
    assert f"{wanted} then" in unwritten(host, wanted, "host", key_pem(first), "stale")


@pytest.mark.parametrize("form", ["PKCS8", "EC"])
def test_an_encrypted_key_is_refused(host: CommitHost, form: str) -> None:
    key = new_key()
    wanted = public_sha256(key.public_key())
    assert "is encrypted" in refused_key(host, wanted, "controller", key_pem(key, b"hunter2", form))


@pytest.mark.parametrize(
    "secret", [b"no key", b"\n", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_refused(host: CommitHost, secret: bytes) -> None:
    assert "reads no private key" in refused_key(host, "0" * 64, "controller", secret)


def test_a_key_that_did_not_come_is_refused(host: CommitHost) -> None:
    assert "did not come" in refused_key(host, "0" * 64, "controller", b"")


def test_the_old_key_comes_back_and_the_new_one_waits_on(host: CommitHost) -> None:
    held = made(host)
    path = host.file("key.pem", b"their old key", 0o600)
    before = state_of(path), [state_of(item) for item in pair(host)]
    planned = transaction(install(path, held), preconditions=(seen_key(path),), probe=(impossible(path),))
    [result] = host.run(planned)
    assert result["outcome"] == "rolled_back"
    assert (state_of(path), [state_of(item) for item in pair(host)]) == before


def test_a_key_that_was_replaced_since_the_preview_is_left_alone(host: CommitHost) -> None:
    held = made(host)
    path = host.file("key.pem", b"their old key")
    facts = path.stat()
    planned = transaction(install(path, held), preconditions=(seen_key(path),))
    path.write_bytes(b"their new key")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert host.run(planned)[0]["outcome"] == "stale"
    assert path.read_bytes() == b"their new key"


@pytest.mark.parametrize("unsaid", ["ino", "dev", "size", "mtime_ns", "ctime_ns"])
def test_a_key_is_not_replaced_by_who_cannot_say_which_one_was_there(host: CommitHost, unsaid: str) -> None:
    held = made(host)
    path = host.file("key.pem", b"their old key")
    before = state_of(path)
    then = seen_key(path).model_copy(update={unsaid: None})
    [result] = host.run(transaction(install(path, held), preconditions=(then,)))
    assert (result["outcome"], state_of(path)) == ("refused", before)
    assert "does not say which key must be found there" in result["reason"]


def test_a_staged_key_that_cannot_be_removed_is_told_with_what_was_applied(host: CommitHost) -> None:
    held = made(host)
    path = host.files / "key.pem"
    staged = pair(host)[0]
    subprocess.run(["chattr", "+i", str(staged)], check=True)
    try:
        [result] = host.run(transaction(install(path, held)))
    finally:
        subprocess.run(["chattr", "-i", str(staged)], check=True)
    assert (result["outcome"], digest_of(path)) == ("applied", held)
    assert "remove /var/lib/remediator/tls/key.pem" in result["reason"]


def test_the_old_key_is_compared_once_more_when_it_is_replaced(host: CommitHost) -> None:
    key = new_key()
    path = host.file("key.pem", b"their old key")
    source = KeySource("controller", public_sha256(key.public_key()), key_pem(key))
    with backups(host.base) as directory:
        entry = planned(path, key_pem(key), 0o400)
        path.write_bytes(b"their new key")
        with pytest.raises(StepError, match="changed by somebody else"):
            KeyInstall(entry, source, key_pem(key), directory).do()
        put_back(entry, directory)
    assert path.read_bytes() == b"their new key"
    assert [item.name for item in host.files.iterdir() if not item.name.endswith(".kept")] == ["key.pem"]


def test_a_key_that_was_exchanged_beside_the_request_is_refused(host: CommitHost) -> None:
    key, other = new_key(), new_key()
    with pytest.raises(StepError, match="another than at the preview"):
        KeySource("controller", public_sha256(key.public_key()), key_pem(other)).key()


def test_no_key_is_in_what_is_said_or_in_any_programs_words(host: CommitHost) -> None:
    host.program("openssl", NOTING_OPENSSL)
    held = made(host)
    secrets = [pair(host)[0].read_bytes(), key_pem(new_key()), key_pem(new_key(), b"hunter2")]
    path = host.files / "key.pem"
    said = []
    for secret in secrets[1:]:
        said.append(host.start(host.request(transaction(install(path, held, "controller"))), secret=secret).answer())
    said.append(host.start(host.request(transaction(install(path, held), probe=(impossible(path),)))).answer())
    told = str(said) + "".join(host.journal()) + (host.base / "words").read_text()
    for secret in secrets:
        for line in secret.decode().splitlines()[1:-1]:
            assert line not in told
