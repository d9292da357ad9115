"""A real machine loses its power in the middle of an apply; `make faults` does it at every step and many moments."""

from __future__ import annotations

from pathlib import Path

from tests.faults import power

# The daemon's transaction has begun to activate: its files are written, dockerd is about to be restarted.
CUT = power.Cut(step="+ docker activating")


def test_a_power_cut_while_the_daemon_is_restarted_is_recovered_before_it_starts_again(tmp_path: Path) -> None:
    with power.prepared("trixie", tmp_path) as bench:
        told = power.pull(bench, CUT)
        assert CUT.step in told
        end = power.recovered(bench)
    assert "docker rolled_back" in end
    assert end.endswith("by the boot unit, before dockerd")
