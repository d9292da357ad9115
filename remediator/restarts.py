"""When a host's services may be restarted, and what this controller runs around it: part of a host's own policy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from remediator.errors import UsageError
from remediator.text import one_line

RestartMode = Literal["ask", "never", "window", "always"]
Command = tuple[str, ...]

RESTART_KEYS = frozenset(("restarts", "window", "before_restart", "after_restart", "hook_seconds"))
HOOK_SECONDS = 600
_MODES = ("ask", "never", "window", "always")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = 24 * 60  # minutes
_WINDOW = re.compile(r"(?:(Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9])")
_MOST_SECONDS = 3600


@dataclass(frozen=True)
class Window:
    """A span of time, in UTC, that comes every day or every week on `day` (0 is Monday).

    `start` and `length` are minutes: it may go on past midnight, and then belongs to the day on which it began.
    """

    day: int | None
    start: int
    length: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """`Sun 02:00-04:00`, or `22:30-01:00` for every day. Raises ValueError."""
        found = _WINDOW.fullmatch(text)
        if found is None:
            raise ValueError(text)
        start, end = (int(found[hour]) * 60 + int(found[hour + 1]) for hour in (2, 4))
        if start >= _DAY or end > _DAY or start == end:
            raise ValueError(text)
        return cls(_DAYS.index(found[1]) if found[1] else None, start, (end - start - 1) % _DAY + 1)

    def is_open(self, now: datetime) -> bool:
        """Whether `now` (with its time zone) lies in it: from the first minute on, up to the last one's end."""
        utc = now.astimezone(UTC)
        minute = utc.hour * 60 + utc.minute
        if self.start <= minute < self.start + self.length:
            return self.day in (None, utc.weekday())
        return minute + _DAY < self.start + self.length and self.day in (None, (utc.weekday() - 1) % 7)

    def __str__(self) -> str:
        """As it is written in an inventory."""
        end = (self.start + self.length) % _DAY or _DAY
        day = "" if self.day is None else f"{_DAYS[self.day]} "
        return f"{day}{self.start // 60:02}:{self.start % 60:02}-{end // 60:02}:{end % 60:02}"


@dataclass(frozen=True)
class RestartPolicy:
    """What `remediator_policy` says of restarts.

    `before` and `after` are commands (words, never a shell) that this controller runs around a commit that restarts
    something, each with a deadline of `seconds`.
    """

    mode: RestartMode = "ask"
    windows: tuple[Window, ...] = ()
    before: tuple[Command, ...] = ()
    after: tuple[Command, ...] = ()
    seconds: int = HOOK_SECONDS

    @property
    def hooks(self) -> str:
        """Which programs this controller runs around a restart, in words for a preview; empty for none."""
        said = [
            f"{', '.join(dict.fromkeys(one_line(command[0], 100) for command in commands))} {when} it"
            for commands, when in ((self.before, "before"), (self.after, "after"))
            if commands
        ]
        return f"this controller runs {' and '.join(said)}" if said else ""

    def release(self, now: datetime, asks: bool) -> str:
        """What would permit a restart that is not permitted at `now`; empty where it is.

        `asks`: whether somebody approves what is previewed, at a prompt or beforehand (`--yes`).
        """
        if self.mode == "always" or (self.mode == "ask" and asks):
            return ""
        if self.mode == "window":
            closed = not any(window.is_open(now) for window in self.windows)
            return f"its window, {', '.join(map(str, self.windows))} UTC" if closed else ""
        if self.mode == "ask":
            return "remediate apply, which asks, or restarts: always in remediator_policy"
        return "restarts: ask or always in remediator_policy"


def told(hosts: Iterable[Iterable[str]]) -> str:
    """The units of each host in words for a question, ` (restarts docker.service on 2 hosts)`; empty for none."""
    units = [unit for host in hosts for unit in set(host)]
    counts = [(unit, units.count(unit)) for unit in sorted(set(units))]
    said = ", ".join(f"{unit} on {number} {'host' if number == 1 else 'hosts'}" for unit, number in counts)
    return f" (restarts {said})" if said else ""


def parse_restarts(host: str, own: Mapping[str, Any]) -> RestartPolicy:
    """The restart policy in `own`, a host's `remediator_policy`. Raises UsageError where it is malformed."""
    mode = own.get("restarts", "ask")
    if mode not in _MODES:
        raise _malformed(host, f"restarts: {mode!r}, which is none of {', '.join(_MODES)}")
    windows = _windows(host, own.get("window"))
    if (mode == "window") != bool(windows):
        lacking = "restarts: window, but no window such as 'Sun 02:00-04:00'"
        raise _malformed(host, "a window without restarts: window" if windows else lacking)
    seconds = own.get("hook_seconds", HOOK_SECONDS)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 < seconds <= _MOST_SECONDS:
        raise _malformed(host, f"hook_seconds: {seconds!r}, which is no number of seconds from 1 to {_MOST_SECONDS}")
    before, after = (_commands(host, name, own.get(name)) for name in ("before_restart", "after_restart"))
    return RestartPolicy(cast(RestartMode, mode), windows, before, after, seconds)


def _windows(host: str, given: object) -> tuple[Window, ...]:
    texts = given if isinstance(given, list) else [] if given is None else [given]
    found = []
    for text in texts:
        try:
            found.append(Window.parse(text if isinstance(text, str) else ""))
        except ValueError:
            raise _malformed(
                host, f"the window {text!r}, which is neither like 'Sun 02:00-04:00' nor like '22:30-01:00' (UTC)"
            ) from None
    return tuple(found)


def _commands(host: str, name: str, given: object) -> tuple[Command, ...]:
    commands = [] if given is None else given
    if not isinstance(commands, list) or not all(map(_is_command, commands)):
        raise _malformed(
            host, f"{name}, which must be a list of commands, each a list of words: [[kubectl, drain, web1]]"
        )
    return tuple(tuple(command) for command in commands)


def _is_command(command: object) -> bool:
    """Whether it is a list of words that a program can be started with; no shell ever reads it."""
    words = command if isinstance(command, list) else []
    return bool(words) and bool(words[0]) and all(isinstance(word, str) and "\0" not in word for word in words)


def _malformed(host: str, what: str) -> UsageError:
    return UsageError(f"{host}: remediator_policy has {what}. Correct it in the inventory.")
