"""Readers that are asked before a file counts: sudo's own, and the daemon where it can."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from remediator.plan import Action, EditSplice, Precondition, Step
from tests.unit.host.commit.host import CommitHost, chmod, seen, seen_masked, state_of, transaction, write

OURS = "/etc/sudoers.d/remediator-docker-content-trust"
GOOD = b'Defaults env_keep += "DOCKER_CONTENT_TRUST"\n'
BAD = b"Defaults env_keep += \n"
NOTHING = Precondition(path=OURS, resolved=OURS, type="missing")
CHECK = (Step(do="sudoers", path=OURS),)
# What dockerd 23.0 and newer say; on older ones the word is unknown, as Docker 20.10.24 says it.
VALIDATING_DOCKERD = """
assert argv[:2] == ["--validate", "--config-file"], argv
content = pathlib.Path(argv[2]).read_text()
(here / "validated").write_text(argv[2] + "\\n" + str((here / "files" / "daemon.json").read_text()))
if "hots" in content:
    words = "the following directives don't match any configuration option: hots"
    sys.exit("unable to configure the Docker daemon with file %s: %s" % (argv[2], words))
sys.stderr.write("configuration OK\\n")
"""
OLD_DOCKERD = """
sys.stderr.write("Status: unknown flag: --validate\\nSee 'dockerd --help'., Code: 125\\n")
sys.exit(1)
"""


@pytest.fixture
def sudoers(host: CommitHost) -> Path:
    """What /etc/sudoers.d is for the host."""
    path = host.base / "sudoers.d"
    path.mkdir(mode=0o755)
    return path


def bound(sudoers: Path) -> str:
    return f"mount --bind {sudoers} /etc/sudoers.d"


def keep_variable(content: bytes) -> Action:
    return write(Path(OURS), content, 0o440)


def test_a_file_of_sudos_is_written_once_visudo_has_accepted_it(host: CommitHost, sudoers: Path) -> None:
    planned = transaction(keep_variable(GOOD), preconditions=(NOTHING,), validation=CHECK)
    [result] = host.run(planned, setup=bound(sudoers))
    assert (result["outcome"], result["paths"]) == ("applied", [OURS])
    [path] = list(sudoers.iterdir())
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (GOOD, 0o440)


def test_a_broken_file_of_sudos_never_counts_and_is_named_in_visudos_words(host: CommitHost, sudoers: Path) -> None:
    # Notes what sudo would read, each time that it checks.
    noting = """
