"""What the harden action takes to a host besides changes: put back what was interrupted, or take our traces off."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remediator.errors import HostError
from remediator.session import Session, SessionDirectory

if TYPE_CHECKING:
    from remediator.harden import Exchange


@dataclass(frozen=True)
class Errand:
    """One call: its run's ULID, who asks for it and why."""

    run: str
    who: str
    reason: str


def run_for_driver(directory: SessionDirectory, session: Session, host: str, exchange: Exchange) -> None:
    """Have the host do what the session's mode says (`recover`, `purge`).

    Its raw answer, or why there is none, is put into the session's directory.
    """
    from remediator.host import commit_program

    document = {
        "format_version": 1,
        "do": session.mode,
        "run": session.run,
        "host": host,
        "who": session.who,
        "reason": session.reason,
    }
    if session.mode == "recover":
        document["release"] = host in session.released
    request = json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    try:
        directory.put_answer(host, exchange(commit_program(session.mode, session.run), request))
    except HostError as error:
        directory.put_error(host, error)
