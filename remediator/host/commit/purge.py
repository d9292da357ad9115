"""Takes our traces off this host: journals, backups, unused keys, the boot unit. What was hardened stays."""

import os
from typing import Any, Dict, List

from remediator.host.commit.boot_unit import RECOVER_UNIT, UNIT_DIRECTORY, remove_boot_unit
from remediator.host.commit.journal import open_journals
from remediator.host.commit.lock import STATE_DIRECTORY
from remediator.host.commit.outcomes import plain_line, system_error
from remediator.host.commit.places import UntrustedError, open_place
from remediator.host.commit.record import PRIORITY_NOTICE, send_lines
from remediator.host.commit.release import refuse_broken
from remediator.host.commit.request import Request
from remediator.host.common.serve import ProgramError


def purge(request: Request) -> Dict[str, Any]:
    """Removes everything of ours, under the lock; answers with what is gone.

    Raises ProgramError: `open` and `broken`, where what is there is still needed; `state`.
    """
    try:
        journals = open_journals()
    except OSError as error:
        raise ProgramError("state", system_error("the journals of this host", error))
    for journal in journals:
        journal.close()
    if journals:
        raise ProgramError(
            "open",
            "transaction %s was interrupted here and is not put back yet, so nothing was removed: "
            "`remediate recover -i INVENTORY -l HOST`, then purge" % journals[0].name,
        )
    refuse_broken()
    unit = os.path.join(UNIT_DIRECTORY, RECOVER_UNIT.decode("ascii"))
    removed = [unit] if os.path.lexists(unit) else []
    remove_boot_unit()
    try:
        remove_state()
    except (OSError, UntrustedError) as error:
        words = system_error(STATE_DIRECTORY, error) if isinstance(error, OSError) else str(error)
        raise ProgramError(
            "state", "not everything could be removed: %s. Remove %s by hand." % (words, STATE_DIRECTORY)
        )
    log_purge(request)
    return {"removed": removed + [STATE_DIRECTORY]}


def remove_state() -> None:
    """Removes our directory. It goes under another name first: a run that comes now makes a new one.

    Raises OSError, UntrustedError.
    """
    # Loaded by nothing else.
    import shutil

    name = ".remediator.purged.%d" % os.getpid()
    place = open_place(STATE_DIRECTORY)
    try:
        os.rename(place.name, name, src_dir_fd=place.parent, dst_dir_fd=place.parent)
        os.fsync(place.parent)
    finally:
        place.close()
    shutil.rmtree(os.path.join(os.path.dirname(STATE_DIRECTORY), name))


def log_purge(request: Request) -> None:
    """A line in the host's own log."""
    words = [plain_line(field, 200).replace('"', "'") for field in (request.run, request.who, request.reason)]
    lines: List[str] = ['run=%s who="%s" reason="%s" path="%s" outcome=purged' % tuple(words + [STATE_DIRECTORY])]
    try:
        send_lines(PRIORITY_NOTICE, lines)
    except OSError:
        pass
