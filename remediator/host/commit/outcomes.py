"""How a transaction ends other than well."""

import os
from typing import Dict, List, NamedTuple

# Control and other characters that must not reach a log line or a terminal are shown as escapes.
UNSAFE_LIMIT = 400


class NotStartedError(Exception):
    """The transaction must not begin: nothing was written. `outcome` is `stale`, `refused` or `held`."""

    def __init__(self, outcome: str, reason: str) -> None:
        Exception.__init__(self, reason)
        self.outcome = outcome
        self.reason = reason


class StepError(Exception):
    """An action, validation, activation or probe failed; what was done so far must be undone."""


class ChangedKeyError(StepError):
    """A private key is not the one that the preview showed."""


class KeyLeftError(Exception):
    """A private key was moved into place and could not be removed from where it was; the message says where."""


class LeftAloneError(Exception):
    """Something was not put back, because somebody else has changed it since; the message names it."""


class Result(NamedTuple):
    """A transaction's end. `paths` were written and stand; `log` holds the service's own last lines."""

    group: str
    outcome: str
    reason: str
    digest: str
    paths: List[str]
    log: str

    def document(self) -> Dict[str, object]:
        """As it stands in the answer."""
        return dict(self._asdict())


def plain_line(text: str, limit: int = UNSAFE_LIMIT) -> str:
    """`text` on one line with every unprintable character escaped, cut to `limit` characters."""
    cut = text[:limit] + ("..." if len(text) > limit else "")
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in cut)


def system_error(path: str, error: OSError) -> str:
    """An operating system error as a reason: the path and what the system says, no more."""
    return path + ": " + (os.strerror(error.errno) if error.errno else plain_line(str(error), 200))
