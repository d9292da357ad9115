"""What fails after the first write is put back, exactly."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from remediator.plan import Action, Step
from tests.unit.host.commit.host import CommitHost, chmod, state_of, transaction, write

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1, 0, 0, 0)


def everything(root: Path) -> dict[str, tuple[Any, ...]]:
    found = {str(path): state_of(path) for path in root.rglob("*")}
    # A directory's own time moves with what is staged in it.
    return {path: state[:4] + state[5:] if Path(path).is_dir() else state for path, state in found.items()}


def impossible(path: Path) -> Step:
    """A probe that fails: nobody asks for mode 0001."""
    return Step(do="mode_is", path=str(path), mode=1, uid=0, gid=0)


def test_bytes_modes_owners_attributes_and_times_are_as_before(host: CommitHost) -> None:
    config = host.file("etc/daemon.json", b'{"secret": 1}\n', 0o640, 0, 7)
    os.setxattr(config, "user.note", b"kept")
    os.setxattr(config, "security.capability", CAPABILITY)
    tool = host.file("etc/tool", b"binary", 0o4755, 12, 34)
    os.setxattr(tool, "security.capability", CAPABILITY)
    gone = host.file("etc/gone", b"back", 0o600)
    os.utime(config, ns=(1_000_000_001, 2_000_000_002))
    os.utime(gone, ns=(3_000_000_003, 4_000_000_004))
    before = everything(host.files)
    directory = host.files / "etc" / "new.d"
    [result] = host.run(
        transaction(
            write(config, b"{}", 0o600),
            Action(do="chown", path=str(tool), uid=0, gid=0),
            chmod(tool, 0o755),
            Action(do="remove", path=str(gone)),
            Action(do="mkdir", path=str(directory), mode=0o700, uid=0, gid=0),
            write(directory / "new", b"x"),
            write(host.files / "etc" / "another", b"y"),
            chmod(host.files / "etc", 0o700),
            probe=(impossible(config),),
        )
    )
    assert result["outcome"] == "rolled_back"
    assert "mode 0600 and owner 0:0 afterwards" in result["reason"]
    assert result["paths"] == []
    assert everything(host.files) == before
    assert any("outcome=rolled_back" in line for line in host.journal())


@pytest.mark.parametrize(
    ("do", "content", "words"),
    [
        ("json", b'{"icc": false', "is not JSON"),
        ("json", b'{"icc": false, "icc": true}', "repeats a key"),
        ("json", b"\xef\xbb\xbf{}", "is not JSON"),
        ("json", b"\xff", "is not UTF-8"),
        ("yaml_text", b"a:\n\tb: 1\n", "has a tab"),
        ("audit_rules", b"-w /x -p wa\n-w /y -p q\n", "cannot read line 2"),
        ("audit_rules", b"-w /x -p wa # why\n", "cannot read line 1"),
    ],
)
def test_content_that_its_reader_would_refuse_never_takes_its_place(
    host: CommitHost, do: str, content: bytes, words: str
) -> None:
    path, other = host.file("config"), host.file("other")
    before = everything(host.files)
    validation = (Step(do=do, path=str(path)),)
    [result] = host.run(transaction(write(path, content), validation=validation))
    assert result["outcome"] == "refused"
    assert f"{path}" in result["reason"]
    assert words in result["reason"]
    assert everything(host.files) == before
    [result] = host.run(transaction(chmod(other, 0o600), write(path, content), validation=validation))
    assert (result["outcome"], everything(host.files)) == ("rolled_back", before)


def test_a_file_that_is_not_written_is_validated_after_the_writes(host: CommitHost) -> None:
    path, broken = host.file("config"), host.file("daemon.json", b"{")
    before = everything(host.files)
    validation = (Step(do="json", path=str(broken)),)
    [result] = host.run(transaction(chmod(path, 0o600), validation=validation))
    assert (result["outcome"], everything(host.files)) == ("rolled_back", before)


def test_a_write_that_fails_in_the_middle_takes_back_what_came_before_it(host: CommitHost) -> None:
    first, second, third = host.file("a"), host.file("b"), host.files / "c"
    before = everything(host.files)
    # Files larger than 400 blocks of 512 bytes cannot be written: EFBIG, met when the second one is staged.
    [result] = host.run(
        transaction(chmod(first, 0o600), write(first, b"small"), write(second, b"x" * 300_000), write(third, b"y")),
        setup="ulimit -f 400",
    )
    assert result["outcome"] == "rolled_back"
    assert "File too large" in result["reason"]
    assert everything(host.files) == before


def test_a_first_write_that_fails_leaves_the_host_untouched_and_says_refused(host: CommitHost) -> None:
    path = host.file("a")
    before = everything(host.files)
    [result] = host.run(transaction(write(path, b"x" * 300_000)), setup="ulimit -f 400")
    assert (result["outcome"], everything(host.files)) == ("refused", before)


def test_one_rollback_leaves_the_other_transactions_alone(host: CommitHost) -> None:
    bad, good = host.file("bad"), host.file("good")
    results = host.run(
        transaction(chmod(bad, 0o600), group="docker", probe=(impossible(bad),)), transaction(chmod(good, 0o600))
    )
    assert [result["outcome"] for result in results] == ["rolled_back", "applied"]
    assert (bad.stat().st_mode & 0o777, good.stat().st_mode & 0o777) == (0o644, 0o600)


def test_neither_contents_nor_secrets_are_in_what_is_said(host: CommitHost) -> None:
    path = host.file("config", b'{"password": "hunter2-old"}')
    step = Step(do="json", path=str(path))
    running = host.start(host.request(transaction(write(path, b'{"password": "hunter2-new"'), validation=(step,))))
    output, errors = running.process.communicate(timeout=60)
    from remediator import wire

    answer = wire.read_answer("web1", output, running.marker)
    for said in (answer, output, errors, "\n".join(host.journal()).encode()):
        assert b"hunter2" not in said
