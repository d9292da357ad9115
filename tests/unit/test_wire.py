"""The wire: what is sent to a host, and what is taken for its answer. The bootstrap really runs, in this Python."""

import base64
import hashlib
import importlib.util
import json
import subprocess
import sys
import zlib

import pytest

from remediator import wire
from remediator.errors import HostError
from remediator.host import Program, commit_program, join, observe_program
from remediator.host.common.serve import serve  # noqa: F401 - the file that `echo_program` is made of must import
from remediator.observation import MAX_ANSWER
from remediator.wire import MAX_NOISE, AnswerReader, command, frame, new_marker, read_answer

MARKER = "0123456789abcdef0123456789abcdef"
ECHO = b"import json\ndef handle(request):\n    return {'echo': request}\n"


def echo_program() -> Program:
    """A program of our own joined from the real serving part: it answers with its request."""
    parts = ("common/digest.py", "common/writing.py", "common/failure.py", "common/serve.py")
    return Program(join(parts).source.replace(b"\nserve(", b"\n" + ECHO + b"\nserve("))


def start(sent: bytes, python: str | None = sys.executable) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        ["/bin/sh", "-c", command(python, MARKER)], input=sent, capture_output=True, timeout=60, check=False
    )


def answered(body: bytes, marker: str = MARKER, digest: str | None = None) -> bytes:
    """An answer as the program writes it."""
    packed = zlib.compress(body)
    encoded = base64.b64encode(packed)
    digest = digest or hashlib.sha256(packed).hexdigest()
    return f"{marker} ready\n{marker} answer {len(encoded)} {digest}\n".encode() + encoded + b"\n"


def test_a_program_answers_its_request() -> None:
    result = start(frame(MARKER, echo_program(), b'{"what":"1"}'))
    assert json.loads(read_answer("web", result.stdout, MARKER)) == {"echo": {"what": "1"}}


def test_without_an_interpreter_a_python3_is_looked_for() -> None:
    result = start(frame(MARKER, echo_program(), b"{}"), python=None)
    assert json.loads(read_answer("web", result.stdout, MARKER)) == {"echo": {}}


def test_a_password_that_nobody_read_is_skipped_and_never_run_or_printed() -> None:
    result = start(b"raise SystemExit('hunter2')\n" + frame(MARKER, echo_program(), b"{}"))
    assert json.loads(read_answer("web", result.stdout, MARKER)) == {"echo": {}}
    assert b"hunter2" not in result.stdout + result.stderr


def test_what_a_login_prints_around_the_answer_is_no_part_of_it() -> None:
    result = start(frame(MARKER, echo_program(), b"{}"))
    noisy = b"Welcome!\nno newline at the end" + result.stdout + b"logout\n"
    assert json.loads(read_answer("web", noisy, MARKER)) == {"echo": {}}


def test_the_answer_may_come_in_single_bytes() -> None:
    reader = AnswerReader("web", MARKER)
    for byte in answered(b'{"a":1}'):
        reader.feed(bytes([byte]))
    assert reader.ready
    assert reader.answer == b'{"a":1}'


