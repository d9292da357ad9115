"""The flags of dockerd's command line, variables put in."""

from __future__ import annotations

import time

import pytest

from remediator.dockerd.flags import Flag, expand, read_flags, used_variables
from remediator.dockerd.words import split_words


def flags(command: str, **variables: str) -> tuple[Flag, ...]:
    return read_flags(expand(split_words(f"/d {command}", escapes=True), variables))


def pairs(command: str, **variables: str) -> list[tuple[str, str]]:
    return [(flag.name, flag.value) for flag in flags(command, **variables)]


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (
            "-H fd:// -Hunix:///x -H=a --host b --host=c",
            [("host", one) for one in ("fd://", "unix:///x", "a", "b", "c")],
        ),
        ("--tlsverify --tls=false -D", [("tlsverify", "true"), ("tls", "false"), ("debug", "true")]),
        ("-DH fd:// -DHx", [("debug", "true"), ("host", "fd://"), ("debug", "true"), ("host", "x")]),
        ("-D=false -lwarn", [("debug", "false"), ("log-level", "warn")]),
        ("--oom-score-adjust -500 --icc", [("oom-score-adjust", "-500"), ("icc", "true")]),
        ("--live-restore --label a=b", [("live-restore", "true"), ("label", "a=b")]),
        ("--tlscacert=/a=b", [("tlscacert", "/a=b")]),
    ],
)
def test_flags_are_read_as_go_reads_them(command: str, found: list[tuple[str, str]]) -> None:
    assert pairs(command) == found


@pytest.mark.parametrize(
    "command", ["fd://", "--tlsverify true", "-x", "--", "-", "-H", "--host", "''", "--label \\xff"]
)
def test_a_command_line_that_dockerd_does_not_take_is_refused(command: str) -> None:
    with pytest.raises(ValueError, match=r"does not take|has no value|is not known|is not UTF-8"):
        flags(command)


def test_a_variable_alone_is_several_words_and_one_in_braces_is_part_of_its_word() -> None:
    assert pairs("$O --label=${N}-$$x ${H}", O="-H 'a b' -D", N="n 1", H="--host=z") == [
        ("host", "a b"),
        ("debug", "true"),
        ("label", "n 1-$x"),
        ("host", "z"),
    ]
    assert pairs("$O -D $P", P="") == [("debug", "true")]


def test_the_variables_that_words_take_in_are_named_once() -> None:
    words = split_words("/d $O --x=${A}${B}$C $$D ${A}", escapes=True)
    assert used_variables(words) == ("O", "A", "B")


def test_a_flag_knows_where_its_words_stand() -> None:
    debug, host, other = flags("-DH fd:// $O", O="--x -H y")[0], flags("-DH fd://")[1], flags("-D $O", O="--x -H y")[2]
    assert (debug.variable, debug.indexes) == ("", (1,))
    assert (host.variable, host.indexes, host.kept) == ("", (1, 2), "-D")
    assert (other.variable, other.indexes, other.scattered) == ("O", (1, 2), False)


def test_a_flag_whose_value_comes_from_another_place_says_so() -> None:
    (host,) = flags("-H $O", O="fd://")
    assert (host.value, host.scattered) == ("fd://", True)


@pytest.mark.parametrize("variables", [{"O": "x " * 20_000}, {"O": "x" * 1_000_000}])
def test_a_command_line_longer_than_any_is_refused_before_it_is_made(variables: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="than any daemon's"):
        flags("$O " * 5000, **variables)
    with pytest.raises(ValueError, match="longer than any daemon's"):
        flags("--label=" + "${O}" * 5000, **variables)


def test_a_word_of_ever_more_switches_is_given_up_in_no_time() -> None:
    before = time.monotonic()
    with pytest.raises(ValueError, match="more switches than dockerd"):
        flags("-" + "D" * 60_000)
    assert time.monotonic() - before < 1
