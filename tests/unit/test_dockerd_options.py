"""What is known of dockerd's options: what a running daemon reads again, and what keeps one from starting."""

from __future__ import annotations

from typing import Any

import pytest

from remediator.dockerd.options import reloads, unstartable


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("debug", True, True),
        ("live-restore", False, True),
        ("runtimes", {}, True),
        ("features", {"buildkit": True}, True),
        ("features", {"containerd-snapshotter": True}, False),
        ("log-driver", "local", False),
        ("icc", False, False),
        ("hosts", [], False),
        ("no such option", 7, False),
    ],
)
def test_only_what_docker_documents_is_read_again(key: str, value: Any, expected: bool) -> None:
    assert reloads(key, value) is expected


@pytest.mark.parametrize("value", [1, "true", [], {}])
def test_a_switch_that_is_no_switch_keeps_every_version_down(value: Any) -> None:
    for version in ("20.10.24+dfsg1", "26.1.5", None):
        assert "icc must be true or false" in unstartable({"icc": value}, version)


def test_a_number_is_no_switch_and_a_switch_no_number() -> None:
    assert "mtu must be a number" in unstartable({"mtu": True}, "26.1")
    assert unstartable({"mtu": 1500, "icc": False, "debug": None}, "20.10.24") == ""


@pytest.mark.parametrize(
    ("version", "expected"),
    [("20.10.24+dfsg1", True), ("22.06", True), (None, True), ("x", True), ("23.0.1", False), ("29.0.0", False)],
)
def test_an_option_that_is_not_known_is_dockerds_own_to_judge_where_it_can(version: str | None, expected: bool) -> None:
    assert bool(unstartable({"nosuch\x1b": 1}, version)) is expected
    assert "\x1b" not in unstartable({"nosuch\x1b": 1}, version)
