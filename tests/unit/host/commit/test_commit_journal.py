"""What a host keeps of each transaction: its journal while it is open, its record and its backups afterwards."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from remediator.history import new_ulid
from remediator.host.common.reading import MAX_CONTENT
from remediator.plan import Action, Change, State, Step
from tests.unit.host.commit.host import FILL, CommitHost, chmod, state_of, transaction, write


def records(host: CommitHost) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (host.state / "transactions").glob("*/record.json")]
    return sorted(found, key=lambda record: (record["ended"], record["run"]))


def backups(host: CommitHost) -> list[Path]:
    return sorted((host.state / "transactions").glob("*/*.before"))


def restore(path: Path, backup: Path) -> Action:
    return Action(do="restore", path=str(path), source=f"{backup.parent.name}/{backup.name}")


def test_a_change_leaves_its_record_and_what_was_there_before_for_root_alone(host: CommitHost) -> None:
    path = host.file("daemon.json", b'{"secret": 1}', 0o644, 0, 7)
    before = state_of(path)
    asked = Change(
        controls=("docker.a", "docker.b"),
        what="content",
        path=str(path),
        before=State(type="missing"),
        after=State(type="missing"),
    )
    planned = transaction(write(path, b"{}", 0o600)).model_copy(update={"changes": (asked,)})
    [result] = host.run(planned, run="01JD0000000000000000000000")
    assert result["outcome"] == "applied"
    [record] = records(host)
    assert (record["run"], record["group"], record["who"], record["digest"]) == (
        "01JD0000000000000000000000",
        "files",
        "alice",
        planned.digest,
    )
    assert record["result"] == result
    [entry] = record["entries"]
    assert (entry["path"], entry["controls"]) == (str(path), ["docker.a", "docker.b"])
    assert (entry["before"]["mode"], entry["after"]["mode"]) == (0o644, 0o600)
    [backup] = backups(host)
    assert state_of(backup) == before
    assert {item.name for item in backup.parent.iterdir()} == {"record.json", "0.before", "0.after"}
    written = backup.with_name("0.after")
    assert (written.read_bytes(), written.stat().st_mode & 0o7777) == (b"{}", 0o600)
    for directory in (host.state, backup.parent.parent, backup.parent):
        assert directory.stat().st_mode & 0o7777 == 0o700
    assert (backup.parent / "record.json").stat().st_mode & 0o7777 == 0o600


def test_what_is_rolled_back_leaves_a_record_and_no_backups(host: CommitHost) -> None:
    path = host.file("daemon.json")
    before = state_of(path)
    impossible = Step(do="mode_is", path=str(path), mode=1, uid=0, gid=0)
    assert host.run(transaction(write(path, b"{}"), probe=(impossible,)))[0]["outcome"] == "rolled_back"
    assert [record["result"]["outcome"] for record in records(host)] == ["rolled_back"]
    assert (backups(host), state_of(path)) == ([], before)


def test_what_never_began_leaves_nothing(host: CommitHost) -> None:
    path = host.file("daemon.json")
    stale = transaction(write(path, b"{}"))
    path.write_bytes(b"theirs")
    assert host.run(stale)[0]["outcome"] == "stale"
    refused = transaction(write(path, b"{"), validation=(Step(do="json", path=str(path)),))
    assert host.run(refused)[0]["outcome"] == "refused"
    assert list((host.state / "transactions").iterdir()) == []


def test_asking_again_for_what_a_run_did_returns_the_recorded_outcome_and_does_nothing(host: CommitHost) -> None:
    path, other = host.file("daemon.json"), host.file("other")
    request = host.request(transaction(chmod(path, 0o600)), transaction(chmod(other, 0o600), group="docker"))
    first = host.start(request).answer()["results"]
    path.write_bytes(b"somebody's own")
    before = state_of(path)
    assert host.start(request).answer()["results"] == first
    assert state_of(path) == before


def test_another_transaction_under_the_name_of_one_that_was_done_is_refused(host: CommitHost) -> None:
    path, run = host.file("daemon.json"), new_ulid()
    host.run(transaction(chmod(path, 0o600)), run=run)
    before = state_of(path)
    [result] = host.run(transaction(chmod(path, 0o640)), run=run)
    assert (result["outcome"], state_of(path)) == ("refused", before)
    assert "has done another transaction" in result["reason"]


def test_a_backup_is_put_back_with_its_bytes_mode_owner_attributes_and_time(host: CommitHost) -> None:
    path = host.file("daemon.json", b"old bytes", 0o640, 12, 34)
    os.setxattr(path, "user.note", b"kept")
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    before = state_of(path)
    host.run(transaction(write(path, b"{}", 0o600)))
    [result] = host.run(transaction(restore(path, backups(host)[0])))
    assert (result["outcome"], state_of(path)) == ("applied", before)
    # What the undo replaced can be put back as well.
    [result] = host.run(transaction(restore(path, backups(host)[-1])))
    assert (result["outcome"], path.read_bytes()) == ("applied", b"{}")


def test_of_a_private_key_and_of_what_is_never_shown_no_copy_is_kept(host: CommitHost) -> None:
    path = host.file("key.pem", b"-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n", 0o400)
    host.run(transaction(write(path, b"none any more", 0o600)))
    assert host.run(transaction(restore(path, backups(host)[0])))[0]["outcome"] == "applied"
    assert b"PRIVATE KEY" in path.read_bytes()
    large = host.file("large.json", b"{}")
    host.run(transaction(write(large, b"x" * (MAX_CONTENT + 1))))
    kept = [copy.read_bytes() for copy in (host.state / "transactions").glob("*/*.after")]
    assert kept == [b"none any more"]


def test_a_removed_file_and_a_made_directory_can_be_undone(host: CommitHost) -> None:
    path, directory = host.file("old.rules", b"rules"), host.files / "new.d"
    before = state_of(path)
    made = Action(do="mkdir", path=str(directory), mode=0o755, uid=0, gid=0)
    host.run(transaction(Action(do="remove", path=str(path)), made))
    assert (path.exists(), directory.is_dir()) == (False, True)
    undo = transaction(restore(path, backups(host)[0]), Action(do="rmdir", path=str(directory)))
    assert host.run(undo)[0]["outcome"] == "applied"
    assert (state_of(path), directory.exists()) == (before, False)


def test_a_directory_that_is_not_empty_is_not_removed_and_one_that_was_comes_back(host: CommitHost) -> None:
    full, empty = host.files / "full.d", host.files / "empty.d"
    full.mkdir()
    empty.mkdir(mode=0o750)
    (full / "theirs").touch()
    removals = [Action(do="rmdir", path=str(path)) for path in (empty, full)]
    [result] = host.run(transaction(*removals))
    assert result["outcome"] == "rolled_back"
    assert (empty.stat().st_mode & 0o7777, (full / "theirs").exists()) == (0o750, True)


def test_what_is_no_backup_of_ours_is_never_put_back(host: CommitHost) -> None:
    path, secret = host.file("daemon.json"), host.base / "secret"
    secret.write_bytes(b"theirs")
    host.run(transaction(write(path, b"{}")))
    backup = backups(host)[0]
    name = backup.parent.name
    for source in ("../secret", f"{name}/../../../secret", f"{name}/7.before", f"{name}/record.json", "x.y/0.before"):
        [result] = host.run(transaction(Action(do="restore", path=str(path), source=source)))
        assert (result["outcome"], path.read_bytes()) == ("refused", b"{}"), source
    backup.unlink()
    backup.symlink_to(secret)
    [result] = host.run(transaction(restore(path, backup)))
    assert (result["outcome"], path.read_bytes()) == ("refused", b"{}")


def test_ended_transactions_are_pruned_but_never_a_paths_first_or_the_one_that_stands(host: CommitHost) -> None:
    path, once = host.file("daemon.json", b"0"), host.file("once", b"0")
    host.run(transaction(write(once, b"1")))
    for number in range(1, 7):
        host.run(transaction(write(path, b"%d" % number)), keep={"count": 2, "days": 90})
        time.sleep(1.01) if number in (1, 5) else None
    kept = [(record["entries"][0]["path"], backup.read_bytes()) for record, backup in paired(host)]
    assert kept[0] == (str(once), b"0")
    assert kept[1] == (str(path), b"0")
    assert kept[-1] == (str(path), b"5")
    assert len(kept) <= 5


def test_age_prunes_what_is_not_needed_any_more(host: CommitHost) -> None:
    path = host.file("daemon.json", b"0")
    for number in range(1, 4):
        host.run(transaction(write(path, b"%d" % number)))
    for record in (host.state / "transactions").glob("*/record.json"):
        document = json.loads(record.read_text())
        document["ended"] -= 400 * 86400
        record.write_text(json.dumps(document))
    host.run(transaction(write(path, b"4")))
    assert len(backups(host)) == 4, "a request that does not say how many to keep removes none"
    host.run(transaction(write(path, b"5")), keep={"count": 20, "days": 5})
    assert [backup.read_bytes() for _, backup in paired(host)] == [b"0", b"3", b"4"]


def paired(host: CommitHost) -> list[tuple[dict[str, Any], Path]]:
    """Each record with its one backup, oldest first."""
    found = [(json.loads((backup.parent / "record.json").read_text()), backup) for backup in backups(host)]
    return sorted(found, key=lambda item: str(item[0]["run"]))


def test_a_disk_that_is_full_after_the_change_still_takes_its_record(host: CommitHost) -> None:
    host.program("auditctl", FILL + 'print("-w /x -p wa")')
    path = host.file("daemon.json")
    probe = (Step(do="audit_loaded", rule=("-w", "/x", "-p", "wa")),)
    small = "mount -t tmpfs -o size=512k,mode=755 tmpfs /var/lib"
    [result] = host.run(transaction(chmod(path, 0o600), probe=probe), setup=small)
    assert (result["outcome"], result["reason"]) == ("applied", "")
    assert path.stat().st_mode & 0o777 == 0o600
