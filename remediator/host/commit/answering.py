"""How commit answers: whoever asked, in the frame that serve writes; at boot nobody, but the host's own log."""

import sys
from typing import Any, Dict

from remediator.host.commit.main import handle
from remediator.host.common.failure import failure_text
from remediator.host.common.serve import ProgramError, serve


def own_program(source: bytes, later: bytes) -> bytes:
    """This program as one text that runs by itself, which the boot unit does; empty where it came as compiled code."""
    return later + b"\n" + source if source else b""


def answer(marker: bytes, request: bytes, secret: bytes, program: bytes) -> None:
    """Answers `request` with what handle makes of it; `program` is the text of all this, for the boot unit."""
    serve(marker, request, lambda document: dispatch(document, secret, program))


def dispatch(document: Dict[str, Any], secret: bytes, program: bytes) -> Dict[str, Any]:
    """What handle answers. Raises ProgramError as handle does."""
    if isinstance(document, dict) and document.get("do") == "boot":
        return at_boot(document, program)
    return handle(document, secret, program)


def at_boot(document: Dict[str, Any], program: bytes) -> Dict[str, Any]:
    """What handle answers. Nobody reads that at boot: a failure goes to the host's own log, and is the unit's."""
    try:
        return handle(document, b"", program)
    except ProgramError as error:
        words = error.message
    except Exception as error:  # noqa: BLE001 - whatever it was, the host's log must have it
        words = "a defect of remediator's own: " + failure_text(error)
    sys.stderr.write("remediator did not recover at boot: " + words + chr(10))
    sys.exit(1)
