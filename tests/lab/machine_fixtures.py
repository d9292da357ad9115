"""Fixtures: emulated machines with a kernel of their own. For conftest.py to take in."""

from collections.abc import Callable, Iterator

import pytest

from .hosts.machine import Machine

FreshMachine = Callable[[str], Machine]


@pytest.fixture
def fresh_machine() -> Iterator[FreshMachine]:
    """Makes machines for one test alone, in seconds: fresh_machine("bookworm"), fresh_machine("trixie")."""
    made: list[Machine] = []

    def start(suite: str) -> Machine:
        made.append(Machine.start(suite))
        return made[-1]

    yield start
    for machine in made:
        machine.stop()
