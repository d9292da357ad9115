"""A running dockerd's command line against its unit's."""

from __future__ import annotations

import time

import pytest

from remediator.dockerd.command_line import differing_flags
from tests.unit.dockerd_host import DockerHost, known

PROGRAM = "/usr/sbin/dockerd"


def differences(
    command: str, *argv: str, environment: str | None = None, drop_ins: dict[str, str] | None = None
) -> list[str]:
    host = DockerHost(unit=command, environment=environment, drop_ins=drop_ins or {})
    return differing_flags((PROGRAM, *argv), known(host.overlay()))


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        (f"{PROGRAM} -H fd://", ("-H", "fd://")),
        (f"{PROGRAM} -H fd:// --icc=false", ("--icc=false", "--host=fd://")),
        (f"{PROGRAM} --label a=b --label c=d", ("--label=a=b", "--label=c=d")),
        (f"{PROGRAM} -D $NOTHING", ("--debug",)),
        (f'{PROGRAM} --label "a=b c"', ("--label", "a=b c")),
        (f"{PROGRAM} --label=h=%H-x", ("--label=h=web1-x",)),
        (f"{PROGRAM} --label=h=100%%", ("--label=h=100%",)),
        (f"{PROGRAM} --label=ä", ("--label=ä",)),
    ],
)
def test_the_same_flags_agree_however_they_are_written(command: str, argv: tuple[str, ...]) -> None:
    assert differences(command, *argv) == []


@pytest.mark.parametrize(
    ("command", "argv", "said"),
    [
        (f"{PROGRAM} --icc=false", (), ["its unit gives it --icc=false, and it was started without"]),
        (PROGRAM, ("--debug",), ["it was started with --debug, which its unit does not give it"]),
        (
            f"{PROGRAM} --mtu=1400",
            ("--mtu=1500",),
            [
                "its unit gives it --mtu=1400, and it was started without",
                "it was started with --mtu=1500, which its unit does not give it",
            ],
        ),
        (
            f"{PROGRAM} --mtu=1400 --mtu=1500",
            ("--mtu=1500", "--mtu=1400"),
            [
                "its unit gives it --mtu=1400, and it was started without",
                "its unit gives it --mtu=1500, and it was started without",
            ],
        ),
        (f"{PROGRAM} --label=h=%H-x", ("--label=h=web1-y",), None),
        (f"{PROGRAM} --label=aba%Haba", ("--label=aba",), None),
    ],
)
def test_flags_that_only_one_of_both_has_are_named(command: str, argv: tuple[str, ...], said: list[str] | None) -> None:
    found = differences(command, *argv)
    assert found == said if said is not None else found


def test_a_variable_that_was_added_to_the_environment_file_counts() -> None:
    found = differences(f"{PROGRAM} $DOCKER_OPTS", environment="DOCKER_OPTS=--icc=false\n")
    assert found == ["its unit gives it --icc=false, and it was started without"]


def test_a_secret_is_the_same_as_long_as_it_is_as_long_and_is_never_shown() -> None:
    command = f"{PROGRAM} $DOCKER_OPTS"
    environment = "DOCKER_OPTS=--log-opt=splunk-token=geheim-4711\n"
    assert differences(command, "--log-opt=splunk-token=xxxxxxxxxxx", environment=environment) == []
    (less, more) = differences(command, "--log-opt=splunk-token=xxxx", environment=environment)
    assert "geheim" not in less + more


def test_a_secret_of_one_side_only_is_the_same_where_the_rest_is() -> None:
    command = f"{PROGRAM} --label=${{MY_TOKEN}}"
    environment = "MY_TOKEN=geheim\n"
    assert differences(command, "--label=abcdef", environment=environment) == []
    assert differences(command, "--label=abcdefg", environment=environment)


def test_another_program_is_a_difference() -> None:
    (said,) = differing_flags(("/opt/dockerd",), known(DockerHost(unit=PROGRAM).overlay()))
    assert said == "/opt/dockerd runs, and its unit starts /usr/sbin/dockerd"


def test_a_command_line_that_no_dockerd_takes_is_said_to_be_unreadable() -> None:
    (said,) = differences(PROGRAM, "word")
    assert "cannot be read" in said


@pytest.mark.parametrize("argv", [["--label=" + "x" * 4000] * 999, ["-" + "D" * 4000] * 999, ["x"] * 100_000])
def test_hostile_command_lines_are_compared_in_no_time(argv: list[str]) -> None:
    options = " ".join(f"--label={'y' * 60}{number}" for number in range(900))
    before = time.monotonic()
    found = differences(f"{PROGRAM} $DOCKER_OPTS", *argv, environment=f'DOCKER_OPTS="{options}"\n')
    assert time.monotonic() - before < 3
    assert found
    assert all(len(said) < 400 for said in found)
