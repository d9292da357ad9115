"""What an interrupted transaction left is put back: by the next contact, by a request, or by the unit at boot."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from remediator.plan import Action, Transaction
from tests.unit.host.commit.host import CommitHost, chmod, state_of, transaction, write
from tests.unit.host.commit.test_commit_services import ACTIVE, RESTART, SYSTEMCTL

HANG = 'import time; (here / "held").touch(); time.sleep(60)'
# Where the boot unit goes, and a host whose init is systemd.
SYSTEMD = """
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
mount --bind {base}/units /etc/systemd/system
"""


@pytest.fixture
def config(host: CommitHost) -> Path:
    host.program("systemctl", SYSTEMCTL)
    host.program("journalctl", "")
    (host.base / "units").mkdir()
    return host.file("daemon.json", b"old\n", 0o640, 0, 7)


def interrupt(host: CommitHost, planned: Transaction, setup: str = "") -> None:
    """Kills the program while it restarts the service: everything is written by then."""
    (host.base / "on_restart").write_text(HANG)
    running = host.start(host.request(planned), setup)
    end = time.monotonic() + 60
    while not (host.base / "held").exists():
        assert time.monotonic() < end
        assert running.process.poll() is None, running.answer()
        time.sleep(0.01)
    running.process.kill()
    running.process.communicate()
    (host.base / "held").unlink()
    (host.base / "on_restart").unlink()


def journals(host: CommitHost) -> list[Path]:
    return list((host.state / "transactions").glob("*/journal.json"))


def reboot(host: CommitHost) -> None:
    """As if the host had been started again since."""
    for path in journals(host):
        path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": "another"}))


def changed(config: Path, other: Path) -> Transaction:
    made = Action(do="mkdir", path=str(config.parent / "new.d"), mode=0o755, uid=0, gid=0)
    actions = (write(config, b"new\n", 0o600), chmod(other, 0o600), made)
    return transaction(*actions, group="docker", activation=RESTART, probe=ACTIVE)


def restarts(host: CommitHost) -> int:
    return (host.base / "calls").read_text().count("restart --")


def test_the_next_contact_rolls_back_what_was_killed_and_has_the_service_read_it_again(
    host: CommitHost, config: Path
) -> None:
    other = host.file("other", mode=0o666)
    before = state_of(config), state_of(other)
    interrupt(host, changed(config, other))
    assert config.read_bytes() == b"new\n"
    answer = host.recover()
    [recovered] = answer["recovered"]
    assert (recovered["group"], recovered["outcome"]) == ("docker", "rolled_back")
    assert "interrupted and rolled back" in recovered["reason"]
    assert (state_of(config), state_of(other)) == before
    assert sorted(path.name for path in host.files.iterdir()) == ["daemon.json", "other"]
    assert restarts(host) == 2
    assert journals(host) == []
    assert any("outcome=rolled_back" in line for line in host.journal())
    assert host.recover()["recovered"] == []


def test_the_next_commit_recovers_first_and_takes_nothing_for_what_it_was_before(
    host: CommitHost, config: Path
) -> None:
    other = host.file("other", mode=0o666)
    interrupt(host, changed(config, other))
    seen_half_way = transaction(write(config, b"newer\n"))
    answer = host.start(host.request(seen_half_way)).answer()
    assert [item["outcome"] for item in answer["recovered"]] == ["rolled_back"]
    assert [item["outcome"] for item in answer["results"]] == ["stale"]
    assert config.read_bytes() == b"old\n"


@pytest.mark.parametrize("rebooted", [True, False])
def test_a_device_has_another_number_after_a_boot_and_no_other_file_for_that(
    host: CommitHost, config: Path, rebooted: bool
) -> None:
    other = host.file("other", mode=0o666)
    interrupt(host, changed(config, other))
    [journal] = journals(host)
    document = json.loads(journal.read_text())
    for entry in document["entries"]:
        entry["before"]["dev"] = 4711
    journal.write_text(json.dumps(document))
    if rebooted:
        reboot(host)
    [recovered] = host.recover()["recovered"]
    assert (other.stat().st_mode & 0o777 == 0o666) == rebooted
    assert (f"{other} was replaced by somebody else since" in recovered["reason"]) != rebooted


def test_a_repair_made_by_hand_since_is_named_and_left_alone_and_the_rest_is_put_back(
    host: CommitHost, config: Path
) -> None:
    other = host.file("other", mode=0o666)
    interrupt(host, changed(config, other))
    config.write_bytes(b"repaired by hand\n")
    [recovered] = host.recover()["recovered"]
    assert recovered["outcome"] == "rolled_back"
    assert f"{config} was written by somebody else since" in recovered["reason"]
    assert (config.read_bytes(), other.stat().st_mode & 0o777) == (b"repaired by hand\n", 0o666)


def test_a_service_that_is_not_well_with_its_old_bytes_leaves_the_host_broken_until_it_is_released(
    host: CommitHost, config: Path
) -> None:
    other = host.file("other", mode=0o666)
    interrupt(host, changed(config, other))
    (host.base / "on_restart").write_text('sys.exit("no")')
    [recovered] = host.recover()["recovered"]
    assert recovered["outcome"] == "broken"
    answer = host.start(host.request(transaction(chmod(config, 0o600)))).answer()
    assert answer["error"]["kind"] == "broken"
    assert "remediate recover -i INVENTORY --release HOST" in answer["error"]["message"]
    assert config.stat().st_mode & 0o777 == 0o640
    assert host.recover(release=True)["released"] is True
    assert host.run(transaction(chmod(config, 0o600)))[0]["outcome"] == "applied"


def test_a_release_that_itself_ends_broken_releases_nothing_and_the_next_one_does(
    host: CommitHost, config: Path
) -> None:
    interrupt(host, changed(config, host.file("other", mode=0o666)))
    (host.base / "on_restart").write_text('sys.exit("no")')
    answer = host.recover(release=True)
    assert ([item["outcome"] for item in answer["recovered"]], answer["released"]) == (["broken"], False)
    refused = host.start(host.request(transaction(chmod(config, 0o600)))).answer()
    assert refused["error"]["kind"] == "broken"
    answer = host.recover(release=True)
    assert (answer["recovered"], answer["released"]) == ([], True)
    assert host.run(transaction(chmod(config, 0o600)))[0]["outcome"] == "applied"


def test_a_boot_unit_is_there_while_a_journal_is_open_and_recovers_before_anything_starts(
    host: CommitHost, config: Path
) -> None:
    other = host.file("other", mode=0o666)
    before = state_of(config), state_of(other)
    setup = SYSTEMD.format(base=host.base)
    interrupt(host, changed(config, other), setup)
    unit = host.base / "units" / "remediator-recover.service"
    wanted = host.base / "units" / "sysinit.target.wants" / "remediator-recover.service"
    text = unit.read_text()
    assert "Before=sysinit.target auditd.service" in text
    assert "docker.service" in text
    assert unit.stat().st_mode & 0o7777 == 0o644
    assert wanted.readlink() == Path("/etc/systemd/system/remediator-recover.service")
    reboot(host)
    done = restarts(host)
    at_boot(host, setup)
    assert (state_of(config), state_of(other)) == before
    assert restarts(host) == done, "nothing runs yet that could be restarted"
    assert "daemon-reload" in (host.base / "calls").read_text()
    assert not unit.exists()
    assert not wanted.is_symlink()


def at_boot(host: CommitHost, setup: str) -> None:
    """What the boot unit runs, in the host's namespace."""
    from tests.unit.host.commit.host import _NAMESPACE

    program = f"{sys.executable} -I -B /var/lib/remediator/recover.py"
    script = _NAMESPACE.format(base=host.base, setup=setup, user="", under="", command=f"'{program}'")
    subprocess.run(["unshare", "--mount", "/bin/sh", "-c", script], check=True, capture_output=True, timeout=60)


