"""Whether a program was replaced while it runs: with real files and processes."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remediator.host.observe.processes import HostProcess


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program of the host's."""
    return Path(shutil.copy2("/usr/bin/sleep", tmp_path / "dockerd"))


@pytest.fixture
def pid(program: Path) -> Iterator[int]:
    """The process that runs it."""
    with subprocess.Popen([str(program), "300"]) as process:
        yield process.pid
        process.kill()


def replaced(pid: int, how: str = "unit") -> object:
    return HostProcess(pid, how, "docker.service").answer()["replaced"]


def upgrade(path: Path) -> None:
    shutil.copy2("/usr/bin/true", f"{path}.new")
    os.rename(f"{path}.new", path)


def test_a_program_that_lies_where_it_did_is_not_replaced_even_with_another_mode(program: Path, pid: int) -> None:
    program.chmod(0o700)
    assert replaced(pid) is False


@pytest.mark.parametrize("change", [upgrade, os.remove])
def test_one_that_was_upgraded_or_taken_away_is(program: Path, pid: int, change: Callable[[Path], None]) -> None:
    change(program)
    assert replaced(pid) is True


def test_nothing_is_said_of_a_containers_program_whose_path_is_not_the_hosts(program: Path, pid: int) -> None:
    upgrade(program)
    assert replaced(pid, "static_pod") is False


def test_nothing_is_said_of_a_process_that_is_gone() -> None:
    assert replaced(999_999_999) is False
