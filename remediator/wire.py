"""What goes over the wire to a host and back, whichever carrier takes it.

The remote command is one fixed bootstrap (`host/bootstrap.py`) that says it is ready, skips standard input to a random
marker, reads an exact length, verifies its sha256 and only then runs. The answer comes back on standard output behind
the same marker, so that a message of the day or a chatty profile cannot be taken for it. The bootstrap's and the
answer's own bytes are ASCII; both survive any login shell.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib.util
import json
import marshal
import re
import secrets
import shlex
import zlib
from functools import lru_cache

from remediator.errors import HostError
from remediator.host import Program, bootstrap_source
from remediator.observation import MAX_ANSWER
from remediator.own_records import RUN_ID
from remediator.text import one_line, visible

# What a login may print around our own lines before we stop listening.
MAX_NOISE = 1024 * 1024
# Without ansible_python_interpreter. The last two are only tried so that an old Python gets our own clear error.
_FIND_PYTHON = (
    "for p in /usr/bin/python3 /usr/libexec/platform-python /usr/local/bin/python3 python3; do "
    'command -v "$p" >/dev/null 2>&1 && exec "$p" -I -B -c "$1" "$2"; done; '
    'for p in python python2; do command -v "$p" >/dev/null 2>&1 && exec "$p" -E -s -B -c "$1" "$2"; done; '
    'echo "$2 python none"; exit 127'
)
_MAGIC = importlib.util.MAGIC_NUMBER.hex()
_AUTOMATIC = ("", "auto", "auto_legacy", "auto_silent", "auto_legacy_silent")


def new_marker() -> str:
    """A marker for one call on one host: 32 random hexadecimal digits."""
    return secrets.token_hex(16)


def command(python: str | None, marker: str) -> str:
    """The remote shell command that starts the bootstrap; it holds no single quote, `!` or newline inside its quotes,
    so that csh and fish read it as sh does.

    `python` is the interpreter, with arguments if need be; None, `auto` and the like look for a python3.
    """
    if python is None or python in _AUTOMATIC:
        return f"cd / && exec /bin/sh -c '{_FIND_PYTHON}' sh '{_bootstrap()}' {marker}"
    interpreter = " ".join(shlex.quote(word) for word in shlex.split(python))
    return f"cd / && exec {interpreter} -I -B -c '{_bootstrap()}' {marker}"


@lru_cache(maxsize=1)
def _bootstrap() -> str:
    source = bootstrap_source()
    if set("'!\\") & set(source):
        raise AssertionError("host/bootstrap.py must hold no single quote, exclamation mark or backslash")
    return 'exec("' + source.replace('"', '\\"').replace("\n", "\\n") + '")'


def frame(marker: str, program: Program, request: bytes, magic: str = "", secret: bytes = b"") -> bytes:
    """What is sent on standard input: the marker, length and digest, and program, request and secret compressed.

    `magic` is what the host's Python said of its code format (AnswerReader.magic). Where it is this Python's own, the
    program goes compiled, since compiling is most of what a host would spend on it; else as source. `secret` is a
    private key (PEM) that commit moves into place: it goes beside the request, since no document may hold it.
    """
    pack = _pack if secret else _body
    body, digest = pack(program, request, magic == _MAGIC, secret)
    return b"%s\n%d %s\n" % (marker.encode("ascii"), len(body), digest) + body


def _pack(program: Program, request: bytes, compiled: bool, secret: bytes) -> tuple[bytes, bytes]:
    form, sent = ("code", _compiled(program.source)) if compiled else ("source", program.source)
    if program.run and not re.fullmatch(RUN_ID, program.run):
        raise AssertionError("a run is named by 1 to 40 letters and digits")
    head = f"{form} {len(sent)} {len(program.later)} {len(request)} {program.run or '-'}\n".encode("ascii")
    body = zlib.compress(head + sent + program.later + request + secret, 6)
    return body, hashlib.sha256(body).hexdigest().encode("ascii")


@lru_cache(maxsize=4)
def _compiled(source: bytes) -> bytes:
    return marshal.dumps(compile(source, "remediator", "exec", dont_inherit=True, optimize=2))


# Hundreds of hosts are asked the same. A frame with a secret never comes here: it must not outlive its call.
_body = lru_cache(maxsize=8)(_pack)


class AnswerReader:
    """Takes a host's standard output as it comes in and finds our lines and the answer in it.

    `ready` turns true when the bootstrap runs (only then is a frame sent), `magic` says for which code format, `answer`
    holds the answer's JSON once it is complete. `feed` raises HostError: `python` (none, or older than 3.6), `answer`
    (broken, too large, never ending, or the program's own error with its kind).
    """

    def __init__(self, host: str, marker: str) -> None:
        self.ready = False
        self.magic = ""
        self.answer: bytes | None = None
        self._host = host
        self._line = re.compile(rb"%s (ready|python|failed|answer)(?: ([^\r\n]{0,4096}))?\r?\n" % marker.encode())
        self._held = bytearray()
        self._noise = 0
        self._body: tuple[int, bytes] | None = None

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of standard output. What comes after the answer is not looked at."""
        if self.answer is not None:
            return
        self._held += data
        while self._body is None and (found := self._line.search(self._held)) is not None:
            word, rest = found.group(1), found.group(2) or b""
            del self._held[: found.end()]
            self._note(word, rest.decode("ascii", "replace"))
        if self._body is None:
            self._forget()
        elif len(self._held) >= self._body[0]:
            self._decode(bytes(self._held[: self._body[0]]), self._body[1])

    def missing(self, status: int | None = None, errors: bytes = b"") -> HostError:
        """The error for a host whose output ended without an answer; `status` is the command's exit status."""
        said = one_line(errors.decode("utf-8", "replace").strip()[-400:], 500)
        if b"Unknown option: -I" in errors:
            return _too_old(self._host, "2")
        if status in (126, 127) and not self.ready:
            return _no_python(self._host, said)
        detail = f" (exit status {status})" if status is not None else ""
        heard = f"It said: {said}" if said else "It said nothing on standard error."
        return HostError(
            self._host,
            "answer",
            f"{self._host}: the program ended without an answer{detail}. {heard} Look at what runs on the host in "
            "place of its Python, and at its login scripts, then run this again.",
        )

    def _note(self, word: bytes, rest: str) -> None:
        if word == b"ready":
            self.ready = True
            self.magic = rest[:40]
        elif word == b"python":
            raise _no_python(self._host, "") if rest == "none" else _too_old(self._host, rest)
        elif word == b"failed":
            raise self._broken(one_line(rest, 400))
        else:
            length, _, digest = rest.partition(" ")
            if not length.isdigit() or int(length[:12]) > MAX_ANSWER or len(digest) != 64:
                raise self._broken("its announced length or digest is not valid")
            self._body = (int(length), digest.encode("ascii", "replace"))

    def _forget(self) -> None:
        """Drops what cannot be the beginning of one of our lines, and gives up on a host that never stops."""
        excess = len(self._held) - 8192
        if excess > 0:
            del self._held[:excess]
            self._noise += excess
        if self._noise > MAX_NOISE:
            raise self._broken(f"more than {MAX_NOISE} bytes of other output came in its place")

    def _decode(self, encoded: bytes, digest: bytes) -> None:
        try:
            body = base64.b64decode(encoded, validate=True)
            if hashlib.sha256(body).hexdigest().encode("ascii") != digest:
                raise self._broken("its digest does not match its bytes")
            unpack = zlib.decompressobj()
            answer = unpack.decompress(body, MAX_ANSWER + 1)
        except (binascii.Error, zlib.error) as error:
            raise self._broken(one_line(str(error), 200)) from None
        if len(answer) > MAX_ANSWER:
            raise self._broken(f"it is larger than {MAX_ANSWER} bytes")
        if not unpack.eof:
            raise self._broken("it is cut short")
        if answer.startswith(b'{"error":'):
            raise self._reported(answer)
        self.answer = answer
        self._held.clear()

    def _reported(self, answer: bytes) -> HostError:
        try:
            error = json.loads(answer)["error"]
            kind, message = one_line(str(error["kind"]), 40), visible(str(error["message"]), 2000)
        except (ValueError, KeyError, TypeError, RecursionError):
            return self._broken("it reports an error that cannot be read")
        return HostError(self._host, kind, f"{self._host}: {message}")

    def _broken(self, why: str) -> HostError:
        return HostError(
            self._host,
            "answer",
            f"{self._host}: the answer cannot be used: {why}. Look at what runs on the host in place of its Python, "
            "and at its login scripts, then run this again.",
        )


def read_answer(host: str, stdout: bytes, marker: str, status: int | None = None, errors: bytes = b"") -> bytes:
    """The answer's JSON in a command's whole output. Raises HostError as AnswerReader does, and when there is none."""
    reader = AnswerReader(host, marker)
    reader.feed(stdout)
    if reader.answer is None:
        raise reader.missing(status, errors)
    return reader.answer


def _no_python(host: str, said: str) -> HostError:
    detail = f" ({said})" if said else ""
    return HostError(
        host,
        "python",
        f"{host}: no Python 3 was found there{detail}. Install python3 (3.6 or newer; its standard library is enough), "
        "or set ansible_python_interpreter to where it is.",
    )


def _too_old(host: str, version: str) -> HostError:
    return HostError(
        host,
        "python",
        f"{host}: its Python is {one_line(version, 40)}, and 3.6 is the oldest that remediator runs on. Install a "
        "newer python3, or set ansible_python_interpreter to one.",
    )
