"""The bootstrap by itself: what it does with standard input, and what an old Python says."""

import importlib.util
import subprocess
import sys

import pytest

from remediator.errors import HostError
from remediator.host import Program, bootstrap_source
from remediator.wire import frame, read_answer

MARKER = "feedfacefeedfacefeedfacefeedface"


def run(sent: bytes, before: str = "") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-I", "-B", "-c", before + bootstrap_source(), MARKER],
        input=sent,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("version", "shown"), [((3, 5, 10), "3.5.10"), ((2, 7, 18), "2.7.18")])
def test_a_python_that_is_too_old_says_so_and_reads_nothing(version: tuple[int, ...], shown: str) -> None:
    program = Program(b"import os\nos.write(1, b'it ran')\n")
    result = run(frame(MARKER, program, b""), f"import sys\nsys.version_info = {version}\n")
    assert b"ready" not in result.stdout
    assert b"it ran" not in result.stdout
    with pytest.raises(HostError, match=f"its Python is {shown}, and 3.6 is the oldest") as caught:
        read_answer("web", result.stdout, MARKER, result.returncode, result.stderr)
    assert caught.value.kind == "python"


def test_it_uses_nothing_that_python_2_cannot_parse() -> None:
    source = bootstrap_source()
    assert ":=" not in source
    assert 'f"' not in source
    assert "->" not in source.replace("# type: (str) -> None", "").replace("# type: (bytearray) -> None", "").replace(
        "# type: () -> bytes", ""
    )


def test_the_program_sees_its_request_and_marker() -> None:
    result = run(frame(MARKER, Program(b"import os\nos.write(1, MARKER + b'|' + REQUEST)\n"), b"the request"))
    assert result.stdout.endswith(MARKER.encode() + b"|the request")


@pytest.mark.parametrize("secret", [b"", b"-----BEGIN PRIVATE KEY-----\n\xff\0\n"])
def test_the_program_sees_a_secret_apart_from_its_request(secret: bytes) -> None:
    program = b"import os\nos.write(1, REQUEST + b'|' + SECRET + b'|')\n"
    result = run(frame(MARKER, Program(program), b"the request", secret=secret))
    assert result.stdout.endswith(b"the request|" + secret + b"|")


def test_the_program_can_hand_the_whole_of_what_came_on() -> None:
    source = b"import os, zlib\nos.write(1, zlib.decompress(BODY))\n"
    result = run(frame(MARKER, Program(source, b"later"), b"the request", secret=b"the secret"))
    assert result.stdout.endswith(b"source %d 5 11 -\n" % len(source) + source + b"laterthe requestthe secret")


def test_the_program_sees_its_own_text_what_it_compiles_later_and_its_run() -> None:
    source = b"import os\nos.write(1, SOURCE + LATER_TEXT + RUN.encode())\n"
    program = Program(source, b"|later|", "01JD")
    assert run(frame(MARKER, program, b"the request")).stdout.endswith(source + b"|later|01JD")
    compiled = frame(MARKER, program, b"the request", importlib.util.MAGIC_NUMBER.hex())
    assert run(compiled).stdout.endswith(b"\n|later|01JD")


def test_input_after_the_program_is_left_alone() -> None:
    program = b"import os\nos.write(1, b'left: ' + os.read(0, 100))\n"
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", "-c", bootstrap_source(), MARKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(frame(MARKER, Program(program), b""))
    process.stdin.flush()
    assert process.stdout.readline().startswith(f"{MARKER} ready ".encode())
    out, _ = process.communicate(b"more", timeout=60)
    assert out in (b"left: more", b"left: ")


def test_endless_input_without_a_program_ends() -> None:
    result = run(b"y\n" * 2000000)
    assert b"failed no program came" in result.stdout


def test_no_input_at_all_ends() -> None:
    assert b"failed the connection ended" in run(b"").stdout


def test_modules_are_never_taken_from_the_working_directory(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "zlib.py").write_text("raise SystemExit('mine')")
    (tmp_path / "json.py").write_text("raise SystemExit('mine')")
    result = subprocess.run(
        [sys.executable, "-I", "-B", "-c", bootstrap_source(), MARKER],
        input=frame(MARKER, Program(b"import json, os\nos.write(1, b'fine')\n"), b""),
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert result.stdout.endswith(b"fine")
