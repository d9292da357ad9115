"""What became of a commit whose answer never came: the host is asked again for what it recorded of that run.

A commit runs to its end without us, so a connection that broke says nothing about it. The host's records do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from remediator.commit_documents import HostAnswer, read_answer
from remediator.errors import HostError
from remediator.plan import TransactionResult

if TYPE_CHECKING:
    from remediator.harden import Exchange

# Seconds before each try: a minute and a half in all, besides what the tries themselves take. A link that is down for
# longer is down.
PAUSES = (2.0, 3.0, 5.0, 10.0, 15.0, 25.0, 30.0)


class Collected(HostAnswer):
    """A host's records of one run: what ended and how, which transactions are open, and whether it still goes on.

    What is neither among `results` nor `open` was not begun, and never will be, unless the run is still `running`.
    """

    results: tuple[TransactionResult, ...] = ()
    open: tuple[str, ...] = ()
    running: bool = False


def collect(exchange: Exchange, host: str, run: str, pause: Callable[[float], None]) -> Collected:
    """The host's records of `run`, once it can be reached again; a commit under way is waited for there.

    `pause` waits that many seconds. Raises HostError where the host stays out of reach or answers something else.
    """
    from remediator.host import commit_program

    request = json.dumps({"format_version": 1, "do": "collect", "run": run, "host": host}).encode("ascii")
    gone = HostError(host, "unreachable", f"{host}: it was not asked again")
    for seconds in PAUSES:
        pause(seconds)
        try:
            return read_answer(Collected, host, run, exchange(commit_program("collect", run), request))
        except HostError as error:
            if error.kind != "unreachable":
                raise
            gone = error
    raise gone
