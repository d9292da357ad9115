"""What became of a run, for a controller that lost contact: what this host recorded. Nothing is begun for that."""

import os
import time
from typing import Any, Dict, List, Optional, Tuple

from remediator.host.commit.journal import (
    JOURNAL,
    RECORD,
    each_transaction,
    encoded,
    is_in,
    read_document,
    replace_content,
)
from remediator.host.commit.lock import LOCK_NAME, open_state_directory, take_lock
from remediator.host.commit.outcomes import system_error
from remediator.host.commit.request import Request
from remediator.host.common.serve import ProgramError

# How long a commit under way is waited for: longer than the units' own timeouts, mostly.
COLLECT_SECONDS = 1500.0
# Asked for again and again, since waiting in flock(2) has no deadline of its own, and would take the lock.
COLLECT_POLL = 0.25
# Which run was given up before it began: it could still arrive here, late.
CLOSED = b"closed.json"


def collect(request: Request) -> Dict[str, Any]:
    """The recorded results of the request's run, its transactions that are open, and whether it still goes on.

    While that run holds the lock it is waited for. One of which nothing is here will not begin any more. Raises
    ProgramError (`state`).
    """
    lock, running = wait_for_run(request)
    try:
        results, unfinished = outcomes_of(request.run)
        if lock is not None and not results and not unfinished:
            close_run(request.run)
    except OSError as error:
        raise ProgramError("state", system_error("the records of this host", error))
    finally:
        if lock is not None:
            os.close(lock)
    return {"results": results, "open": unfinished, "running": running}


def wait_for_run(request: Request) -> Tuple[Optional[int], bool]:
    """The lock's descriptor, once the run has ended; None where another run holds it, or this one for too long."""
    end = time.monotonic() + COLLECT_SECONDS
    while True:
        try:
            return take_lock(request), False
        except ProgramError as error:
            if error.kind != "locked":
                raise
        if lock_holder_run() != request.run:
            return None, True  # another run's turn: this one may still come, or has ended and is on record
        if time.monotonic() >= end:
            return None, True
        time.sleep(COLLECT_POLL)


def lock_holder_run() -> str:
    """The run that the lock is signed with; empty where that cannot be read."""
    state = open_state_directory()
    try:
        return str(read_document(state, LOCK_NAME).get("run", ""))
    except (OSError, ValueError, RecursionError):
        return ""
    finally:
        os.close(state)


def outcomes_of(run: str) -> Tuple[List[Dict[str, Any]], List[str]]:
    """The recorded results of a run, and the groups of its transactions that never ended. Raises OSError."""
    results: List[Dict[str, Any]] = []
    unfinished: List[str] = []
    for name, directory in each_transaction(run + "."):
        try:
            result = recorded_end(directory)
            if result is not None:
                results.append(result)
            elif is_in(directory, JOURNAL) or is_in(directory, RECORD):
                unfinished.append(name.split(".", 1)[1])
        finally:
            os.close(directory)
    return results, unfinished


def recorded_end(directory: int) -> Optional[Dict[str, Any]]:
    """How a transaction ended; None where its record is not there or says nothing."""
    try:
        result = read_document(directory, RECORD).get("result")
    except (OSError, ValueError, RecursionError):
        return None
    return result if isinstance(result, dict) else None


def close_run(run: str) -> None:
    """Notes that a run is not to begin here any more. Raises OSError, ProgramError."""
    state = open_state_directory()
    try:
        replace_content(state, b"closed.new", CLOSED, encoded({"run": run}))
    finally:
        os.close(state)


def refuse_closed(request: Request) -> None:
    """Raises ProgramError (`request`) for a run that its controller has given up before it began."""
    state = open_state_directory()
    try:
        closed = read_document(state, CLOSED).get("run")
    except (OSError, ValueError, RecursionError):
        return
    finally:
        os.close(state)
    if closed == request.run:
        raise ProgramError("request", "this run was given up before it began here: nothing was written, run it again")
