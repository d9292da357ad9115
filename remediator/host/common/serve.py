"""How a program answers: one JSON document on standard output, behind the marker, with its length and digest."""

import binascii
import json
import zlib

from remediator.host.common.digest import sha256
from remediator.host.common.failure import failure_text
from remediator.host.common.writing import write_all

MYPY = False
if MYPY:
    from typing import Any, Callable


class ProgramError(Exception):
    """The program cannot do what it was asked; the controller shows `message`, and acts on `kind`."""

    def __init__(self, kind: "str", message: "str") -> None:
        Exception.__init__(self, message)
        self.kind = kind
        self.message = message


def serve(marker: "bytes", request: "bytes", handle: "Callable[[dict[str, Any]], dict[str, Any]]") -> None:
    """Answers `request` with what `handle` makes of it; an error becomes `{"error": {"kind", "message"}}`."""
    try:
        document = handle(json.loads(request.decode("ascii")))
    except ProgramError as error:
        document = {"error": {"kind": error.kind, "message": error.message}}
    # Whatever else went wrong, the controller must get a sentence: a traceback on a pipe helps nobody.
    except Exception as error:  # noqa: BLE001
        document = {"error": {"kind": "answer", "message": "the program failed there: " + failure_text(error)}}
    body = zlib.compress(json.dumps(document, separators=(",", ":")).encode("ascii"), 3)
    head = b"%s answer %d %s\n" % (marker, (len(body) + 2) // 3 * 4, sha256(body).hexdigest().encode("ascii"))
    try:
        write_all(1, head + binascii.b2a_base64(body, newline=False) + b"\n")
    except BrokenPipeError:
        pass  # whoever asked has gone. What a commit did stands in the host's own records
