"""The compiled copy that a host keeps of the program: used where it is root's own and whole, never else."""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from tests.unit.host.commit.host import CommitHost, chmod, transaction

# What a copy that is used would leave behind.
MINE = marshal.dumps(compile("import os; os.mkdir('/var/lib/remediator/mine')", "mine", "exec"))


def committed(host: CommitHost) -> str:
    """How a commit ends that changes a mode to and fro."""
    path = host.files / "x"
    if not path.exists():
        host.file("x", mode=0o644)
    wanted = 0o600 if path.stat().st_mode & 0o777 == 0o644 else 0o644
    outcome: str = host.run(transaction(chmod(path, wanted)))[0]["outcome"]
    return outcome


def copies(host: CommitHost) -> list[Path]:
    return list(host.state.glob("*engine-*"))


def test_the_program_is_compiled_once_and_kept_for_root_alone(host: CommitHost) -> None:
    assert [committed(host), committed(host)] == ["applied", "applied"]
    [kept] = copies(host)
    assert kept.stat().st_mode & 0o7777 == 0o600
    before = kept.stat().st_mtime_ns, kept.stat().st_ino
    assert committed(host) == "applied"
    [again] = copies(host)
    assert (again.stat().st_mtime_ns, again.stat().st_ino) == before


def test_copies_of_earlier_versions_go(host: CommitHost) -> None:
    committed(host)
    for name in ("engine-" + "0" * 64, ".engine-" + "0" * 64 + ".7"):
        (host.state / name).write_bytes(b"old")
    committed(host)
    [kept] = copies(host)
    assert kept.read_bytes() != b"old"


def test_a_copy_is_what_is_run(host: CommitHost) -> None:
    committed(host), committed(host)
    [kept] = copies(host)
    kept.write_bytes(sha256(MINE).hexdigest().encode() + b"\n" + MINE)
    host.start(host.request()).answer()
    assert (host.state / "mine").is_dir(), "then the tests below would show nothing"


def anybody_may_write(kept: Path) -> None:
    kept.chmod(0o602)


def somebody_owns(kept: Path) -> None:
    os.chown(kept, 1000, 0)


def linked(kept: Path) -> None:
    os.link(kept, kept.with_name("other"))


def led_elsewhere(kept: Path) -> None:
    kept.rename(kept.with_name("other"))
    kept.symlink_to("other")


def damaged(kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")


def directory_open(kept: Path) -> None:
    kept.parent.chmod(0o777)


@pytest.mark.parametrize("change", [anybody_may_write, somebody_owns, linked, led_elsewhere, damaged, directory_open])
def test_a_copy_that_others_could_have_made_is_not_run(host: CommitHost, change: Callable[[Path], None]) -> None:
    committed(host), committed(host)
    [kept] = copies(host)
    kept.write_bytes(sha256(MINE).hexdigest().encode() + b"\n" + MINE)
    change(kept)
    assert committed(host) == "applied"
    assert not (host.state / "mine").exists()
