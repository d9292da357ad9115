"""The passphrase of the CA's key: from a file, from the environment, or asked for at the terminal."""

from __future__ import annotations

import getpass
import os
import stat
import sys

from remediator.access import Secret
from remediator.errors import UsageError
from remediator.text import one_line

VARIABLE = "REMEDIATOR_CA_PASSPHRASE"
SHORTEST = 12  # characters: the key's encryption alone does not stand up to guessing
LONGEST = 1000  # bytes: OpenSSL takes 1023

_QUESTION = "Passphrase of the CA's key: "
_AGAIN = "The same again: "


def given_passphrase(file: str | None) -> Secret:
    """The passphrase of a CA that exists: from `file`, else the environment, else the terminal. Raises UsageError."""
    return _given(file) or _checked(_ask(_QUESTION), "The passphrase")


def new_passphrase(file: str | None) -> Secret:
    """The passphrase for a new CA; at the terminal it is asked for twice. Raises UsageError, also for a short one."""
    given = _given(file)
    if given is None:
        given = _checked(_ask(f"New {_QUESTION[0].lower()}{_QUESTION[1:]}"), "The passphrase")
        if _ask(_AGAIN) != given:
            raise UsageError("The two passphrases differ, so nothing was made. Run it again.")
    if len(given.reveal()) < SHORTEST:
        raise UsageError(f"The passphrase is too short: a new CA wants {SHORTEST} characters or more.")
    return given


def _given(file: str | None) -> Secret | None:
    """What the call brought along; None when it has to be asked for."""
    # Programs that this one starts have no use for it.
    from_environment = os.environ.pop(VARIABLE, None)
    if file is not None:
        return _checked(_read(file), f"The passphrase in {one_line(file)}")
    return None if from_environment is None else _checked(Secret(from_environment), f"The passphrase in {VARIABLE}")


def _read(file: str) -> Secret:
    """The only line of `file`. Raises UsageError where it cannot be read, or others can."""
    try:
        with open(file, "rb") as opened:
            facts = os.fstat(opened.fileno())
            if stat.S_ISREG(facts.st_mode) and facts.st_mode & 0o077:
                raise UsageError(
                    f"{one_line(file)} can be read or changed by others than its owner (mode "
                    f"{stat.S_IMODE(facts.st_mode):04o}). Run `chmod 600` on it, and think of another passphrase "
                    "if somebody may have read it."
                )
            text = opened.read(LONGEST + 3).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise UsageError(f"The passphrase file {one_line(file)} cannot be used: {why}. Correct it.") from None
    return Secret(text.removesuffix("\n").removesuffix("\r"))


def _checked(passphrase: Secret, what: str) -> Secret:
    text = passphrase.reveal()
    if not text:
        raise UsageError(f"{what} is empty. The CA's key is never kept without one.")
    if len(text.encode("utf-8", "surrogateescape")) > LONGEST or any(mark in text for mark in "\0\r\n"):
        raise UsageError(f"{what} must be one line of at most {LONGEST} bytes.")
    return passphrase


def _ask(question: str) -> Secret:
    """A passphrase from the terminal, without echo. Raises UsageError when there is none to ask at."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        if not sys.stdin.isatty():  # getpass would go on and echo
            raise UsageError(
                "There is no terminal to ask for the passphrase of the CA's key at. Run this in a terminal, or give "
                f"it with --passphrase-file or in {VARIABLE}."
            ) from None
    try:
        return Secret(getpass.getpass(question))
    except EOFError:
        raise UsageError("The terminal was closed before the passphrase was given. Run it again.") from None
