"""What was swapped for a symlink after every check is still not followed: the last line of defence, one by one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from remediator.host.commit.access import AccessChange
from remediator.host.commit.entries import PathEntry
from remediator.host.commit.files import DirectoryMade, DirectoryRemoved, FileRemoval, FileWrite
from remediator.host.commit.outcomes import StepError
from remediator.host.commit.places import UntrustedError, open_place
from remediator.host.commit.states import MISSING, PathState
from tests.unit.host.commit.host import CommitHost, state_of
from tests.unit.host.commit.single import backups, now, planned, put_back


@pytest.fixture
def victim(host: CommitHost) -> Path:
    path = host.base / "victim"
    path.write_bytes(b"theirs")
    return path


@pytest.fixture
def link(host: CommitHost, victim: Path) -> Path:
    path = host.files / "daemon.json"
    path.symlink_to(victim)
    return path


def test_a_link_in_place_of_a_file_takes_no_mode_and_no_owner(link: Path, victim: Path) -> None:
    before = state_of(victim)
    for mode, owner in ((0o777, None), (None, (1000, 1000))):
        with pytest.raises(StepError, match="became a symlink"):
            AccessChange(str(link), "file", mode, owner).do()
    assert state_of(victim) == before


def test_a_link_in_place_of_a_file_is_neither_written_through_nor_removed(
    host: CommitHost, link: Path, victim: Path
) -> None:
    before = state_of(victim)
    with backups(host.base) as directory:
        written, removed = planned(link, b"ours", before=now(victim)), planned(link, None, before=now(victim))
        for work in (FileWrite(written, b"ours", directory), FileRemoval(removed, directory)):
            with pytest.raises(StepError, match="is no regular file"):
                work.do()
        for entry in (written, removed):
            assert "replaced by somebody else since" in put_back(entry, directory).left_alone[0]
    assert state_of(victim) == before
    assert link.is_symlink()


def test_a_link_in_place_of_a_directory_leads_nowhere(host: CommitHost, victim: Path) -> None:
    outside = host.base / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"theirs")
    (host.files / "etc").symlink_to(outside)
    path = host.files / "etc" / "x"
    with backups(host.base) as directory:
        entries = [planned(path, content, before=now(victim)) for content in (b"ours", None)]
        made = PathEntry(1, f"{path}2", (), MISSING, PathState("directory", 0o700, 0, 0))
        works = [
            FileWrite(entries[0], b"ours", directory),
            FileRemoval(entries[1], directory),
            AccessChange(str(path), "file", 0o600, None),
            DirectoryMade(made),
            DirectoryRemoved(made, ()),
        ]
        for work in works:
            with pytest.raises(NotADirectoryError):
                work.do()
        for entry in (*entries, made):
            assert "Not a directory" in put_back(entry, directory).trouble[0]
    assert [item.name for item in outside.iterdir()] == ["x"]


def test_a_directory_opened_to_others_after_the_checks_is_not_written_in(host: CommitHost) -> None:
    path = host.file("etc/daemon.json")
    path.parent.chmod(0o777)
    with backups(host.base) as directory:
        entry = planned(path, b"ours")
        with pytest.raises(UntrustedError, match="can be written by others"):
            FileWrite(entry, b"ours", directory).do()
        assert "can be written by others" in put_back(entry, directory).trouble[0]
    assert path.read_bytes() == b"old\n"


def test_putting_back_touches_nothing_that_came_in_the_place_of_what_was_written(host: CommitHost) -> None:
    path, victim = host.file("daemon.json"), host.file("victim", b"theirs", 0o666)
    before = state_of(victim)
    with backups(host.base) as directory:
        entry = planned(path, b"ours", 0o640)
        FileWrite(entry, b"ours", directory).do()
        path.unlink()
        path.symlink_to(victim)
        [words] = put_back(entry, directory).left_alone
    assert "replaced by somebody else since; its bytes from before are kept beside it" in words
    assert state_of(victim) == before


@pytest.mark.parametrize("replace", [Path.symlink_to, os.link])
def test_putting_a_mode_back_reaches_only_what_it_was_taken_from(
    host: CommitHost, replace: Callable[[Path, Path], None]
) -> None:
    path, victim = host.file("daemon.json"), host.file("victim", b"theirs", 0o640)
    before = state_of(victim)[:4]
    with backups(host.base) as directory:
        entry = PathEntry(0, str(path), (), now(path)._replace(sha256=None), now(path)._replace(mode=0o640))
        AccessChange(str(path), "file", 0o640, None).do()
        path.unlink()
        path.symlink_to(victim) if replace is Path.symlink_to else os.link(victim, path)
        assert "replaced by somebody else since" in put_back(entry, directory).left_alone[0]
    assert state_of(victim)[:4] == before


def test_the_parent_of_a_place_is_the_directory_that_was_checked(host: CommitHost) -> None:
    path = host.file("etc/daemon.json")
    place = open_place(str(path))
    path.parent.rename(host.files / "moved")
    (host.files / "etc").symlink_to("/etc")
    found = place.stat()
    place.close()
    assert found is not None
    assert found.st_ino == (host.files / "moved" / "daemon.json").stat().st_ino
