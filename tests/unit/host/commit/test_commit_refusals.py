"""What commit will not touch, whatever it is asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from remediator.plan import Action
from tests.unit.host.commit.host import CommitHost, chmod, seen, state_of, transaction, write


def refused(host: CommitHost, action: Action, words: str, setup: str = "", outcome: str = "refused") -> None:
    """The action is refused with `words`, and nothing below the host's files is another than before."""
    planned = transaction(action)
    before = {item: state_of(item) for item in host.files.rglob("*")}
    [result] = host.run(planned, setup=setup)
    assert result["outcome"] == outcome, result
    assert words in result["reason"]
    assert result["paths"] == []
    assert {item: state_of(item) for item in host.files.rglob("*")} == before


def test_a_path_outside_the_roots(host: CommitHost) -> None:
    path = host.base / "elsewhere"
    path.write_bytes(b"theirs")
    refused(host, chmod(path, 0o600), "outside the places")
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_link_out_of_the_roots(host: CommitHost) -> None:
    outside = host.base / "elsewhere"
    outside.mkdir()
    (outside / "passwd").write_bytes(b"theirs")
    (host.files / "etc").symlink_to(outside)
    refused(host, write(host.files / "etc" / "passwd", b"ours"), "outside the places")
    assert (outside / "passwd").read_bytes() == b"theirs"


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/var", "/var/log", "/etc/systemd/system"])
def test_a_directory_of_the_system_itself_even_when_a_root_names_it(host: CommitHost, path: str) -> None:
    before = state_of(Path(path))
    [result] = host.run(transaction(chmod(Path(path), 0o700)), roots=[path, "/"])
    assert result["outcome"] == "refused"
    assert "directory of the system itself" in result["reason"]
    assert state_of(Path(path)) == before


def test_a_path_below_a_directory_that_others_can_write(host: CommitHost) -> None:
    path = host.file("open/daemon.json")
    path.parent.chmod(0o777)
    refused(host, chmod(path, 0o600), "can be written by others than root")
    path.parent.chmod(0o1777)
    refused(host, chmod(path, 0o600), "can be written by others than root")


def test_a_path_below_a_directory_that_a_group_can_write(host: CommitHost) -> None:
    path = host.file("open/deeper/daemon.json")
    os.chown(path.parent.parent, 0, 7)
    path.parent.parent.chmod(0o775)
    refused(host, chmod(path, 0o600), "can be written by others than root")


def test_a_path_below_somebody_elses_directory(host: CommitHost) -> None:
    path = host.file("theirs/daemon.json")
    os.chown(path.parent, 1000, 0)
    refused(host, chmod(path, 0o600), "belongs to uid 1000")


def test_a_hard_linked_file(host: CommitHost) -> None:
    path = host.file("daemon.json")
    os.link(path, host.files / "twin")
    refused(host, chmod(path, 0o600), "2 hard links")
    refused(host, write(path, b"{}"), "2 hard links")


@pytest.mark.parametrize(("flag", "word"), [("+i", "immutable"), ("+a", "append-only")])
def test_an_immutable_or_append_only_file(host: CommitHost, flag: str, word: str) -> None:
    path = host.file("daemon.json")
    subprocess.run(["chattr", flag, str(path)], check=True)
    refused(host, chmod(path, 0o600), word)
    refused(host, write(path, b"{}"), word)
    refused(host, Action(do="remove", path=str(path)), word)


def test_a_new_file_in_an_immutable_directory(host: CommitHost) -> None:
    (host.files / "rules.d").mkdir()
    subprocess.run(["chattr", "+i", str(host.files / "rules.d")], check=True)
    refused(host, write(host.files / "rules.d" / "new", b"x"), "is immutable")


def test_a_file_on_a_read_only_filesystem(host: CommitHost) -> None:
    path = host.file("ro/daemon.json")
    bind = f"mount --bind {path.parent} {path.parent}; mount -o remount,bind,ro {path.parent}"
    refused(host, chmod(path, 0o600), "read-only", bind)
    refused(host, write(path, b"{}"), "read-only", bind)
    refused(host, write(path.parent / "new", b"{}"), "read-only", bind)


def test_a_full_disk(host: CommitHost) -> None:
    small = host.files / "small"
    small.mkdir(mode=0o755)
    setup = f"mount -t tmpfs -o size=1m,mode=755 tmpfs {small}"
    refused(host, write(small / "new", b"x" * 1_100_000), "No space left on device (1", setup)


def test_a_filesystem_without_free_inodes(host: CommitHost) -> None:
    small = host.files / "small"
    small.mkdir(mode=0o755)
    setup = f"mount -t tmpfs -o nr_inodes=2,mode=755 tmpfs {small}"
    refused(host, write(small / "new", b"x"), "no free inodes", setup)


def test_a_mount_point_is_not_replaced_but_its_mode_is_changed(host: CommitHost) -> None:
    path, source = host.file("daemon.json"), host.file("source", mode=0o666)
    bind = f"mount --bind {source} {path}"
    then = seen(source).model_copy(update={"path": str(path), "resolved": str(path)})
    [result] = host.run(transaction(write(path, b"{}"), preconditions=(then,)), setup=bind)
    assert (result["outcome"], source.read_bytes()) == ("refused", b"old\n")
    assert "mount point" in result["reason"]
    [result] = host.run(transaction(chmod(path, 0o600), preconditions=(then,)), setup=bind)
    assert (result["outcome"], source.stat().st_mode & 0o777) == ("applied", 0o600)


def test_a_file_in_a_directory_that_is_missing_and_nobody_makes(host: CommitHost) -> None:
    refused(host, write(host.files / "rules.d" / "new", b"x"), "rules.d is missing")


def test_removing_a_directory(host: CommitHost) -> None:
    (host.files / "pki").mkdir()
    refused(host, Action(do="remove", path=str(host.files / "pki")), "only those are removed")


def test_one_refused_transaction_leaves_the_others_alone(host: CommitHost) -> None:
    good, bad = host.file("good"), host.file("bad")
    os.link(bad, host.files / "twin")
    results = host.run(transaction(chmod(bad, 0o600)), transaction(chmod(good, 0o600), group="docker"))
    assert [result["outcome"] for result in results] == ["refused", "applied"]
