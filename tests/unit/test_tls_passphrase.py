"""Where the passphrase of the CA's key comes from, and which are refused. Prompts are tested at a real terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from remediator.access import Secret
from remediator.errors import UsageError
from remediator.tls.passphrase import LONGEST, SHORTEST, VARIABLE, given_passphrase, new_passphrase

GOOD = "correct horse battery"


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have one."""
    monkeypatch.delenv(VARIABLE, raising=False)


def file(directory: Path, content: bytes, mode: int = 0o600) -> str:
    """A passphrase file."""
    path = directory / "passphrase"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_file_holds_it_on_its_only_line(end: bytes, tmp_path: Path) -> None:
    path = file(tmp_path, b" " + GOOD.encode() + " ü ".encode() + end)
    assert given_passphrase(path) == new_passphrase(path) == Secret(f" {GOOD} ü ")


def test_the_file_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "from the environment")
    assert given_passphrase(file(tmp_path, GOOD.encode())) == Secret(GOOD)


def test_the_environment_gives_it_once_and_no_child_inherits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, GOOD)
    assert given_passphrase(None) == Secret(GOOD)
    assert VARIABLE not in os.environ
    assert GOOD not in subprocess.run(["env"], capture_output=True, text=True, check=True, timeout=60).stdout


def test_it_does_not_show_itself(tmp_path: Path) -> None:
    assert GOOD not in repr(given_passphrase(file(tmp_path, GOOD.encode())))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602])
def test_a_file_that_others_can_read_or_change_is_refused(mode: int, tmp_path: Path) -> None:
    path = file(tmp_path, GOOD.encode(), mode)
    with pytest.raises(UsageError, match=rf"{path} .*mode {mode:04o}.*chmod 600") as raised:
        given_passphrase(path)
    assert GOOD not in str(raised.value)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_file_of_the_users_own_is_taken(mode: int, tmp_path: Path) -> None:
    assert given_passphrase(file(tmp_path, GOOD.encode(), mode)) == Secret(GOOD)


def test_a_pipe_is_taken() -> None:
    reading, writing = os.pipe()
    os.write(writing, GOOD.encode() + b"\n")
    os.close(writing)
    assert given_passphrase(f"/dev/fd/{reading}") == Secret(GOOD)
    os.close(reading)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"one line here\nand another\n", "must be one line"),
        (b"nul \x00 in the middle", "must be one line"),
        (b"x" * (LONGEST + 1), f"at most {LONGEST} bytes"),
        (b"\xff\xfe not text", "not UTF-8"),
    ],
)
def test_what_is_no_passphrase_is_refused_without_being_quoted(content: bytes, words: str, tmp_path: Path) -> None:
    path = file(tmp_path, content)
    for take in (given_passphrase, new_passphrase):
        with pytest.raises(UsageError, match=words) as raised:
            take(path)
        assert path in str(raised.value)
        assert "another" not in str(raised.value)


def test_an_empty_one_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(UsageError, match=rf"{VARIABLE} is empty"):
        given_passphrase(None)


def test_a_short_one_opens_an_authority_and_makes_none(tmp_path: Path) -> None:
    path = file(tmp_path, b"x" * (SHORTEST - 1))
    assert given_passphrase(path) == Secret("x" * (SHORTEST - 1))
    with pytest.raises(UsageError, match=f"{SHORTEST} characters or more"):
        new_passphrase(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no-such-file cannot be used: No such file"):
        given_passphrase(str(tmp_path / "no-such-file"))


def test_without_a_terminal_nothing_is_asked() -> None:
    program = (
        "from remediator.tls.passphrase import given_passphrase\n"
        "from remediator.errors import UsageError\n"
        "try: given_passphrase(None)\n"
        "except UsageError as error: print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        start_new_session=True,  # no controlling terminal
    ).stdout
    assert "no terminal" in said
    assert "--passphrase-file" in said
    assert VARIABLE in said
