"""The errors that a user sees. Each says what happened, to which host and file, and what to do next."""

from __future__ import annotations

# Kinds of host errors after which nobody knows whether a commit ran: contact was lost, or what came back was no answer.
CONTACT_LOST = ("unreachable", "answer")


class RemediatorError(Exception):
    """What happened and the remedy, in one or two sentences. `str()` of it is shown to the user as it is."""


class UsageError(RemediatorError):
    """The command line, the inventory, the configuration or a control is wrong (exit code 2)."""


class HostError(RemediatorError):
    """One host could not be observed or changed; the others go on (exit code 3).

    `kind` is one of `unreachable`, `host_key`, `authentication`, `become`, `python`, `answer`, `unsupported`; of a
    commit also `request`, `state`, `locked`, `key` (a private key that cannot be used, or was not made), `broken` (an
    earlier transaction ended so, and nobody has released the host) and `open` (one was interrupted and not put back).
    """

    def __init__(self, host: str, kind: str, message: str) -> None:
        super().__init__(message)
        self.host = host
        self.kind = kind


class LockedError(RemediatorError):
    """Another run holds the lock (exit code 5); the message names its holder."""
