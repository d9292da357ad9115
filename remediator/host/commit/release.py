"""The mark of a host that a transaction left broken: nothing more is committed there until a person takes it away."""

import os
import time
from typing import Any, Dict, Optional

from remediator.host.commit.journal import BROKEN_DRAFT, Journal, encoded, read_document, remove_name, replace_content
from remediator.host.commit.lock import STATE_DIRECTORY, open_state_directory
from remediator.host.commit.outcomes import Result, plain_line, system_error
from remediator.host.common.serve import ProgramError

BROKEN = b"broken.json"


def mark_broken(journal: Journal, result: Result) -> None:
    """Puts the mark up: its room was taken with the journal's. Where even that fails, the journal's record says it."""
    mark = {
        "run": journal.document["run"],
        "group": journal.document["group"],
        "reason": plain_line(result.reason, 1000),
        "since": int(time.time()),
    }
    try:
        state = open_state_directory()
        try:
            replace_content(journal.directory, BROKEN_DRAFT, BROKEN, encoded(mark), state)
        finally:
            os.close(state)
    except (OSError, ProgramError):
        pass


def broken_mark() -> Optional[Dict[str, Any]]:
    """What the mark says; None where there is none. Raises ProgramError (`state`) where it cannot be read."""
    try:
        state = open_state_directory()
    except OSError as error:
        raise ProgramError("state", system_error(STATE_DIRECTORY, error))
    try:
        return read_document(state, BROKEN)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        words = "%s/broken.json cannot be read (%s), so nothing was changed: look at what it says, then remove it"
        raise ProgramError("state", words % (STATE_DIRECTORY, plain_line(str(error), 200)))
    finally:
        os.close(state)


def refuse_broken() -> None:
    """Raises ProgramError (`broken`) where the mark is up."""
    mark = broken_mark()
    if mark is not None:
        raise ProgramError(
            "broken",
            "transaction %s of run %s left this host broken, and nothing more is changed on it until a person has "
            "repaired it and said so with `remediate recover -i INVENTORY --release HOST`: %s"
            % tuple(plain_line(str(mark.get(name, "unknown")), 1000) for name in ("group", "run", "reason")),
        )


def release_broken() -> bool:
    """Takes the mark away; whether there was one. Raises OSError, ProgramError."""
    state = open_state_directory()
    try:
        remove_name(state, BROKEN_DRAFT)
        os.unlink(BROKEN, dir_fd=state)
        os.fsync(state)
    except FileNotFoundError:
        return False
    finally:
        os.close(state)
    return True
