"""Whatever ends the program or races it: a file is the old one or the new one."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from tests.unit.host.commit.host import CommitHost, chmod, state_of, transaction, write

OLD = b"old" * 700_000
NEW = b"new" * 900_000


def test_a_kill_at_any_moment_leaves_old_or_new_bytes_and_never_half(host: CommitHost) -> None:
    path = host.file("daemon.json", OLD)
    begun = time.monotonic()
    assert host.run(transaction(write(path, NEW)))[0]["outcome"] == "applied"
    whole = time.monotonic() - begun
    seen = {OLD: 0, NEW: 0}
    for moment in range(30):
        path.write_bytes(OLD)
        running = host.start(host.request(transaction(write(path, NEW, 0o600))))
        time.sleep(whole * (moment + 1) / 30)
        running.process.kill()
        running.process.communicate()
        content = path.read_bytes()
        assert content in seen, "half-written"
        assert path.stat().st_mode & 0o777 == (0o644 if content == OLD else 0o600)
        seen[content] += 1
        path.chmod(0o644)
    assert seen[OLD], "no kill came before the rename"
    assert host.run(transaction(write(path, NEW)))[0]["outcome"] == "applied"
    assert [item.name for item in host.files.iterdir()] == ["daemon.json"]


def test_a_hang_up_or_a_termination_does_not_end_a_transaction_in_its_middle(host: CommitHost) -> None:
    host.program("auditctl", 'import time; (here / "held").touch(); time.sleep(1); print("No rules")')
    from remediator.plan import Step

    path = host.file("daemon.json")
    probe = (Step(do="audit_loaded", rule=("-w", "/x", "-p", "wa")),)
    before = state_of(path)
    running = host.start(host.request(transaction(write(path, NEW), probe=probe)))
    end = time.monotonic() + 30
    while not (host.base / "held").exists() and time.monotonic() < end:
        time.sleep(0.01)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        running.process.send_signal(number)
    [result] = running.answer()["results"]
    assert (result["outcome"], state_of(path)) == ("rolled_back", before)


def test_a_directory_swapped_for_a_link_again_and_again_never_leads_outside(host: CommitHost) -> None:
    inside, outside = host.files / "etc", host.base / "outside"
    outside.mkdir()
    victim = outside / "daemon.json"
    victim.write_bytes(b"theirs")
    before = state_of(victim)
    host.file("etc/daemon.json")
    stop = threading.Event()

    def swap() -> None:
        aside = host.files / "aside"
        link = host.files / "link"
        link.symlink_to(outside)
        while not stop.is_set():
            inside.rename(aside)
            link.rename(inside)
            time.sleep(0.0005)
            inside.rename(link)
            aside.rename(inside)
            time.sleep(0.0005)

    ends = set()
    for _ in range(12):
        planned = transaction(write(inside / "daemon.json", b"ours"), chmod(inside / "daemon.json", 0o600))
        stop.clear()
        attacker = threading.Thread(target=swap)
        attacker.start()
        try:
            ends.add(host.run(planned)[0]["outcome"])
        finally:
            stop.set()
            attacker.join()
            (host.files / "link").unlink()
        assert "error" not in host.recover(release=True)
        assert [item.name for item in outside.iterdir()] == ["daemon.json"]
        assert state_of(victim) == before
        (inside / "daemon.json").write_bytes(b"old\n")
    assert ends <= {"applied", "stale", "refused", "rolled_back", "broken"}


def test_a_file_swapped_for_a_link_is_never_followed(host: CommitHost) -> None:
    path, victim = host.file("etc/daemon.json"), host.base / "victim"
    victim.write_bytes(b"theirs")
    before = state_of(victim)
    stop = threading.Event()

    def swap() -> None:
        aside, link = host.files / "aside", host.files / "link"
        link.symlink_to(victim)
        while not stop.is_set():
            path.rename(aside)
            link.rename(path)
            time.sleep(0.0005)
            path.rename(link)
            aside.rename(path)
            time.sleep(0.0005)

    planned = [transaction(chmod(path, 0o600)), transaction(chmod(path, 0o644))]
    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        for turn in range(12):
            host.run(planned[turn % 2])
            assert state_of(victim) == before
    finally:
        stop.set()
        attacker.join()


def test_a_link_to_a_device_or_another_tree_in_place_of_the_file_is_not_written_through(host: CommitHost) -> None:
    victim = host.base / "victim"
    victim.write_bytes(b"theirs")
    path = host.file("daemon.json")
    planned = transaction(write(path, b"ours"))
    path.unlink()
    path.symlink_to(victim)
    assert host.run(planned)[0]["outcome"] == "stale"
    assert (victim.read_bytes(), Path(os.readlink(path))) == (b"theirs", victim)
