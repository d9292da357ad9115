"""Fixtures: emulated machines with a kernel of their own. For conftest.py to take in."""

from collections.abc import Callable, Iterator

import pytest

from .hosts.machine import Machine

FreshMachine = Callable[[str], Machine]


@pytest.fixture(scope="session")
def machine12() -> Iterator[Machine]:
    """A Debian 12 machine that tests share: for what changes nothing, or is put back."""
    with Machine.start("bookworm") as machine:
        yield machine


@pytest.fixture(scope="session")
def machine13() -> Iterator[Machine]:
    """A Debian 13 machine that tests share: for what changes nothing, or is put back."""
    with Machine.start("trixie") as machine:
        yield machine


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
