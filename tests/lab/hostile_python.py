#!/usr/bin/env python3
"""`hostile_python.py MODE PYTHON-ARGUMENTS...` in a host's Python's place: answers as a taken-over host would.

It needs nothing but Python 3.9 on the host. What it knows of the wire is what the bootstrap's command line tells
anybody: the marker is the last argument.
"""

import hashlib
import json
import subprocess
import sys
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable

# Terminal escapes (colours, the title, the screen, a link), a bell, bidi controls, rich and Markdown and HTML markup.
EVIL = (
    "\x1b[31mPWNED\x1b[0m\x1b]0;PWNED\x07\x1b[2J\x1b]8;;http://evil.lab\x1b\\x\x9b31m\r\x00\x08"
    "\u202egnp\u2066[bold red]PWNED[/bold red][/]{{ PWNED }}**b**<script>alert(1)</script>\udfff\ud800\ufeff\n"
)
RAW = EVIL.encode("utf-8", "surrogatepass") + b"\xff\xfe\xc3\x28"
FOREVER = 1_000_000_000.0


def write(descriptor: int, data: bytes) -> None:
    """Every byte, at once."""
    with open(descriptor, "wb", buffering=0, closefd=False) as stream:
        view = memoryview(data)
        while view:
            view = view[stream.write(view) or 0 :]


def honest(arguments: list[str]) -> bytes:
    """What the real Python answers to what comes on standard input."""
    return subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE, check=True).stdout


def answer(marker: bytes, text_of_document: bytes) -> bytes:
    """A well-formed answer line with this body."""
    body = zlib.compress(text_of_document)
    text = b64encode(body)
    return b"%s answer %d %s\n%s\n" % (marker, len(text), hashlib.sha256(body).hexdigest().encode(), text)


def document(arguments: list[str]) -> dict[str, object]:
    """The honest answer's document."""
    found: dict[str, object] = json.loads(zlib.decompress(b64decode(honest(arguments).splitlines()[2])))
    return found


def poisoned(value: object, spared: tuple[str, ...] = ()) -> object:
    """A JSON value with evil in every string, and in every name that a host chooses, but for the members `spared`."""
    if isinstance(value, str):
        return value + EVIL
    if isinstance(value, list):
        return [poisoned(item, spared) for item in value]
    if isinstance(value, dict):
        kept = {name: item if name in spared else poisoned(item, spared) for name, item in value.items()}
        return kept if spared else {**kept, EVIL: EVIL}
    return value


def noise(marker: bytes, arguments: list[str]) -> None:
    """The honest answer, with everything around it that a log-in script could print."""
    write(2, RAW)
    write(1, RAW + b"\n" + marker[:16] + b" ready\n" + RAW * 50 + b"\n" + marker + b" ready\n")
    write(1, honest(arguments) + RAW)


def dies(marker: bytes, _: list[str]) -> None:
    """No answer, and last words."""
    write(1, RAW)
    write(2, b"Traceback (most recent call last): " + RAW)
    sys.exit(1)


def lies(marker: bytes, arguments: list[str]) -> None:
    """The honest answer with evil in all of its text, and members that nobody asked for."""
    write(1, marker + b" ready\n")
    write(1, answer(marker, json.dumps(poisoned(document(arguments))).encode()))


# What has to be one of a few words, or a path or an encoding, for the document to pass as an observation.
TYPED = ("type", "status", "how", "scope", "content", "sha256", "resolved", "path", "load", "sudo", "SocketMode")


def whispers(marker: bytes, arguments: list[str]) -> None:
    """A document of the right form, with evil wherever a host may write what it likes."""
    write(1, marker + b" ready\n")
    write(1, answer(marker, json.dumps(poisoned(document(arguments), TYPED)).encode()))


def reports(marker: bytes, _: list[str]) -> None:
    """An error in the program's own form."""
    write(1, answer(marker, json.dumps({"error": {"kind": EVIL, "message": EVIL * 100}}).encode()))


def deep(marker: bytes, _: list[str]) -> None:
    """JSON that is nested deeper than any stack."""
    write(1, answer(marker, b"[" * 5_000_000))


def number(marker: bytes, _: list[str]) -> None:
    """A number that takes quadratic time to read."""
    write(1, answer(marker, b'{"format_version": ' + b"9" * 20_000_000 + b"}"))


