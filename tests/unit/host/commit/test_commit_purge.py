"""Our traces go as a whole, and never while they are needed."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from remediator.history import new_ulid
from tests.unit.host.commit.host import CommitHost, chmod, transaction
from tests.unit.host.commit.test_commit_collect import held


def purged(host: CommitHost, setup: str = "") -> dict[str, Any]:
    request = {"format_version": 1, "do": "purge", "run": new_ulid(), "host": "web1", "who": "ann", "reason": "leaving"}
    return host.start(request, setup).answer()


def test_everything_of_ours_is_gone_and_the_hardening_stays(host: CommitHost) -> None:
    path = host.file("daemon.json")
    host.run(transaction(chmod(path, 0o600)))
    host.journal()
    assert (host.state / "transactions").is_dir()

    answer = purged(host)

    assert answer["removed"] == ["/var/lib/remediator"]
    assert list(host.state.parent.iterdir()) == []
    assert path.stat().st_mode & 0o777 == 0o600
    (line,) = host.journal()
    assert 'who="ann" reason="leaving" path="/var/lib/remediator" outcome=purged' in line
    assert host.run(transaction(chmod(path, 0o644)))[0]["outcome"] == "applied"


def test_an_open_journal_is_named_and_kept(host: CommitHost) -> None:
    run = new_ulid()
    first = held(host, host.file("daemon.json"), run)
    first.process.send_signal(signal.SIGKILL)
    first.process.communicate()
    (host.base / "go").touch()
    error = purged(host)["error"]
    assert error["kind"] == "open"
    assert f"{run}.files" in error["message"]
    assert (host.state / "transactions" / f"{run}.files" / "journal.json").exists()


def test_a_broken_hosts_mark_is_kept(host: CommitHost) -> None:
    host.run(transaction(chmod(host.file("daemon.json"), 0o600)))
    mark = host.state / "broken.json"
    mark.touch(0o600)
    mark.write_text(json.dumps({"run": "01X", "group": "docker", "reason": "it is down", "since": 1}))
    error = purged(host)["error"]
    assert (error["kind"], "it is down" in error["message"]) == ("broken", True)
    assert mark.exists()


def test_a_run_that_changes_the_host_is_not_pulled_the_rug_from(host: CommitHost) -> None:
    first = held(host, host.file("daemon.json"), new_ulid())
    try:
        assert purged(host)["error"]["kind"] == "locked"
        assert (host.state / "transactions").is_dir()
    finally:
        (host.base / "go").touch()
        first.answer()


@pytest.mark.parametrize("where", ["inside", "instead"])
def test_a_link_leads_purge_nowhere_else(host: CommitHost, where: str) -> None:
    host.run(transaction(chmod(host.file("daemon.json"), 0o600)))
    outside = host.file("outside/theirs")
    link = host.state / "transactions" / "link"
    if where == "instead":
        host.state.rename(host.state.with_name("aside"))
        link = host.state
    link.symlink_to(outside.parent)
    purged(host)
    assert outside.read_bytes() == b"old\n"