names = [name for name in os.listdir("/etc/sudoers.d") if "." not in name and not name.endswith("~")]
(here / "counted").write_text(" ".join(names) + ".")
os.execv(str(here / "visudo"), ["visudo", *argv])
"""
    (host.base / "visudo").write_bytes(Path("/usr/sbin/visudo").read_bytes())
    (host.base / "visudo").chmod(0o755)
    host.program("visudo", noting)
    planned = transaction(keep_variable(BAD), preconditions=(NOTHING,), validation=CHECK)
    [result] = host.run(planned, setup=bound(sudoers))
    assert result["outcome"] == "refused"
    assert f"visudo does not accept {OURS}: {OURS}:1" in result["reason"]
    assert "syntax error" in result["reason"]
    assert ((host.base / "counted").read_text(), list(sudoers.iterdir())) == (".", [])


def test_a_file_of_sudos_is_not_written_unchecked(host: CommitHost, sudoers: Path) -> None:
    [result] = host.run(transaction(keep_variable(GOOD), preconditions=(NOTHING,)), setup=bound(sudoers))
    assert result["outcome"] == "refused"
    assert "only where visudo checks it first" in result["reason"]
    key = Action(do="install_key", path=OURS, source="controller", public_sha256="0" * 64, mode=0o440, uid=0, gid=0)
    [result] = host.run(transaction(key, preconditions=(NOTHING,), validation=CHECK), setup=bound(sudoers), secret=b"x")
    assert "only where visudo checks it first" in result["reason"]
    other = host.file("other")
    both = (NOTHING, seen(other))
    planned = transaction(chmod(other, 0o600), keep_variable(GOOD), preconditions=both, validation=CHECK)
    hidden = f"{bound(sudoers)}; mount --bind /dev/null /usr/sbin/visudo"
    [result] = host.run(planned, setup=hidden)
    assert result["outcome"] == "refused"
    assert "visudo is not installed" in result["reason"]
    assert list(sudoers.iterdir()) == []


def test_nobody_elses_file_of_sudos_is_touched(host: CommitHost, sudoers: Path) -> None:
    theirs = sudoers / "ops"
    theirs.write_bytes(b"ops ALL=(ALL) ALL\n")
    before = state_of(theirs)
    then = seen(theirs).model_copy(update={"path": "/etc/sudoers.d/ops", "resolved": "/etc/sudoers.d/ops"})
    check = (Step(do="sudoers", path="/etc/sudoers.d/ops"),)
    change = write(Path("/etc/sudoers.d/ops"), GOOD, 0o440)
    [result] = host.run(
        transaction(change, preconditions=(then,), validation=check), setup=bound(sudoers), roots=["/etc/sudoers.d"]
    )
    assert (result["outcome"], state_of(theirs)) == ("refused", before)


def test_a_link_in_the_place_of_our_file_leads_to_nobody_elses(host: CommitHost, sudoers: Path) -> None:
    theirs = sudoers / "ops"
    theirs.write_bytes(b"ops ALL=(ALL) ALL\n")
    (sudoers / Path(OURS).name).symlink_to("/etc/sudoers.d/ops")
    before = state_of(theirs)
    then = seen(theirs).model_copy(update={"path": OURS, "resolved": "/etc/sudoers.d/ops"})
    planned = transaction(keep_variable(GOOD), preconditions=(then,), validation=CHECK)
    [result] = host.run(planned, setup=bound(sudoers))
    assert (result["outcome"], state_of(theirs)) == ("refused", before)


def test_the_daemon_is_asked_about_the_staged_file_and_its_line_is_the_reason(host: CommitHost) -> None:
    host.program("dockerd", VALIDATING_DOCKERD)
    path = host.file("daemon.json", b"{}")
    before = state_of(path)
    check = (Step(do="dockerd", path=str(path)),)
    [result] = host.run(transaction(write(path, b'{"hots": []}'), validation=check))
    assert (result["outcome"], state_of(path)) == ("refused", before)
    assert result["reason"] == (
        f"dockerd does not accept {path}: unable to configure the Docker daemon with file {path}: the following "
        "directives don't match any configuration option: hots"
    )
    asked, there = (host.base / "validated").read_text().split("\n")
    assert asked.startswith(f"{path.parent}/.daemon.json.remediator-")
    assert there == "{}"
    [result] = host.run(transaction(write(path, b'{"hosts": []}'), validation=check))
    assert (result["outcome"], path.read_bytes()) == ("applied", b'{"hosts": []}')


@pytest.mark.parametrize("level", ["error: ", ""])
def test_a_secret_that_the_daemon_repeats_is_masked_wherever_its_words_are_cut(host: CommitHost, level: str) -> None:
    # The password begins before the reason is cut, and the @ behind it lies after.
    words = f"{level}bad proxy {'y' * 350} http://me:hunter2{'z' * 100}@proxy:1 token=abcdef"
    host.program("dockerd", f"sys.exit({words!r})")
    path = host.file("daemon.json", b"{}")
    [result] = host.run(transaction(write(path, b"{ }"), validation=(Step(do="dockerd", path=str(path)),)))
    assert "bad proxy" in result["reason"]
    assert "hunter2" not in result["reason"]


def test_an_edited_file_is_validated_with_its_secret_in_it(host: CommitHost) -> None:
    host.program("dockerd", "sys.exit('no' if 'hunter2' not in open(argv[2]).read() else 0)")
    content = b'{"proxies": {"http-proxy": "http://me:hunter2@proxy:1"}, "icc": true}'
    path = host.file("daemon.json", content)
    splice = EditSplice(offset=content.index(b"true"), length=4, content=b"false")
    change = Action(do="edit", path=str(path), splices=(splice,), mode=0o644, uid=0, gid=0)
    check = (Step(do="dockerd", path=str(path)), Step(do="json", path=str(path)))
    [result] = host.run(transaction(change, preconditions=(seen_masked(path),), validation=check))
    assert (result["outcome"], path.read_bytes()) == ("applied", content.replace(b"true", b"false"))


@pytest.mark.parametrize("script", [OLD_DOCKERD, None])
def test_a_daemon_that_cannot_validate_or_lies_elsewhere_stops_nothing(host: CommitHost, script: str | None) -> None:
    hidden = "" if script else "mount --bind /dev/null /usr/sbin/dockerd"
    host.program("dockerd", script or "")
    path = host.file("daemon.json", b"{}")
    check = (Step(do="dockerd", path=str(path)),)
    [result] = host.run(transaction(write(path, b'{"hosts": []}'), validation=check), setup=hidden)
    assert (result["outcome"], path.read_bytes()) == ("applied", b'{"hosts": []}')
