"""What became of a run: told from this host's records, without beginning anything."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from remediator.history import new_ulid
from remediator.plan import Step
from tests.unit.host.commit.host import CommitHost, Running, chmod, transaction, write

# Holds a transaction until the test lets it go on, or kills it.
HOLDS = """
import time
(here / "held").touch()
end = time.monotonic() + 60
while not (here / "go").exists() and time.monotonic() < end:
    time.sleep(0.01)
print("No rules")
"""
AUDIT_PROBE = (Step(do="audit_loaded", rule=("-w", "/x", "-p", "wa")),)


def collected(host: CommitHost, run: str) -> dict[str, Any]:
    return host.start({"format_version": 1, "do": "collect", "run": run, "host": "web1"}).answer()


def held(host: CommitHost, path: Path, run: str) -> Running:
    """A commit of `run` that has written and waits in its probe."""
    host.program("auditctl", HOLDS)
    running = host.start(host.request(transaction(write(path, b"{}"), probe=AUDIT_PROBE), run=run))
    end = time.monotonic() + 30
    while not (host.base / "held").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert path.read_bytes() == b"{}"
    return running


def test_recorded_results_are_told_as_they_were_answered(host: CommitHost) -> None:
    run, other = new_ulid(), new_ulid()
    path = host.file("daemon.json")
    results = host.run(transaction(chmod(path, 0o600)), run=run)
    host.run(transaction(chmod(path, 0o640)), run=other)

    answer = collected(host, run)

    assert (answer["run"], answer["host"]) == (run, "web1")
    assert (answer["results"], answer["open"], answer["running"]) == (results, [], False)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_run_that_still_goes_on_is_waited_for(host: CommitHost) -> None:
    run = new_ulid()
    path = host.file("daemon.json")
    first = held(host, path, run)
    asking = host.start({"format_version": 1, "do": "collect", "run": run, "host": "web1"})
    time.sleep(0.5)
    assert asking.process.poll() is None
    (host.base / "go").touch()
    answer = asking.answer()
    assert [result["outcome"] for result in answer["results"]] == ["rolled_back"]
    assert answer["results"] == first.answer()["results"]


def test_another_runs_lock_is_not_waited_for_and_nobody_says_that_this_one_will_not_come(host: CommitHost) -> None:
    path = host.file("daemon.json")
    first = held(host, path, new_ulid())
    try:
        answer = collected(host, new_ulid())
        assert (answer["results"], answer["open"], answer["running"]) == ([], [], True)
        assert first.process.poll() is None
    finally:
        (host.base / "go").touch()
        first.answer()


def test_what_was_cut_short_is_told_as_open_and_left_as_it_is(host: CommitHost) -> None:
    run = new_ulid()
    path = host.file("daemon.json")
    first = held(host, path, run)
    first.process.send_signal(signal.SIGKILL)
    first.process.communicate()
    (host.base / "go").touch()
    answer = collected(host, run)
    assert (answer["results"], answer["open"]) == ([], ["files"])
    assert path.read_bytes() == b"{}"


def test_a_run_of_which_nothing_is_here_does_not_begin_any_more(host: CommitHost) -> None:
    run = new_ulid()
    path = host.file("daemon.json")
    planned = transaction(chmod(path, 0o600))

    answer = collected(host, run)
    assert (answer["results"], answer["open"], answer["running"]) == ([], [], False)

    late = host.start(host.request(planned, run=run)).answer()
    assert late["error"]["kind"] == "request"
    assert "given up before it began" in late["error"]["message"]
    assert path.stat().st_mode & 0o777 == 0o644
    assert host.run(planned)[0]["outcome"] == "applied"


def test_a_record_that_is_none_counts_as_open(host: CommitHost) -> None:
    run = new_ulid()
    path = host.file("daemon.json")
    host.run(transaction(chmod(path, 0o600)), run=run)
    (host.state / "transactions" / f"{run}.files" / "record.json").write_bytes(b"[" * 100_000)
    answer = collected(host, run)
    assert (answer["results"], answer["open"]) == ([], ["files"])
