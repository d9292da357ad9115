"""Host text made harmless."""

from __future__ import annotations

import pytest

from remediator.text import is_plain, one_line, visible


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("nul\x00byte", "nul\\x00byte"),
        ("\u202eevil", "\\u202eevil"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ("c1 \x9b31m", "c1 \\x9b31m"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("carriage\rreturn", "carriage\\x0dreturn"),
        ("not a \uffff character", "not a \\uffff character"),
    ],
)
def test_what_could_harm_a_terminal_or_a_database_is_shown_as_an_escape(hostile: str, shown: str) -> None:
    assert visible(hostile) == shown
    assert not is_plain(hostile)


def test_ordinary_text_of_any_language_stays_as_it_is() -> None:
    text = "Größe 日本語 naïve — ok"
    assert visible(text) == text
    assert is_plain(text)


def test_text_is_cut_at_its_limit_and_says_so() -> None:
    assert visible("x" * 50, 10) == "xxxxxxx..."


def test_one_line_has_no_line_ends() -> None:
    assert one_line("a\nb\tc") == "a\\nb\\tc"
