"""What starts on a host: it reads the program and its request from standard input, whole and verified, and runs it.

It stands in the remote command itself, so it is small, parses on Python 2.7 too (an old Python must get a clear error)
and holds no single quote, exclamation mark or backslash: login shells other than sh read those differently.

Standard input: anything (a sudo password that was not asked for), a line with the marker, a line with length and
sha256, then that many bytes: zlib of `FORM LENGTH LENGTH LENGTH RUN` (of the program, of what it compiles later and of
the request), a newline, those three and, for the rest, what must stand in no document (a private key, mostly nothing).
FORM is `source` or `code`, RUN the run that a unit of its own shall work for, `-` where it is to be done here.
Standard output: `MARKER ready MAGIC`, or `MARKER python VERSION` when it is too old, or `MARKER failed TEXT`. MAGIC is
the number of this Python's code format: who has the same may send compiled code, which saves the host the compiling.
The program finds MARKER, LATER_TEXT, REQUEST, SECRET and RUN among its names, SOURCE, its own text where it came as
that, and BODY, the whole as it came: commit hands that on.
"""

import os
import sys

marker = sys.argv[1].encode("ascii")
newline = os.linesep.encode("ascii")


def say(text):  # type: (str) -> None
    os.write(1, marker + b" " + text.encode("ascii") + newline)


def more(held):  # type: (bytearray) -> None
    piece = os.read(0, 1048576)
    if len(piece) == 0:
        say("failed the connection ended before the program was complete")
        os._exit(1)
    held += piece


def main():  # type: () -> bytes
    held = bytearray(newline)
    line = newline + marker + newline
    while line not in held:
        if len(held) > 1048576:
            say("failed no program came, only other input")
            os._exit(1)
        more(held)
    del held[: held.index(line) + len(line)]
    while newline not in held:
        more(held)
    end = held.index(newline)
    length, digest = bytes(held[:end]).decode("ascii").split()
    del held[: end + 1]
    while len(held) < int(length):
        more(held)
    body = bytes(held[: int(length)])
    # The C modules alone: hashlib loads OpenSSL, which costs more than all the rest here.
    try:
        from _sha2 import sha256  # type: ignore
    except ImportError:
        try:
            from _sha256 import sha256  # type: ignore
        except ImportError:
            from hashlib import sha256
    if sha256(body).hexdigest() == digest:
        return body
    say("failed the program arrived damaged")
    os._exit(1)


if sys.version_info < (3, 6):
    say("python %d.%d.%d" % sys.version_info[:3])
    sys.exit(1)
try:
    from _frozen_importlib_external import MAGIC_NUMBER

    magic = "".join("%02x" % byte for byte in bytearray(MAGIC_NUMBER))
except ImportError:
    magic = "none"
say("ready " + magic)
body = main()
import zlib  # noqa: E402 - not needed before, and what is waited for is the body

head, rest = zlib.decompress(body).split(newline, 1)
form, size, more_size, room, run = head.decode("ascii").split()
later = int(size)
request = later + int(more_size)
secret = request + int(room)
source = rest[:later] if form == "source" else b""
if form == "code":
    import marshal

    code = marshal.loads(rest[:later])  # noqa: S302 - verified, as the source below is
else:
    code = compile(source, "remediator", "exec")
# What was verified above is what this exists to run.
given = {"MARKER": marker, "RUN": run, "BODY": body, "SOURCE": source, "LATER_TEXT": rest[later:request]}
given.update({"REQUEST": rest[request:secret], "SECRET": rest[secret:]})
exec(code, dict(given, __name__="remediator_host"))  # noqa: S102
