"""Environment files as systemd reads them, and words taken out of a variable's value."""

from __future__ import annotations

import pytest

from remediator.dockerd.environment_file import read_assignments, without_words
from remediator.splices import Edited


def variables(text: str) -> dict[str, str]:
    return {one.name: one.value for one in read_assignments(text.encode())}


def without(text: str, *indexes: int, kept: str = "") -> str:
    taken = dict.fromkeys(indexes, "")
    if kept:
        taken[indexes[0]] = kept
    return Edited.of(text.encode()).splice(without_words(text.encode(), "O", taken)).content.decode()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('# A="x"\n;B=y\n\n A = "-H x" \nB=c d  \nA=later\n', {"A": "later", "B": "c d"}),
        ("export A=x\nB='a \"b\\'\nnonsense\n", {"B": 'a "b\\'}),
        ('A="a\nb"\nB="\\"\\$x\\n"\n', {"A": "a\nb", "B": '"$x\\n'}),
        ("A=a\\\nb\\ c\nB=x=y\n", {"A": "ab c", "B": "x=y"}),
        ("A=x\r\nB=y", {"A": "x", "B": "y"}),
        ('A=a"b c"\n', {"A": 'a"b c"'}),
        ("A=\n1=x\nB C=y\n", {"A": ""}),
    ],
)
def test_assignments_are_read_as_systemd_reads_them(text: str, found: dict[str, str]) -> None:
    assert variables(text) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('A="x\nB=y\n', "a quote is not closed"),
        ('A="x" y\n', "after the quotes"),
        ("A='x'y\n", "after the quotes"),
        ("# a \\\nA=x\n", "a comment ends in a backslash"),
    ],
)
def test_a_file_that_could_be_read_in_two_ways_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        variables(text)


@pytest.mark.parametrize(
    ("text", "indexes", "after"),
    [
        ('# é\nO="-H tcp://x --label a=b"\nP=1', (0, 1), '# é\nO="--label a=b"\nP=1'),
        ("O = '--label  a=b  -H x'  \r\n", (2, 3), "O = '--label  a=b'  \r\n"),
        ("O=--x -H=y --z\n", (1,), "O=--x --z\n"),
        ('O="-H x"\n', (0, 1), 'O=""\n'),
        ("O=-H x", (0, 1), "O="),
        ("O=\"--label 'é b' -Hx\"\n", (2,), "O=\"--label 'é b'\"\n"),
    ],
)
def test_words_are_taken_out_and_every_other_byte_stays(text: str, indexes: tuple[int, ...], after: str) -> None:
    assert without(text, *indexes) == after


def test_what_a_bundle_of_flags_holds_besides_stays() -> None:
    assert without('O="-DH x"\n', 0, 1, kept="-D") == 'O="-D"\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("O=-H x\nO=-H y\n", "sets O 2 times"),
        ("P=x\n", "sets O 0 times"),
        ('O="-H \\\nx"\n', "has backslashes"),
        ("O=-H x\\ y\n", "has backslashes"),
    ],
)
def test_a_value_that_cannot_surely_be_edited_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        without(text, 0, 1)
