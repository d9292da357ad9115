"""Where putting back must not reach: what is gone, what is somebody else's, and a host that is going down."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from remediator.host.commit.entries import PathEntry, parse_entries
from remediator.host.commit.outcomes import StepError
from remediator.host.commit.states import MISSING
from remediator.plan import Action, Step
from tests.unit.host.commit.host import FILL, CommitHost, chmod, transaction, write
from tests.unit.host.commit.single import backups, now, put_back
from tests.unit.host.commit.test_commit_recovery import at_boot, config, interrupt, journals, restarts
from tests.unit.host.commit.test_commit_services import ACTIVE, RESTART, SYSTEMCTL

__all__ = ["config"]


def test_a_path_whose_directory_is_gone_is_never_put_back_one_level_up(host: CommitHost, config: Path) -> None:
    below, foreign = host.file("etc/gone.json", b"ours"), host.file("gone.json", b"theirs")
    removed = Action(do="remove", path=str(below))
    interrupt(host, transaction(removed, write(config, b"new\n"), group="docker", activation=RESTART))
    for staged in below.parent.iterdir():
        staged.unlink()
    below.parent.rmdir()
    [recovered] = host.recover()["recovered"]
    assert recovered["outcome"] == "rolled_back"
    assert f"{below}: its directory {below.parent} is gone" in recovered["reason"]
    assert (foreign.read_bytes(), config.read_bytes()) == (b"theirs", b"old\n")


def test_a_removed_directory_is_not_made_one_level_up_either(host: CommitHost) -> None:
    directory = host.files / "etc" / "docker.d"
    directory.mkdir(parents=True)
    entry = PathEntry(0, str(directory), (), now(directory), MISSING)
    directory.rmdir()
    directory.parent.rmdir()
    with backups(host.base) as held:
        assert "is gone" in put_back(entry, held).left_alone[0]
    assert list(host.files.iterdir()) == []


def test_a_directory_that_was_made_again_and_no_more_gets_its_access_from_the_next_recovery(host: CommitHost) -> None:
    directory = host.files / "docker.service.d"
    directory.mkdir(mode=0o755)
    directory.chmod(0o2755)
    entry = PathEntry(0, str(directory), (), now(directory), MISSING)
    directory.rmdir()
    directory.mkdir(mode=0o700)
    with backups(host.base) as held:
        assert put_back(entry, held).paths == [str(directory)]
        assert directory.stat().st_mode & 0o7777 == 0o2755
        again = put_back(entry, held)
        assert (again.paths, again.left_alone, again.trouble) == ([], [], [])
        directory.chmod(0o777)
        assert "made by somebody else" in put_back(entry, held).left_alone[0]


@pytest.mark.parametrize("path", ["/srv/docker", "/data", "/mnt/docker", "/opt/docker", "/data/docker/daemon.json"])
def test_a_journal_may_name_a_root_of_the_inventory_itself(path: str) -> None:
    state = {"type": "directory", "mode": 0o755, "uid": 0, "gid": 0}
    [entry] = parse_entries([{"number": 0, "path": path, "controls": [], "before": state, "after": state}])
    assert isinstance(entry, PathEntry)


@pytest.mark.parametrize("path", ["/srv", "/", "/etc", "/etc/shadow", "/etc/sudoers.d/x", "/etc/../x"])
def test_a_journal_never_names_what_commit_would_not_write(path: str) -> None:
    state = {"type": "file", "mode": 0o600, "uid": 0, "gid": 0}
    with pytest.raises(ValueError, match="names"):
        parse_entries([{"number": 0, "path": path, "controls": [], "before": state, "after": state}])


def test_a_host_that_is_shutting_down_is_put_back_and_not_called_broken(host: CommitHost, config: Path) -> None:
    host.program("systemctl", SYSTEMCTL + '\nif "is-system-running" in argv:\n    print("stopping")\n')
    (host.base / "on_restart").write_text('sys.exit("Transaction is destructive")')
    [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART, probe=ACTIVE))
    assert result["outcome"] == "rolled_back"
    assert "the host is shutting down, so nothing was restarted" in result["reason"]
    assert (config.read_bytes(), restarts(host)) == (b"old\n", 1)


@pytest.mark.parametrize(("started", "again"), [(2**60, True), (1, False)])
def test_a_service_that_somebody_started_meanwhile_reads_its_old_file_again(
    host: CommitHost, config: Path, started: int, again: bool
) -> None:
    shown = f'\nif "show" in argv:\n    print("ExecMainStartTimestampMonotonic={started}")\n'
    host.program("systemctl", SYSTEMCTL + shown)
    interrupt(host, transaction(write(config, b"new\n"), activation=RESTART, probe=ACTIVE))
    [journal] = journals(host)
    (journal.parent / "activating").unlink()
    done = restarts(host)
    assert [item["outcome"] for item in host.recover()["recovered"]] == ["rolled_back"]
    assert (restarts(host) > done, config.read_bytes()) == (again, b"old\n")


def test_what_cannot_be_started_for_want_of_processes_is_a_step_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    from remediator.host.commit import programs, units

    def none_left(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", none_left)
    with pytest.raises(StepError, match="Resource temporarily unavailable"):
        programs.run_program("true", [])
    monkeypatch.setattr(units, "find_program", lambda _: "/bin/true")
    assert units.last_log_lines("docker.service") == ""
    assert units.unit_is_down("docker.service") is False


def test_a_host_is_marked_broken_though_its_disk_is_full(host: CommitHost, config: Path) -> None:
    (host.base / "on_restart").write_text(FILL + 'sys.exit("no")')
    small = host.base / "var-lib"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", str(small)], check=True)
    try:
        [result] = host.run(transaction(write(config, b"new\n"), activation=RESTART, probe=ACTIVE))
        assert result["outcome"] == "broken"
        (small / "filler").unlink()
        answer = host.start(host.request(transaction(chmod(config, 0o600)))).answer()
        assert answer["error"]["kind"] == "broken"
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_recovering_at_boot_that_fails_is_told_in_the_hosts_own_log(host: CommitHost, config: Path) -> None:
    (host.base / "units").mkdir(exist_ok=True)
    setup = (
        f"mount -t tmpfs tmpfs /run\nmkdir -p /run/systemd/system\nmount --bind {host.base}/units /etc/systemd/system"
    )
    interrupt(host, transaction(write(config, b"new\n"), activation=RESTART), setup)
    [journal] = journals(host)
    journal.write_text(json.dumps({**json.loads(journal.read_text()), "entries": 3}))
    with pytest.raises(subprocess.CalledProcessError) as failed:
        at_boot(host, setup)
    assert failed.value.returncode == 1
    assert b"remediator did not recover at boot: the journal of an interrupted" in failed.value.stderr


def test_bytes_that_are_kept_for_somebody_are_named_though_nothing_was_begun(host: CommitHost, config: Path) -> None:
    host.program("dockerd", f'pathlib.Path({str(config)!r}).write_bytes(b"theirs"); sys.exit("error: no")')
    checked = (Step(do="dockerd", path=str(config)),)
    [result] = host.run(transaction(write(config, b"{}"), validation=checked))
    assert (result["outcome"], config.read_bytes()) == ("refused", b"theirs")
    [kept] = host.files.glob(".daemon.json*.kept")
    assert kept.name in result["reason"]


def test_what_an_undo_took_back_makes_the_change_before_it_the_last_that_stands(host: CommitHost) -> None:
    path, runs = host.file("daemon.json", b"0"), [f"01JD000000000000000000000{number}" for number in range(4)]
    for number in (1, 2, 3):
        host.run(transaction(write(path, b"%d" % number)), run=runs[number])
    undo: dict[str, Any] = {"undoes": runs[3], "keep": {"count": 1, "days": 90}}
    source = f"{runs[3]}.files/0.before"
    host.run(transaction(Action(do="restore", path=str(path), source=source)), run="01JD0000000000000000000009", **undo)
    host.run(transaction(chmod(host.file("other"), 0o600)), run="01JD000000000000000000000A", keep=undo["keep"])
    kept = {directory.name.split(".")[0] for directory in (host.state / "transactions").iterdir()}
    assert {runs[1], runs[2], "01JD0000000000000000000009"} <= kept
    assert path.read_bytes() == b"2"
