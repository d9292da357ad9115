"""Disks that end in the middle of a commit: full, without inodes, read-only; and files that lock up while it runs.

Its auditctl does that to the host when the transaction's rule is loaded, between the first and the last write.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from remediator.plan import Action, Transaction
from tests.unit.host.commit.host import CommitHost, state_of, transaction, write

AUDITCTL = """
rules = here / "rules"
if argv == ["-l"]:
    print(rules.read_text() if rules.exists() else "No rules")
elif argv == ["-s"]:
    print("enabled 1")
elif argv[0] == "-w":
    import subprocess
    {meanwhile}
    rules.write_text(" ".join(argv))
elif argv[0] == "-W":
    rules.unlink()
"""
FILL = """
    try:
        with open(str(here / {place!r} / "filler"), "wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 512)
    except OSError:
        pass
"""
NO_INODES = """
    try:
        for number in range(100000):
            (here / "files" / ("filler%d" % number)).touch()
    except OSError:
        pass
"""
RULE = ("-w", "/usr/bin/runc", "-p", "wa")


@contextmanager
def small(at: Path, options: str) -> Iterator[None]:
    """A small filesystem at a directory of the host's."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=755,{options}", "tmpfs", str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def between(host: CommitHost, meanwhile: str) -> Transaction:
    """Two writes, and what happens to the host between them."""
    host.program("auditctl", AUDITCTL.format(meanwhile=meanwhile.strip()))
    first, second = host.file("first"), host.file("second")
    rule = Action(do="audit_add", rule=RULE)
    return transaction(write(first, b"new"), write(host.files / "made", b"made"), rule, write(second, b"new" * 4000))


def everything(host: CommitHost) -> dict[str, Any]:
    found = {path.name: state_of(path) for path in host.files.iterdir() if not path.name.startswith("filler")}
    return {**found, "rules": (host.base / "rules").exists()}


@pytest.mark.parametrize(
    ("options", "meanwhile", "words"),
    [
        ("size=256k", FILL.format(place="files"), "No space left on device"),
        ("size=1m,nr_inodes=40", NO_INODES, "No space left on device"),
    ],
    ids=["full", "without inodes"],
)
def test_a_disk_that_is_used_up_in_the_middle_gets_all_of_its_old_files_back(
    host: CommitHost, options: str, meanwhile: str, words: str
) -> None:
    with small(host.files, options):
        planned = between(host, meanwhile)
        before = everything(host)
        [result] = host.run(planned)
        assert (result["outcome"], everything(host)) == ("rolled_back", before)
        assert words in result["reason"]


def test_a_full_state_directory_takes_the_rollback_and_its_record_all_the_same(host: CommitHost) -> None:
    with small(host.base / "var-lib", "size=256k"):
        planned = between(host, FILL.format(place="var-lib"))
        before = everything(host)
        [result] = host.run(planned)
        assert (result["outcome"], everything(host)) == ("rolled_back", before)
        assert [path.name for path in host.state.glob("transactions/*/*")] == ["record.json"]


def test_a_state_directory_without_room_refuses_before_anything_is_written(host: CommitHost) -> None:
    with small(host.base / "var-lib", "size=32k"):
        planned = between(host, "pass")
        before = everything(host)
        [result] = host.run(planned)
        assert (result["outcome"], everything(host)) == ("refused", before)
        assert "No space left on device" in result["reason"]


def test_a_disk_that_turns_read_only_is_put_back_once_it_is_writable_again(host: CommitHost) -> None:
    with small(host.files, "size=1m"):
        planned = between(host, f'subprocess.run(["mount", "-o", "remount,ro", {str(host.files)!r}], check=True)')
        before = everything(host)
        [result] = host.run(planned)
        assert result["outcome"] == "broken"
        assert "Read-only file system" in result["reason"]
        assert "its journal stays open" in result["reason"]
        # Another try before that is no better, and loses nothing.
        [again] = host.recover()["recovered"]
        assert again["outcome"] == "broken"
        subprocess.run(["mount", "-o", "remount,rw", str(host.files)], check=True)
        [recovered] = host.recover(release=True)["recovered"]
        assert (recovered["outcome"], everything(host)) == ("rolled_back", before)
        assert host.run(transaction(write(host.files / "first", b"new")))[0]["outcome"] == "applied"


def test_a_file_that_is_locked_in_the_middle_is_put_back_with_the_others(host: CommitHost) -> None:
    planned = between(host, f'subprocess.run(["chattr", "+i", {str(host.files / "second")!r}], check=True)')
    before = everything(host)
    [result] = host.run(planned)
    assert (result["outcome"], everything(host)) == ("rolled_back", before)


def test_a_written_file_that_is_locked_is_put_back_once_it_is_unlocked_and_not_forgotten(host: CommitHost) -> None:
    first = host.files / "first"
    lock = f'subprocess.run(["chattr", "+i", {str(first)!r}], check=True); (here / "files" / "second").unlink()'
    planned = between(host, lock)
    before = everything(host)
    [result] = host.run(planned)
    assert result["outcome"] == "broken"
    assert str(first) in result["reason"]
    subprocess.run(["chattr", "-i", str(first)], check=True)
    host.recover(release=True)
    assert (everything(host)["first"], (host.files / "made").exists()) == (before["first"], False)


def test_a_person_who_releases_a_host_ends_what_cannot_be_put_back(host: CommitHost) -> None:
    first = host.files / "first"
    host.run(between(host, f'subprocess.run(["chattr", "+i", {str(first)!r}], check=True); sys.exit("no")'))
    [given_up] = host.recover(release=True)["recovered"]
    assert given_up["outcome"] == "broken"
    [kept] = host.state.glob("transactions/*/*.before")
    assert str(Path("/var/lib/remediator/transactions") / kept.parent.name) in given_up["reason"]
    assert host.recover(release=True)["released"] is True
    assert kept.exists()
    assert not list(host.state.glob("transactions/*/journal.json"))
    subprocess.run(["chattr", "-i", str(first)], check=True)
    assert host.run(transaction(write(first, b"newer")))[0]["outcome"] == "applied"
