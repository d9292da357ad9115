"""Deadlines that hold whatever a host does: when one passes, what it talks through is closed under it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Deadline:
    """One running time limit. `closing` is what ends it; it may be called at any moment, from another thread."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.passed = False
        self._closers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        """Seconds that are left, at least a hundredth."""
        return max(0.01, self.at - time.monotonic())

    def closes(self, closer: Callable[[], None]) -> None:
        """Have `closer` called when the deadline passes; at once when it has."""
        with self._lock:
            self._closers.append(closer)
            late = self.passed
        if late:
            closer()

    def expire(self) -> None:
        """The time is over: close everything."""
        with self._lock:
            self.passed = True
        self.close()

    def close(self) -> None:
        """Close everything; the caller is done with it."""
        with self._lock:
            closers = list(self._closers)
        for closer in closers:
            closer()


class Deadlines:
    """One thread that watches all deadlines of a sweep, until `end`."""

    def __init__(self) -> None:
        self._running: set[Deadline] = set()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End every deadline that still runs, and those to come: nobody waits for a host any more."""
        with self._changed:
            self._ended = True
            running = list(self._running)
            self._changed.notify_all()
        for deadline in running:
            deadline.expire()

    def start(self, seconds: float) -> Deadline:
        """A deadline this many seconds from now."""
        deadline = Deadline(time.monotonic() + seconds)
        with self._changed:
            self._running.add(deadline)
            ended = self._ended
            self._changed.notify_all()
        if ended:
            deadline.expire()
        return deadline

    @contextmanager
    def paused(self, deadline: Deadline) -> Iterator[None]:
        """Stop the clock: what a host waits for others is not its own time."""
        with self._changed:
            left = deadline.at - time.monotonic()
            deadline.at = math.inf
        try:
            yield
        finally:
            with self._changed:
                deadline.at = time.monotonic() + left
                self._changed.notify_all()

    def stop(self, deadline: Deadline) -> None:
        """It was met."""
        with self._changed:
            self._running.discard(deadline)

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._ended:
                    return
                now = time.monotonic()
                late = [deadline for deadline in self._running if deadline.at <= now]
                self._running.difference_update(late)
                if not late:
                    ends = min((deadline.at for deadline in self._running), default=math.inf)
                    self._changed.wait(None if ends == math.inf else ends - now)
            for deadline in late:
                deadline.expire()
