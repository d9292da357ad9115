"""Changing mode and owner."""

from __future__ import annotations

import os
import socket
import stat

from remediator.plan import Action, Step
from tests.unit.host.commit.host import CommitHost, chmod, state_of, transaction


def mode(path: os.PathLike[str]) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_a_mode_is_tightened_and_the_path_is_reported(host: CommitHost) -> None:
    path = host.file("daemon.json", mode=0o644)
    probe = Step(do="mode_is", path=str(path), mode=0o600, uid=0, gid=0)
    change = transaction(chmod(path, 0o600), probe=(probe,))
    [result] = host.run(change)
    assert (result["outcome"], result["paths"], result["digest"]) == ("applied", [str(path)], change.digest)
    assert mode(path) == 0o600
    assert path.read_bytes() == b"old\n"


def test_owner_and_setuid_bits_end_as_asked(host: CommitHost) -> None:
    path = host.file("tool", mode=0o755, uid=1234, gid=4321)
    own = Action(do="chown", path=str(path), uid=0, gid=7)
    [result] = host.run(transaction(own, chmod(path, 0o4750)))
    assert result["outcome"] == "applied"
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (0, 7, 0o4750)


def test_a_directory_and_a_socket_are_changed_like_files(host: CommitHost) -> None:
    directory = host.files / "certs.d"
    directory.mkdir(mode=0o777)
    path = host.files / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chown(path, 12, 12)
        own = Action(do="chown", path=str(path), uid=0, gid=12)
        [result] = host.run(transaction(chmod(directory, 0o750), own, chmod(path, 0o660)))
    assert result["outcome"] == "applied"
    assert (mode(directory), mode(path), path.lstat().st_uid, path.lstat().st_gid) == (0o750, 0o660, 0, 12)


def test_extended_attributes_outlive_a_change_of_mode(host: CommitHost) -> None:
    path = host.file("key.pem")
    os.setxattr(path, "user.note", b"kept")
    [result] = host.run(transaction(chmod(path, 0o400)))
    assert result["outcome"] == "applied"
    assert os.getxattr(path, "user.note") == b"kept"


def test_a_path_through_a_symlinked_directory_reaches_the_file_that_the_preview_saw(host: CommitHost) -> None:
    real = host.file("real/config", mode=0o666)
    (host.files / "link").symlink_to("real")
    [result] = host.run(transaction(chmod(host.files / "link" / "config", 0o600)))
    assert result["outcome"] == "applied"
    assert mode(real) == 0o600


def test_more_paths_than_a_process_may_open_by_default_are_changed_at_once(host: CommitHost) -> None:
    paths = [host.file(f"pki/{number}.crt", mode=0o666) for number in range(300)]
    [result] = host.run(transaction(*[chmod(path, 0o600) for path in paths]), setup="ulimit -S -n 64")
    assert result["outcome"] == "applied"
    assert {mode(path) for path in paths} == {0o600}


def test_asking_again_for_what_is_done_is_stale_and_changes_nothing(host: CommitHost) -> None:
    path = host.file("daemon.json")
    change = transaction(chmod(path, 0o600))
    assert host.run(change)[0]["outcome"] == "applied"
    before = state_of(path)
    [result] = host.run(change)
    assert result["outcome"] == "stale"
    assert "mode 0600 now, 0644 at the preview" in result["reason"]
    assert state_of(path) == before
