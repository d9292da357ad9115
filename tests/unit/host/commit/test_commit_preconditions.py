"""Nothing is written on a host that is not as the preview saw it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from remediator.plan import Action
from tests.unit.host.commit.host import CommitHost, chmod, seen, state_of, transaction, write


def other_content(path: Path) -> None:
    path.write_bytes(b"new\n")


def replaced_by_same(path: Path) -> None:
    twin = path.with_name("twin")
    twin.write_bytes(path.read_bytes())
    twin.chmod(path.stat().st_mode & 0o7777)
    os.utime(twin, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    twin.rename(path)


def replaced_by_symlink(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def replaced_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replaced_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def parent_became_a_link(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to("moved")


CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (other_content, "replaced or written since"),
    (lambda path: path.chmod(0o600), "mode 0600 now, 0644 at the preview"),
    (lambda path: os.chown(path, 5, -1), "owner uid 5 now, 0 at the preview"),
    (lambda path: os.chown(path, -1, 6), "group gid 6 now, 0 at the preview"),
    (os.utime, "replaced or written since"),
    (lambda path: path.unlink(), "missing now, file at the preview"),
    (replaced_by_same, "replaced or written since"),
    (replaced_by_symlink, "leads to"),
    (replaced_by_directory, "directory now, file at the preview"),
    (replaced_by_fifo, "fifo now, file at the preview"),
    (parent_became_a_link, "leads to"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_any_difference_makes_every_transaction_of_the_host_stale_and_untouched(
    host: CommitHost, change: Callable[[Path], object], words: str
) -> None:
    path = host.file("etc/daemon.json")
    other = host.file("other")
    planned = transaction(write(path, b"{}"), group="docker")
    first = transaction(chmod(other, 0o600))
    change(path)
    before = {item: state_of(item) for item in host.files.rglob("*")}
    results = host.run(first, planned)
    assert [result["outcome"] for result in results] == ["stale", "stale"]
    assert all(str(path) in result["reason"] and words in result["reason"] for result in results)
    assert {item: state_of(item) for item in host.files.rglob("*")} == before
    assert host.journal() == []


def test_content_is_compared_by_its_digest_alone_where_no_identity_is_given(host: CommitHost) -> None:
    path = host.file("daemon.json", b"aaaa\n")
    then = seen(path).model_copy(update={"ino": None, "dev": None, "size": None, "mtime_ns": None})
    facts = path.stat()
    path.write_bytes(b"bbbb\n")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    [result] = host.run(transaction(write(path, b"{}"), preconditions=(then,)))
    assert (result["outcome"], path.read_bytes()) == ("stale", b"bbbb\n")
    assert "content is another than at the preview" in result["reason"]


def test_a_directory_may_gain_files_between_preview_and_commit(host: CommitHost) -> None:
    directory = host.files / "pki"
    directory.mkdir(mode=0o755)
    planned = transaction(chmod(directory, 0o700))
    host.file("pki/new.crt")
    assert host.run(planned)[0]["outcome"] == "applied"


def test_a_difference_that_comes_later_makes_only_its_own_transaction_stale(host: CommitHost) -> None:
    path, other = host.file("daemon.json"), host.file("other")
    results = host.run(
        transaction(write(path, b"first")),
        transaction(write(path, b"second"), group="docker"),
        transaction(chmod(other, 0o600), group="kubelet"),
    )
    assert [result["outcome"] for result in results] == ["applied", "stale", "applied"]
    assert path.read_bytes() == b"first"


def test_an_action_on_a_path_without_a_precondition_is_refused(host: CommitHost) -> None:
    path = host.file("daemon.json")
    [result] = host.run(transaction(chmod(path, 0o600), preconditions=()))
    assert result["outcome"] == "refused"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_link_that_leads_in_a_circle_is_a_difference_and_no_failure(host: CommitHost) -> None:
    path = host.file("daemon.json")
    planned = transaction(Action(do="remove", path=str(path)))
    path.unlink()
    path.symlink_to("daemon.json")
    [result] = host.run(planned)
    assert result["outcome"] == "stale"