def wrong_types(marker: bytes, _: list[str]) -> None:
    """A document of the right version in which nothing else is what it should be."""
    names = ("host", "files", "references", "units", "components", "systems", "docker", "audit", "problems", "users")
    wrong = {"format_version": 1, **{name: [[{}], 1e400, None] for name in names}}
    write(1, answer(marker, json.dumps(wrong).encode()))


def bomb(marker: bytes, _: list[str]) -> None:
    """A few megabytes that unpack to four gigabytes."""
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(b" " * 2**24) for _ in range(256)) + packer.flush()
    text = b64encode(body)
    write(1, b"%s answer %d %s\n" % (marker, len(text), hashlib.sha256(body).hexdigest().encode()) + text + b"\n")


def damaged(marker: bytes, arguments: list[str]) -> None:
    """The honest answer with one byte of it changed."""
    write(1, marker + b" ready\n")
    text = bytearray(honest(arguments))
    text[-100] ^= 1
    write(1, bytes(text))


def cut(marker: bytes, arguments: list[str]) -> None:
    """Half of the honest answer."""
    write(1, marker + b" ready\n")
    text = honest(arguments)
    write(1, text[: len(text) // 2])


def chatter(marker: bytes, _: list[str]) -> None:
    """Lines without an end."""
    write(1, marker + b" ready\n")
    while True:
        write(1, RAW * 1000)


def complains(marker: bytes, _: list[str]) -> None:
    """Complaints without an end."""
    while True:
        write(2, RAW * 1000)


def silent(marker: bytes, _: list[str]) -> None:
    """Ready, and never heard of again."""
    write(1, marker + b" ready\n")
    time.sleep(FOREVER)


def drips(marker: bytes, _: list[str]) -> None:
    """An answer of which a byte comes now and then."""
    write(1, marker + b" ready\n" + marker + b" answer 1000000 " + b"0" * 64 + b"\n")
    while True:
        write(1, b"A")
        time.sleep(0.5)


def pretends(marker: bytes, arguments: list[str]) -> None:
    """Observes honestly, and claims to have done what a commit asks for, of which it does nothing."""
    sent = received(marker)
    request = json.loads(sent[sent.rindex(b'{"format_version"') :])
    if "transactions" not in request:
        write(1, subprocess.run([sys.executable, *arguments], input=framed(marker), stdout=-1, check=True).stdout)
        return
    done = [
        {"group": EVIL, "outcome": "applied", "reason": EVIL, "digest": each["digest"], "paths": [EVIL], "log": EVIL}
        for each in request["transactions"]
    ]
    told = {"format_version": 1, "run": request["run"], "host": request["host"], "results": done}
    write(1, answer(marker, json.dumps(told).encode()))


def deserts(marker: bytes, arguments: list[str]) -> None:
    """Observes honestly, and is never heard of again once it knows what a commit asks for."""
    sent = received(marker)
    request = json.loads(sent[sent.rindex(b'{"format_version"') :])
    if "transactions" in request or request.get("do") == "collect":
        sys.exit(1)
    write(1, subprocess.run([sys.executable, *arguments], input=framed(marker), stdout=-1, check=True).stdout)


_FRAME: list[bytes] = []


def received(marker: bytes) -> bytes:
    """Program and request, once all of it is here."""
    write(1, marker + b" ready\n")
    while sys.stdin.buffer.readline() != marker + b"\n":
        continue
    head = sys.stdin.buffer.readline()
    body = sys.stdin.buffer.read(int(head.split()[0]))
    _FRAME[:] = [head, body]
    return zlib.decompress(body)


def framed(marker: bytes) -> bytes:
    """What was received, as it came."""
    return marker + b"\n" + b"".join(_FRAME)


MODES: dict[str, Callable[[bytes, list[str]], None]] = {
    each.__name__: each
    for each in (
        *(noise, dies, lies, whispers, reports, deep, number, wrong_types, bomb),
        *(damaged, cut, chatter, complains, silent, drips, pretends, deserts),
    )
}

if __name__ == "__main__":
    MODES[sys.argv[1]](sys.argv[-1].encode(), sys.argv[2:])
