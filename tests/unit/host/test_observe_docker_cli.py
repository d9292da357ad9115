"""Which Docker CLI is asked for its version, and what counts as one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from remediator.host.observe.command import COMMANDS, UNIT_NAMES, Finished, Running, find_program
from remediator.host.observe.docker import DockerHost
from remediator.host.observe.machine import docker_cli_version
from remediator.host.observe.main import docker_sections
from remediator.host.observe.state import HostState
from remediator.host.observe.units import HostUnit


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("Docker version 20.10.24+dfsg1, build 297e128\n", "20.10.24+dfsg1"),
        ("Docker version 28.2.2, build e6534b4\n", "28.2.2"),
        ("Docker version 26.1.5+dfsg1, build a72d7cd\n", "26.1.5+dfsg1"),
        ("podman version 4.3.1\n", None),
        ("", None),
    ],
)
def test_the_version_of_the_cli_is_the_one_that_it_prints(output: str, version: str | None) -> None:
    assert docker_cli_version(Finished(0, output, "")) == version


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Directories for local and for packaged programs, in place of the system's, where only root writes.

    The docker in them is a shell, and its version the path by which it was run.
    """
    with tempfile.TemporaryDirectory(dir="/var/lib") as name:
        for part in ("local", "packaged", "elsewhere"):
            (Path(name) / part).mkdir(mode=0o755)
        packaged = (f"{name}/packaged",)
        monkeypatch.setattr("remediator.host.observe.command.COMMAND_DIRECTORIES", packaged)
        monkeypatch.setattr("remediator.host.observe.command.DOCKER_DIRECTORIES", (f"{name}/local", *packaged))
        said = 'echo "Docker version $(readlink /proc/$$/exe), build 1"'
        monkeypatch.setitem(COMMANDS, "docker_cli", ("docker", "-c", said))
        yield Path(name)


def make_cli(directory: Path, name: str = "docker") -> Path:
    path = directory / name
    shutil.copy(os.path.realpath("/bin/sh"), path)
    path.chmod(0o755)
    return path


def asked() -> str | None:
    return docker_cli_version(Running("docker_cli").finish())


@pytest.mark.root
def test_the_cli_that_people_run_is_the_one_whose_version_is_told(programs: Path) -> None:
    assert asked() is None
    packaged = make_cli(programs / "packaged")
    assert asked() == str(packaged)
    local = make_cli(programs / "local")
    assert asked() == str(local)


@pytest.mark.root
@pytest.mark.parametrize("change", ["file", "directory", "above", "owner"])
def test_a_cli_that_others_can_replace_is_never_run(programs: Path, change: str) -> None:
    make_cli(programs / "packaged")
    path = make_cli(programs / "local")
    assert asked() == str(path)
    if change == "owner":
        os.chown(path, 1000, 0)
    else:
        {"file": path, "directory": path.parent, "above": programs}[change].chmod(0o775)
    assert asked() is None


@pytest.mark.root
@pytest.mark.parametrize("link", ["../elsewhere/cli", "../elsewhere/link", "{programs}/elsewhere/cli"])
def test_a_linked_cli_is_run_by_its_own_path_where_root_alone_made_the_links(programs: Path, link: str) -> None:
    cli = make_cli(programs / "elsewhere", "cli")
    (programs / "elsewhere" / "link").symlink_to("cli")
    (programs / "local" / "docker").symlink_to(link.format(programs=programs))
    assert find_program("docker") == str(cli)
    assert asked() == str(cli)


@pytest.mark.root
@pytest.mark.parametrize("direct", [True, False])
def test_a_cli_behind_a_link_through_others_directories_is_never_run(programs: Path, direct: bool) -> None:
    make_cli(programs / "packaged")
    theirs = programs / "elsewhere"
    if direct:
        make_cli(theirs, "cli")
    else:
        (theirs / "cli").symlink_to(make_cli(programs / "local", "real"))
    (programs / "local" / "docker").symlink_to("../elsewhere/cli")
    assert asked() is not None
    os.chown(theirs, 1000, 0)
    assert asked() is None


@pytest.mark.root
def test_a_script_that_wraps_the_cli_is_never_run(programs: Path) -> None:
    make_cli(programs / "packaged")
    path = programs / "local" / "docker"
    path.write_text('#!/bin/sh\necho "Docker version 28.2.2, build 1"\n')
    path.chmod(0o755)
    assert asked() is None


@pytest.mark.root
def test_other_commands_may_be_scripts_and_are_passed_over_where_others_can_replace_them(programs: Path) -> None:
    path = programs / "packaged" / "tool"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    assert find_program("tool") == str(path)
    programs.chmod(0o757)
    assert find_program("tool") is None


@pytest.mark.root
def test_a_link_in_a_circle_is_no_program(programs: Path) -> None:
    (programs / "local" / "docker").symlink_to("docker")
    cli = make_cli(programs / "packaged")
    assert find_program("docker") == str(cli)


def client_system() -> tuple[bool, str]:
    """Whether the host has a Docker client, and the reason."""
    state = HostState({name: HostUnit(name) for name in UNIT_NAMES}, {})
    docker_sections(state, DockerHost(state), [], Running("docker_cli").finish())
    system = state.systems["docker_client"]
    return system["present"], system["reason"]


@pytest.mark.root
def test_a_cli_that_does_not_say_its_version_is_there_all_the_same(programs: Path) -> None:
    assert client_system() == (False, "there is no Docker CLI on this host")
    path = make_cli(programs / "local")
    assert client_system() == (True, f"its Docker CLI is {path}")
    path.chmod(0o775)
    assert client_system() == (True, f"its Docker CLI, {path}, does not say its version")
