"""What was swapped for a symlink after every check is still not followed: the last line of defence, one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from remediator.host.commit.access import AccessChange
from remediator.host.commit.files import DirectoryMade, FileRemoval, FileWrite
from remediator.host.commit.outcomes import LeftAloneError, StepError
from remediator.host.commit.places import UntrustedError, open_place
from tests.unit.host.commit.host import CommitHost, state_of

ACCESS = (0o600, 0, 0)


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
        change = AccessChange(str(link), "file", mode, owner, set())
        with pytest.raises(StepError, match="became a symlink"):
            change.do()
        change.revert()
        change.close()
    assert state_of(victim) == before


def test_a_link_in_place_of_a_file_is_neither_written_through_nor_removed(link: Path, victim: Path) -> None:
    before = state_of(victim)
    for work in (FileWrite(str(link), b"ours", ACCESS, None, set()), FileRemoval(str(link))):
        with pytest.raises(StepError, match="is no regular file"):
            work.do()
        work.revert()
        work.close()
    assert state_of(victim) == before
    assert link.is_symlink()


def test_a_link_in_place_of_a_directory_leads_nowhere(host: CommitHost) -> None:
    outside = host.base / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"theirs")
    (host.files / "etc").symlink_to(outside)
    path = str(host.files / "etc" / "x")
    works = [
        FileWrite(path, b"ours", ACCESS, None, set()),
        FileRemoval(path),
        AccessChange(path, "file", 0o600, None, set()),
        DirectoryMade(path + "2", *ACCESS),
    ]
    for work in works:
        with pytest.raises(NotADirectoryError):
            work.do()
        work.revert()
        work.close()
    assert [item.name for item in outside.iterdir()] == ["x"]


def test_a_directory_opened_to_others_after_the_checks_is_not_written_in(host: CommitHost) -> None:
    path = host.file("etc/daemon.json")
    path.parent.chmod(0o777)
    write = FileWrite(str(path), b"ours", ACCESS, None, set())
    with pytest.raises(UntrustedError, match="can be written by others"):
        write.do()
    write.close()
    assert path.read_bytes() == b"old\n"


def test_putting_back_touches_nothing_that_came_in_the_places_of_what_was_changed(host: CommitHost) -> None:
    path, victim = host.file("daemon.json"), host.file("victim", b"theirs", 0o666)
    before = state_of(victim)
    written, changed = (
        FileWrite(str(path), b"ours", ACCESS, None, set()),
        AccessChange(str(path), "file", 0o640, None, set()),
    )
    written.do()
    changed.do()
    path.unlink()
    path.symlink_to(victim)
    for work in (changed, written):
        with pytest.raises(LeftAloneError, match="by somebody else since"):
            work.revert()
        work.close()
    assert state_of(victim) == before


def test_the_parent_of_a_place_is_the_directory_that_was_checked(host: CommitHost) -> None:
    path = host.file("etc/daemon.json")
    place = open_place(str(path))
    path.parent.rename(host.files / "moved")
    (host.files / "etc").symlink_to("/etc")
    found = place.stat()
    place.close()
    assert found is not None
    assert found.st_ino == (host.files / "moved" / "daemon.json").stat().st_ino
