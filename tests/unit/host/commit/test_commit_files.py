"""Writing, making and removing files."""

from __future__ import annotations

import os
import struct

import pytest

from remediator.plan import Action, Precondition, Step
from tests.unit.host.commit.host import CommitHost, seen, transaction, write

ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, perm, who)
    for tag, perm, who in (
        (1, 6, 0xFFFFFFFF),
        (2, 4, 1000),
        (4, 4, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)


def names(host: CommitHost) -> list[str]:
    return sorted(str(path.relative_to(host.files)) for path in host.files.rglob("*"))


def test_a_new_file_has_its_content_mode_and_owner_and_leaves_nothing_beside_it(host: CommitHost) -> None:
    path = host.files / "50-remediator.rules"
    [result] = host.run(transaction(write(path, b"-w /x -p wa\n", 0o640, 0, 7)))
    assert result["outcome"] == "applied"
    facts = path.stat()
    assert (path.read_bytes(), facts.st_mode & 0o7777, facts.st_gid) == (b"-w /x -p wa\n", 0o640, 7)
    assert names(host) == ["50-remediator.rules"]


def test_a_replaced_file_keeps_its_attributes_and_access_list_but_no_capability(host: CommitHost) -> None:
    path = host.file("daemon.json", b"{}\n", 0o640)
    os.setxattr(path, "user.note", b"kept")
    os.setxattr(path, "system.posix_acl_access", ACL)
    os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x02000001, 1, 0, 0, 0))
    [result] = host.run(transaction(write(path, b'{"icc": false}\n', 0o640)))
    assert result["outcome"] == "applied"
    assert path.read_bytes() == b'{"icc": false}\n'
    assert sorted(os.listxattr(path)) == ["system.posix_acl_access", "user.note"]
    assert os.getxattr(path, "system.posix_acl_access") == ACL
    assert names(host) == ["daemon.json"]


def test_a_replaced_file_keeps_its_selinux_label_and_so_does_what_is_put_back(host: CommitHost) -> None:
    label = b"system_u:object_r:container_config_t:s0\0"
    path = host.file("daemon.json", b"{}\n", 0o640)
    os.setxattr(path, "security.selinux", label)
    [result] = host.run(transaction(write(path, b'{"icc": false}\n', 0o640)))
    assert (result["outcome"], os.getxattr(path, "security.selinux")) == ("applied", label)
    impossible = Step(do="mode_is", path=str(path), mode=1, uid=0, gid=0)
    [result] = host.run(transaction(write(path, b"{}", 0o640), probe=(impossible,)))
    assert (result["outcome"], os.getxattr(path, "security.selinux")) == ("rolled_back", label)


def test_a_file_is_written_into_a_directory_that_the_same_transaction_makes(host: CommitHost) -> None:
    directory = host.files / "rules.d"
    path = directory / "a.rules"
    make = Action(do="mkdir", path=str(directory), mode=0o750, uid=0, gid=7)
    [result] = host.run(transaction(make, write(path, b"x", 0o600)))
    assert result["outcome"] == "applied"
    assert (directory.stat().st_mode & 0o7777, directory.stat().st_gid, path.read_bytes()) == (0o750, 7, b"x")


def test_a_removed_file_is_gone_and_nothing_is_left_of_it(host: CommitHost) -> None:
    path = host.file("old.rules")
    [result] = host.run(transaction(Action(do="remove", path=str(path))))
    assert result["outcome"] == "applied"
    assert names(host) == []


def test_what_an_interrupted_commit_staged_is_swept_and_nothing_else(host: CommitHost) -> None:
    path = host.file("daemon.json")
    host.file(".daemon.json.remediator-0123456789ab.new")
    host.file(".daemon.json.remediator-0123456789ab.old")
    others = [".daemon.json.swp", ".other.remediator-0123456789ab.new", "daemon.json.remediator-0123456789ab.new"]
    others.append(".daemon.json.remediator-0123456789ab.kept")
    for name in others:
        host.file(name)
    others.append(".daemon.json.remediator-ba9876543210.old")
    host.file(others[-1], uid=1000)
    assert host.run(transaction(write(path, b"{}")))[0]["outcome"] == "applied"
    assert names(host) == sorted(["daemon.json", *others])


def test_content_can_be_any_bytes_and_of_any_size(host: CommitHost) -> None:
    path = host.file("blob", b"\0" * 3_000_000)
    content = bytes(range(256)) * 20_000
    assert host.run(transaction(write(path, content)))[0]["outcome"] == "applied"
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["daemon é.json", "-rf", "a b", "$(id)", "n" * 200])
def test_names_are_names_and_never_anything_else(host: CommitHost, name: str) -> None:
    path = host.files / name
    path.write_bytes(b"old")
    assert host.run(transaction(write(path, b"new")))[0]["outcome"] == "applied"
    assert path.read_bytes() == b"new"
    assert names(host) == [name]


def test_a_file_that_appears_where_none_was_expected_is_not_overwritten(host: CommitHost) -> None:
    path = host.files / "new"
    expected = seen(path)
    path.write_bytes(b"theirs")
    [result] = host.run(transaction(write(path, b"ours"), preconditions=(expected,)))
    assert (result["outcome"], path.read_bytes()) == ("stale", b"theirs")
    assert "file now, missing at the preview" in result["reason"]


def test_a_masked_precondition_never_matches_the_file_that_hides_behind_it(host: CommitHost) -> None:
    path = host.file("proxy.conf", b"http://u:secret@proxy\n")
    then = seen(path).model_copy(update={"sha256": "0" * 64})
    assert isinstance(then, Precondition)
    [result] = host.run(transaction(write(path, b"http://u:xxxxxx@proxy\n"), preconditions=(then,)))
    assert (result["outcome"], path.read_bytes()) == ("stale", b"http://u:secret@proxy\n")