def test_after_a_commit_nothing_of_the_boot_unit_is_left(host: CommitHost, config: Path) -> None:
    setup = SYSTEMD.format(base=host.base)
    assert host.run(transaction(write(config, b"new\n")), setup=setup)[0]["outcome"] == "applied"
    assert [path for path in (host.base / "units").rglob("*") if not path.is_dir()] == []


def test_without_the_boot_unit_the_first_contact_after_a_reboot_recovers_and_restarts(
    host: CommitHost, config: Path
) -> None:
    other = host.file("other", mode=0o666)
    before = state_of(config)
    interrupt(host, changed(config, other))
    reboot(host)
    [recovered] = host.recover()["recovered"]
    assert (recovered["outcome"], state_of(config)) == ("rolled_back", before)
    assert restarts(host) == 2


def tampered(**changes: Any) -> Any:
    def change(document: dict[str, Any]) -> None:
        document.update(changes)

    return change


def other_path(document: dict[str, Any]) -> None:
    document["entries"][0]["old"] = "../../etc/shadow"


@pytest.mark.parametrize(
    "change",
    [tampered(format_version=2), tampered(run="other"), tampered(entries=3), tampered(started="now"), other_path],
)
def test_a_journal_that_cannot_be_read_stops_everything_and_says_what_to_do(
    host: CommitHost, config: Path, change: Any
) -> None:
    interrupt(host, changed(config, host.file("other", mode=0o666)))
    [journal] = journals(host)
    document = json.loads(journal.read_text())
    change(document)
    journal.write_text(json.dumps(document))
    answer = host.recover()
    assert answer["error"]["kind"] == "state"
    assert str(Path("transactions") / journal.parent.name) in answer["error"]["message"]
    assert config.read_bytes() == b"new\n"


def test_recovering_needs_no_copy_beside_the_file(host: CommitHost, config: Path) -> None:
    other = host.file("other", mode=0o666)
    before = state_of(config)
    interrupt(host, changed(config, other))
    for staged in host.files.glob(".*remediator*"):
        staged.unlink()
    [recovered] = host.recover()["recovered"]
    assert (recovered["outcome"], state_of(config)) == ("rolled_back", before)
