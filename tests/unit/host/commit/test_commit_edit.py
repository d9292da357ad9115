"""Editing a file with secrets: its real bytes are known here alone, and what a preview masked stays what it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remediator.host.commit.files import FileWrite
from remediator.host.commit.outcomes import StepError
from remediator.plan import Action, EditSplice, Precondition
from tests.unit.host.commit.host import CommitHost, seen, seen_masked, state_of, transaction, write
from tests.unit.host.commit.single import backups, planned, put_back

UNIT = b'[Service]\nEnvironment="HTTPS_PROXY=http://me:hunter2@proxy:3128"\nExecStart=/usr/sbin/dockerd -H fd://\n'


def edit(path: Path, *pieces: tuple[bytes, bytes], content: bytes = UNIT) -> Action:
    """Each of `pieces` (old, new) as a splice into `content`."""
    found = [(content.index(old), old, new) for old, new in pieces]
    splices = tuple(EditSplice(offset=at, length=len(old), content=new) for at, old, new in sorted(found))
    return Action(do="edit", path=str(path), splices=splices, mode=0o600, uid=0, gid=0)


def test_the_new_bytes_are_the_old_ones_with_the_splices_in_and_the_secret_as_it_was(host: CommitHost) -> None:
    path = host.file("docker.conf", UNIT)
    change = edit(path, (b" -H fd://", b""), (b"[Service]\n", b"[Service]\nRestart=always\n"))
    [result] = host.run(transaction(change, preconditions=(seen_masked(path),)))
    assert (result["outcome"], result["paths"]) == ("applied", [str(path)])
    assert path.read_bytes() == UNIT.replace(b" -H fd://", b"").replace(b"[Service]\n", b"[Service]\nRestart=always\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in host.files.iterdir()] == ["docker.conf"]


def test_what_is_put_back_has_the_secret_in_it(host: CommitHost) -> None:
    path = host.file("docker.conf", UNIT)
    before = state_of(path)
    from remediator.plan import Step

    impossible = Step(do="mode_is", path=str(path), mode=1, uid=0, gid=0)
    planned = transaction(edit(path, (b"fd://", b"x")), preconditions=(seen_masked(path),), probe=(impossible,))
    running = host.start(host.request(planned))
    answer = running.answer()
    assert [item["outcome"] for item in answer["results"]] == ["rolled_back"]
    assert state_of(path) == before
    assert "hunter2" not in str(answer) + "".join(host.journal())


def exchange_the_secret(path: Path) -> None:
    """Other bytes under the same mask, with the size, inode and time of the old ones."""
    facts = path.stat()
    path.write_bytes(UNIT.replace(b"hunter2", b"hunter3"))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_secret_that_was_exchanged_under_its_mask_makes_the_edit_stale(host: CommitHost) -> None:
    path = host.file("docker.conf", UNIT)
    planned = transaction(edit(path, (b"fd://", b"x")), preconditions=(seen_masked(path),))
    exchange_the_secret(path)
    [result] = host.run(planned)
    assert result["outcome"] == "stale"
    assert "replaced or written since" in result["reason"]
    assert b"hunter3" in path.read_bytes()


def test_bytes_beside_the_mask_that_differ_make_the_edit_stale(host: CommitHost) -> None:
    path = host.file("docker.conf", UNIT)
    then = seen_masked(path).model_copy(update={"sha256": seen(path).sha256})
    [result] = host.run(transaction(edit(path, (b"fd://", b"x")), preconditions=(then,)))
    assert result["outcome"] == "stale"
    assert "content is another" in result["reason"]
    assert path.read_bytes() == UNIT


CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (exchange_the_secret, "was changed by somebody else"),
    (lambda path: path.write_bytes(UNIT + b"#"), "was changed by somebody else"),
    (lambda path: path.unlink(), "was removed by somebody else"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_the_file_is_compared_once_more_when_it_is_edited(
    host: CommitHost, change: Callable[[Path], object], words: str
) -> None:
    path = host.file("docker.conf", UNIT)
    with backups(host.base) as directory:
        entry = planned(path, b"#\n" + UNIT)
        change(path)
        before = path.exists() and state_of(path)
        with pytest.raises(StepError, match=words):
            FileWrite(entry, b"#\n" + UNIT, directory).do()
        assert put_back(entry, directory).paths == []
    assert (path.exists() and state_of(path)) == before


def test_a_file_that_came_where_none_was_is_not_overwritten(host: CommitHost) -> None:
    path = host.files / "docker.conf"
    with backups(host.base) as directory:
        entry = planned(path, b"ours")
        path.write_bytes(b"theirs")
        with pytest.raises(StepError, match="was changed by somebody else"):
            FileWrite(entry, b"ours", directory).do()
        assert "written by somebody else since" in put_back(entry, directory).left_alone[0]
    assert [(item.name, item.read_bytes()) for item in host.files.iterdir()] == [("docker.conf", b"theirs")]


@pytest.mark.parametrize("masked", [True, False])
def test_a_whole_write_over_a_file_is_compared_in_the_same_way(host: CommitHost, masked: bool) -> None:
    path = host.file("docker.conf", UNIT)
    then = seen_masked(path) if masked else seen(path)
    [result] = host.run(transaction(write(path, b"[Service]\n"), preconditions=(then,)))
    assert (result["outcome"], path.read_bytes()) == ("applied", b"[Service]\n")


def test_a_splice_outside_of_the_file_writes_nothing(host: CommitHost) -> None:
    path = host.file("docker.conf", UNIT)
    splices = (EditSplice(offset=len(UNIT) - 1, length=2, content=b""),)
    beyond = Action(do="edit", path=str(path), splices=splices, mode=0o600, uid=0, gid=0)
    before = state_of(path)
    [result] = host.run(transaction(beyond, preconditions=(seen_masked(path),)))
    assert (result["outcome"], state_of(path)) == ("refused", before)
    assert "other bytes than those that were to be edited" in result["reason"]


def test_bytes_that_nobody_named_are_not_edited(host: CommitHost) -> None:
    path = host.file("docker.conf", UNIT)
    planned = transaction(edit(path, (b"fd://", b"x")), preconditions=(seen(path, content=False),))
    [result] = host.run(planned)
    assert result["outcome"] == "refused"
    assert "does not say what must be found there" in result["reason"]
    assert path.read_bytes() == UNIT


def test_a_file_that_is_not_there_is_not_edited(host: CommitHost) -> None:
    path = host.files / "docker.conf"
    [result] = host.run(transaction(edit(path, (b"fd://", b"x"))))
    assert result["outcome"] == "refused"
    assert "nothing to edit" in result["reason"]


@pytest.mark.parametrize("name", ["sha256", "ino", "dev", "size", "mtime_ns", "ctime_ns"])
def test_a_mask_is_believed_only_with_everything_that_tells_a_change_behind_it(host: CommitHost, name: str) -> None:
    path = host.file("docker.conf", UNIT)
    then = seen_masked(path).model_copy(update={name: None})
    assert isinstance(then, Precondition)
    planned = transaction(edit(path, (b"fd://", b"x")), preconditions=(then,))
    answer: dict[str, Any] = host.start(host.request(planned)).answer()
    assert answer["error"]["kind"] == "request"
    assert "needs its digest and its identity" in answer["error"]["message"]
    assert path.read_bytes() == UNIT
