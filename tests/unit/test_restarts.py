"""When restarts may be made: the shapes that an inventory may give it, and its windows minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from remediator.catalogue import load_catalogue
from remediator.errors import UsageError
from remediator.policy import Policy
from remediator.restarts import RestartPolicy, Window, parse_restarts

SUNDAY = datetime(2026, 7, 5, tzinfo=UTC)
CATALOGUE = load_catalogue()


def at(time: str, day: int = 0) -> datetime:
    """That time (UTC, with seconds) on the Sunday, or `day` days later."""
    hour, minute, second = map(int, time.split(":"))
    return SUNDAY + timedelta(days=day, hours=hour, minutes=minute, seconds=second)


def test_without_a_word_restarts_are_asked_for() -> None:
    policy = Policy().for_host("web1", {}, CATALOGUE)
    assert (policy.restarts, policy.asks) == (RestartPolicy(mode="ask"), True)


def test_a_hosts_own_policy_says_when_and_with_what_around_it() -> None:
    own = {
        "restarts": "window",
        "window": ["Sun 02:00-04:00", "22:30-01:00"],
        "before_restart": [["kubectl", "drain", "web1"]],
        "after_restart": [["kubectl", "uncordon", "web1"]],
        "hook_seconds": 30,
    }
    restarts = Policy().for_host("web1", {"remediator_policy": own}, CATALOGUE).restarts
    assert restarts == RestartPolicy(
        "window",
        (Window(6, 120, 120), Window(None, 1350, 150)),
        (("kubectl", "drain", "web1"),),
        (("kubectl", "uncordon", "web1"),),
        30,
    )
    assert [str(window) for window in restarts.windows] == own["window"]
    assert parse_restarts("web1", {"restarts": "window", "window": "02:00-04:00"}).windows == (Window(None, 120, 120),)


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ({"restarts": "sometimes"}, "sometimes"),
        ({"restarts": True}, "True"),
        ({"restarts": "window"}, "no window"),
        ({"restarts": "always", "window": "02:00-04:00"}, "without restarts: window"),
        ({"window": "02:00-04:00"}, "without restarts: window"),
        ({"restarts": "window", "window": "2-4"}, "2-4"),
        ({"restarts": "window", "window": "Sunday 02:00-04:00"}, "Sunday"),
        ({"restarts": "window", "window": "02:00-02:00"}, "02:00-02:00"),
        ({"restarts": "window", "window": "24:00-25:00"}, "24:00-25:00"),
        ({"restarts": "window", "window": "02:60-04:00"}, "02:60"),
        ({"restarts": "window", "window": 1320}, "1320"),
        ({"restarts": "window", "window": ["02:00-04:00", None]}, "None"),
        ({"before_restart": "kubectl drain web1"}, "before_restart"),
        ({"before_restart": ["kubectl drain web1"]}, "before_restart"),
        ({"after_restart": [[]]}, "after_restart"),
        ({"after_restart": [["", "x"]]}, "after_restart"),
        ({"after_restart": [["sleep", 3]]}, "after_restart"),
        ({"after_restart": [["echo", "a\0b"]]}, "after_restart"),
        ({"hook_seconds": 0}, "hook_seconds"),
        ({"hook_seconds": True}, "hook_seconds"),
        ({"hook_seconds": "60"}, "hook_seconds"),
        ({"before_restarts": []}, "before_restart"),
    ],
)
def test_what_is_malformed_is_refused_with_the_host_and_the_remedy(own: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=r"^web1: remediator_policy .*inventory\.$") as refused:
        Policy().for_host("web1", {"remediator_policy": own}, CATALOGUE)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("window", "open_at", "closed_at"),
    [
        ("02:00-04:00", [at("02:00:00"), at("03:59:59"), at("02:30:00", 3)], [at("01:59:59"), at("04:00:00")]),
        (
            "Sun 02:00-04:00",
            [at("02:00:00"), at("03:59:59", 7)],
            [at("02:00:00", 1), at("04:00:00"), at("02:00:00", 6)],
        ),
        ("22:00-24:00", [at("22:00:00"), at("23:59:59")], [at("00:00:00"), at("21:59:59")]),
        ("22:30-01:00", [at("22:30:00"), at("00:59:59", 2), at("00:00:00")], [at("01:00:00"), at("22:29:59")]),
        (
            "Sat 22:30-01:00",  # what begins on Saturday ends on Sunday
            [at("22:30:00", 6), at("23:59:59", 6), at("00:00:00"), at("00:59:59", 7)],
            [at("22:30:00"), at("00:30:00", 6), at("01:00:00"), at("00:30:00", 1)],
        ),
        ("Sun 23:00-00:00", [at("23:59:59")], [at("00:00:00", 1), at("00:00:00")]),
        ("Sun 00:00-24:00", [at("00:00:00"), at("23:59:59")], [at("00:00:00", 1), at("23:59:59", 6)]),
    ],
)
def test_a_window_is_open_from_its_first_minute_to_its_end(
    window: str, open_at: list[datetime], closed_at: list[datetime]
) -> None:
    known = Window.parse(window)
    assert str(known) == window.replace("-00:00", "-24:00")
    assert [known.is_open(now) for now in open_at] == [True] * len(open_at)
    assert [known.is_open(now) for now in closed_at] == [False] * len(closed_at)


def test_a_window_is_in_utc_whatever_the_clock_that_is_read() -> None:
    tokyo = timezone(timedelta(hours=9))
    window = Window.parse("Sun 02:00-04:00")
    assert window.is_open(datetime(2026, 7, 5, 11, 30, tzinfo=tokyo))
    assert not window.is_open(datetime(2026, 7, 5, 2, 30, tzinfo=tokyo))


@pytest.mark.parametrize(
    ("mode", "asks", "now", "named"),
    [
        ("ask", True, SUNDAY, ""),
        ("ask", False, SUNDAY, "restarts: always"),
        ("never", True, SUNDAY, "restarts: ask or always"),
        ("always", False, SUNDAY, ""),
        ("window", True, SUNDAY, "its window, Sun 02:00-04:00, Wed 02:00-04:00 UTC"),
        ("window", False, at("02:00:00", 3), ""),
    ],
)
def test_what_would_release_a_restart_is_named_where_it_is_not_permitted(
    mode: Any, asks: bool, now: datetime, named: str
) -> None:
    windows = (Window.parse("Sun 02:00-04:00"), Window.parse("Wed 02:00-04:00"))
    release = RestartPolicy(mode, windows if mode == "window" else ()).release(now, asks)
    assert named in release
    assert bool(named) == bool(release)