def test_the_bootstrap_says_ready_before_it_has_read_anything() -> None:
    process = subprocess.Popen(
        ["/bin/sh", "-c", command(sys.executable, MARKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    reader = AnswerReader("web", MARKER)
    reader.feed(process.stdout.readline())
    assert reader.ready
    out, _ = process.communicate(frame(MARKER, echo_program(), b"{}"), timeout=60)
    reader.feed(out)
    assert reader.answer == b'{"echo":{}}'


def test_a_python_of_our_own_format_gets_compiled_code_and_answers_the_same() -> None:
    reader = AnswerReader("web", MARKER)
    reader.feed(start(b"").stdout.splitlines(keepends=True)[0])
    source = frame(MARKER, echo_program(), b'{"a":1}')
    compiled = frame(MARKER, echo_program(), b'{"a":1}', reader.magic)
    assert zlib.decompress(source.split(b"\n", 2)[2]).startswith(b"source ")
    assert zlib.decompress(compiled.split(b"\n", 2)[2]).startswith(b"code ")
    answers = [read_answer("web", start(sent).stdout, MARKER) for sent in (source, compiled)]
    assert answers[0] == answers[1] == b'{"echo":{"a":1}}'


SECRET = b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("compiled", [True, False])
def test_a_secret_goes_beside_the_request_and_only_to_a_program_that_takes_it(compiled: bool) -> None:
    magic = importlib.util.MAGIC_NUMBER.hex() if compiled else ""
    takes = b"lambda document: handle(document, SECRET, BODY)"
    program = echo_program().source.replace(b"{'echo': request}", b"{'echo': [request, secret.decode()]}")
    program = program.replace(b"handle(request)", b"handle(request, secret, body)").replace(
        b"REQUEST, handle", b"REQUEST, " + takes
    )
    answer = read_answer("web", start(frame(MARKER, Program(program), b'{"a":1}', magic, SECRET)).stdout, MARKER)
    assert json.loads(answer) == {"echo": [{"a": 1}, SECRET.decode()]}
    answer = read_answer("web", start(frame(MARKER, echo_program(), b'{"a":1}', magic, SECRET)).stdout, MARKER)
    assert json.loads(answer) == {"echo": {"a": 1}}
    assert [b", SECRET," in each.source for each in (commit_program("commit", ""), observe_program())] == [True, False]


@pytest.mark.parametrize("run", ["--user x", "a\nb", "a" * 41, "é"])
def test_a_run_that_no_unit_can_be_named_after_is_sent_nowhere(run: str) -> None:
    with pytest.raises(AssertionError, match="a run is named by"):
        frame(MARKER, echo_program()._replace(run=run), b"{}")
    assert frame(MARKER, echo_program()._replace(run="a" * 40), b"{}") != frame(MARKER, echo_program(), b"{}")


def test_nothing_is_kept_of_a_frame_with_a_secret() -> None:
    kept = wire._body.cache_info()
    first, second = (frame(MARKER, Program(b"pass\n"), b"{}", secret=secret) for secret in (SECRET, SECRET * 2))
    assert wire._body.cache_info() == kept
    assert first != second
    sent = frame(MARKER, Program(b"pass\n"), b"{}")
    assert SECRET not in zlib.decompress(sent.split(b"\n", 2)[2])
    assert wire._body.cache_info() != kept


@pytest.mark.parametrize("magic", ["", "none", "00000000", "zz"])
def test_any_other_python_gets_source(magic: str) -> None:
    assert frame(MARKER, echo_program(), b"{}", magic) == frame(MARKER, echo_program(), b"{}")


@pytest.mark.parametrize("python", [None, "/usr/bin/python3"])
def test_the_command_means_the_same_to_every_login_shell(python: str | None) -> None:
    line = command(python, MARKER)
    assert "\n" not in line
    assert "!" not in line
    assert line.isascii()
    quoted = line.split("'")[1::2]
    assert all("\\\\" not in text and "\\'" not in text for text in quoted)


def test_an_interpreter_with_arguments_and_blanks_keeps_them() -> None:
    assert command("/usr/bin/env '/opt/my python'", MARKER).startswith(
        "cd / && exec /usr/bin/env '/opt/my python' -I -B"
    )


def test_markers_are_random() -> None:
    assert new_marker() != new_marker()
    assert len(new_marker()) == 32


def test_the_digest_of_the_program_is_checked_before_it_runs() -> None:
    sent = bytearray(frame(MARKER, Program(b"import os\nos.write(1, b'it ran')\n"), b"{}"))
    sent[-3] ^= 1
    result = start(bytes(sent))
    assert b"it ran" not in result.stdout
    with pytest.raises(HostError, match="damaged"):
        read_answer("web", result.stdout, MARKER)


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_program_that_was_cut_short_does_not_run(kept: float) -> None:
    sent = frame(MARKER, Program(b"import os\nos.write(1, b'it ran')\n" * 50), b"{}")
    result = start(sent[: int(len(sent) * kept)])
    assert b"it ran" not in result.stdout
    with pytest.raises(HostError, match="before the program was complete"):
        read_answer("web", result.stdout, MARKER)


def test_an_error_of_the_program_comes_back_with_its_kind_and_the_hosts_name() -> None:
    with pytest.raises(HostError) as caught:
        read_answer("web", answered(b'{"error":{"kind":"locked","message":"run 7 holds it"}}'), MARKER)
    assert caught.value.kind == "locked"
    assert str(caught.value) == "web: run 7 holds it"


def test_a_programs_exception_is_a_sentence_and_not_a_traceback() -> None:
    program = Program(echo_program().source.replace(b"return {'echo'", b"return {}['gone'] or {'echo'"))
    with pytest.raises(HostError) as caught:
        read_answer("web", start(frame(MARKER, program, b"{}")).stdout, MARKER)
    assert "the program failed there: KeyError" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_terminal_escapes_in_an_error_are_made_visible() -> None:
    error = json.dumps({"error": {"kind": "answer\x1b[2J", "message": "\x1b]0;x\x07"}}, separators=(",", ":"))
    with pytest.raises(HostError) as caught:
        read_answer("web", answered(error.encode()), MARKER)
    assert "\x1b" not in str(caught.value) + caught.value.kind


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (answered(b"{}", digest="0" * 64), "digest does not match"),
        (f"{MARKER} answer 8 {'0' * 64}\n".encode() + b"!!!!!!!!", "cannot be used"),
        (f"{MARKER} answer 99999999999999 {'0' * 64}\n".encode(), "length or digest is not valid"),
        (f"{MARKER} answer x y\n".encode(), "length or digest is not valid"),
        (answered(b"{}")[:-20], "ended without an answer"),
        (b"", "ended without an answer"),
        (answered(b'{"error":[]}'), "reports an error that cannot be read"),
    ],
)
def test_a_broken_answer_is_an_error_that_names_the_host(output: bytes, why: str) -> None:
    with pytest.raises(HostError, match=why) as caught:
        read_answer("web", output, MARKER)
    assert str(caught.value).startswith("web: ")
    assert caught.value.kind == "answer"


def test_an_answer_that_unpacks_to_gigabytes_is_refused_without_unpacking_it() -> None:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"\0" * 1048576) for _ in range(MAX_ANSWER // 1048576 + 2)) + packer.flush()
    encoded = base64.b64encode(packed)
    head = f"{MARKER} answer {len(encoded)} {hashlib.sha256(packed).hexdigest()}\n".encode()
    with pytest.raises(HostError, match="larger than"):
        read_answer("web", head + encoded, MARKER)


def test_a_host_that_never_stops_printing_is_given_up() -> None:
    reader = AnswerReader("web", MARKER)
    with pytest.raises(HostError, match="other output"):  # noqa: PT012 - the loop is what is tested
        for _ in range(MAX_NOISE // 65536 + 2):
            reader.feed(b"y\n" * 32768)


def test_another_calls_marker_is_only_noise() -> None:
    with pytest.raises(HostError, match="ended without an answer"):
        read_answer("web", answered(b"{}", marker="f" * 32), MARKER)


def test_no_python_is_told_as_such() -> None:
    result = start(b"", python="/nonexistent/python3")
    with pytest.raises(HostError, match="no Python 3 was found") as caught:
        read_answer("web", result.stdout, MARKER, result.returncode, result.stderr)
    assert caught.value.kind == "python"


def test_no_python_anywhere_on_the_path_is_told_as_such() -> None:
    with pytest.raises(HostError, match="ansible_python_interpreter") as caught:
        read_answer("web", f"{MARKER} python none\n".encode(), MARKER, 127)
    assert caught.value.kind == "python"


def test_an_old_pythons_own_complaint_about_our_option_becomes_our_error() -> None:
    with pytest.raises(HostError, match="is the oldest") as caught:
        read_answer("web", b"", MARKER, 2, b"Unknown option: -I\nusage: python [option] ...\n")
    assert caught.value.kind == "python"
