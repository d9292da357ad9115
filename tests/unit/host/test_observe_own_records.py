"""What observe tells of a host's own journal: honest ones, hostile ones, and never a digest of a secret."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from remediator.host.commit.journal import ACTIVATING
from remediator.host.observe import own_records, own_transactions
from remediator.own_records import OwnState, OwnTransactions
from tests.unit.host.own_journal import FIRST, SECOND, SECRET, document, put, state

pytestmark = pytest.mark.root  # the journal is root's, and only root's is believed


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of this test's own."""
    monkeypatch.setattr(own_records, "OWN_DIRECTORY", str(tmp_path / "own"))
    monkeypatch.setattr(own_transactions, "OWN_DIRECTORY", str(tmp_path / "own"))
    return tmp_path / "own"


def light() -> OwnState:
    return OwnState.model_validate_json(json.dumps(own_records.own_state()))


def told() -> OwnTransactions:
    return OwnTransactions.model_validate_json(json.dumps(own_transactions.own_transactions()))


def test_a_host_that_was_never_changed_has_nothing_to_tell(top: Path) -> None:
    assert light() == OwnState()
    assert told() == OwnTransactions()


def test_a_transaction_that_never_ended_is_open_and_one_that_was_only_not_tidied_is_not(top: Path) -> None:
    put(top, document(SECOND, "docker"), "journal.json")
    put(top, document(FIRST, "files"), "journal.json")
    put(top, document(FIRST, "files"))
    seen = light()
    assert [(each.run, each.group, each.who, each.started) for each in seen.open] == [
        (SECOND, "docker", "ann@controller", 1_700_000_000)
    ]
    assert seen.last is not None
    assert (seen.last.run, seen.last.group, seen.last.outcome, seen.last.recovered) == (
        FIRST,
        "files",
        "applied",
        False,
    )
    assert [(record.name, record.open) for record in told().records] == [
        (f"{SECOND}.docker", True),
        (f"{FIRST}.files", False),
    ]


def test_an_open_transaction_names_what_rolling_it_back_restarts_once_its_activation_had_begun(top: Path) -> None:
    steps: list[Any] = [
        {"do": "daemon_reload"},
        {"do": "restart", "unit": "docker.service"},
        {"do": "restart", "unit": "docker.service"},
        {"do": "reload", "unit": "containerd.service"},
        {"do": "restart", "unit": 7},
        "restart",
    ]
    this_boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    place = put(top, document(FIRST, "docker", activation=steps, boot_id=this_boot), "journal.json")
    assert [each.restarts for each in light().open] == [()]
    (place / ACTIVATING.decode()).touch()
    assert [each.restarts for each in light().open] == [("docker.service",)]
    (place / ACTIVATING.decode()).unlink()
    put(top, document(FIRST, "docker", activation=steps, boot_id="another"), "journal.json")
    assert [each.restarts for each in light().open] == [("docker.service",)]
    put(top, document(FIRST, "docker", activation={"do": "restart"}, boot_id="another"), "journal.json")
    assert [each.restarts for each in light().open] == [()]


def test_the_newest_transaction_is_the_one_of_the_newest_run_that_ended_last(top: Path) -> None:
    put(top, document(FIRST, "files", ended=1_900_000_000))
    put(top, document(SECOND, "docker", ended=1_800_000_002, recovered=True, result={"outcome": "rolled_back"}))
    put(top, document(SECOND, "files", ended=1_800_000_001))
    last = light().last
    assert last is not None
    assert (last.run, last.group, last.outcome, last.recovered) == (SECOND, "docker", "rolled_back", True)


def test_a_broken_host_says_so_even_where_its_mark_cannot_be_read(top: Path) -> None:
    put(top, document(FIRST, "files"))
    mark = top / "broken.json"
    mark.write_text(json.dumps({"run": FIRST, "group": "docker", "reason": "not active", "since": 5}))
    mark.chmod(0o600)
    broken = light().broken
    assert broken is not None
    assert (broken.run, broken.group, broken.reason, broken.since) == (FIRST, "docker", "not active", 5)
    mark.write_text("{")
    broken = light().broken
    assert broken is not None
    assert "cannot be read" in broken.reason
    assert told().broken == broken


def test_who_changes_the_host_now_is_told_while_the_lock_is_held_and_no_longer(top: Path) -> None:
    put(top, document(FIRST, "files"))
    lock = top / "lock"
    signed = {"run": SECOND, "who": "bob@x", "started": 7, "pid": os.getpid()}
    lock.write_text(json.dumps(signed))
    lock.chmod(0o600)
    assert light().holder is None
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        holder = light().holder
        # Another filesystem's file may have this one's inode number: whoever holds that one did not sign this.
        lock.write_text(json.dumps({**signed, "pid": 1}))
        assert light().holder is None
    assert holder is not None
    assert (holder.run, holder.who, holder.started) == (SECOND, "bob@x", 7)
    assert light().holder is None


@pytest.mark.parametrize(
    ("before", "after", "now", "held"),
    [
        (b"a", b"b", b"b", "after"),
        (b"a", b"b", b"a", "before"),
        (b"a", b"b", b"c", "other"),
        (b"a", b"b", None, "other"),
        (None, b"b", b"b", "after"),
        (None, b"b", None, "before"),
        (b"a", None, None, "after"),
        (b"a", None, b"a", "before"),
    ],
)
def test_a_word_says_which_bytes_a_path_holds_and_no_digest_leaves(
    top: Path, tmp_path: Path, before: bytes | None, after: bytes | None, now: bytes | None, held: str
) -> None:
    path = tmp_path / "file"
    if now is not None:
        path.write_bytes(now)
    states = [state("missing") if each is None else state("file", 0o600, each) for each in (before, after)]
    entry = {"path": str(path), "before": states[0], "after": states[1], "backup": "0.before"}
    put(top, document(FIRST, "files", entry))
    (found,) = told().records[0].entries
    assert found.content == held
    answer = json.dumps(own_transactions.own_transactions())
    assert SECRET not in answer
    assert all(each.get("sha256", "no digest") not in answer for each in states)


def test_a_change_of_mode_alone_is_about_no_bytes(top: Path, tmp_path: Path) -> None:
    entry = {"path": str(tmp_path), "before": state("directory", 0o755), "after": state("directory", 0o700)}
    put(top, document(FIRST, "files", entry))
    (found,) = told().records[0].entries
    assert (found.content, found.before and found.before.mode, found.after and found.after.mode) == (None, 0o755, 0o700)


def hostile(top: Path) -> dict[str, Any]:
    """Journals that are none, by the group of their transaction; each must be its own problem."""
    made = {}
    for group in (
        "text",
        "list",
        "deep",
        "huge",
        "symlink",
        "fifo",
        "other-run",
        "open-to-all",
        "wrong-types",
        "swapped",
    ):
        made[group] = put(top, document(FIRST, group)) / "record.json"
    made["text"].write_text("no json")
    made["list"].write_text("[]")
    made["deep"].write_text("[" * 200_000)
    made["huge"].write_text(json.dumps(document(FIRST, "huge", pad="x" * 2_000_000)))
    made["other-run"].write_text(json.dumps(document(SECOND, "docker")))
    made["open-to-all"].chmod(0o666)
    wrong = document(FIRST, "wrong-types", {"path": "/x", "before": {"type": "door"}, "after": state("missing")})
    made["wrong-types"].write_text(json.dumps(wrong))
    for group in ("symlink", "fifo"):
        made[group].unlink()
    made["symlink"].symlink_to("/etc/shadow")
    os.mkfifo(made["fifo"])
    swapped = made["swapped"].parent
    made["swapped"].unlink()
    swapped.rmdir()
    swapped.symlink_to(made["text"].parent)
    return made


def test_a_hostile_journal_is_a_fact_and_takes_no_other_with_it(top: Path) -> None:
    made = hostile(top)
    put(top, document(FIRST, "good"))
    records = {record.group: record for record in told().records}
    assert records["good"].applied
    for group in made:
        assert records[group].problem, group
        assert not records[group].applied
    assert light().last is not None


def test_texts_and_numbers_of_a_hostile_journal_are_bounded(top: Path) -> None:
    odd = {"path": "/a\x1b[2J", "before": state("missing"), "after": state("missing")}
    relative = {"path": "etc/passwd", "before": state("missing"), "after": state("missing")}
    endless = {"rule": ["-w", "x" * 100_000], "before": 1, "after": "yes"}
    put(
        top,
        document(FIRST, "files", odd, relative, endless, who="\x1b]0;x\x07" * 9000, started=2**70, ended=-1, reason=[]),
    )
    (record,) = told().records
    assert (record.started, record.ended, record.reason) == (None, None, "")
    assert "\x1b" not in record.who
    assert len(record.who) < 20_000
    assert [bool(entry.problem) for entry in record.entries] == [True, True, False]
    assert record.entries[2].loaded == (False, False)
    assert len(record.entries[2].rule or ()) == 2


def test_a_state_directory_that_others_can_write_is_not_believed(top: Path) -> None:
    put(top, document(FIRST, "files"), "journal.json")
    top.chmod(0o777)
    assert light().open == ()
    assert "root's alone" in (light().error or "")
    assert "root's alone" in (told().error or "")


def test_no_more_than_the_newest_two_hundred_are_told(top: Path) -> None:
    for number in range(205):
        put(top, document(f"01JDQ3V8N6T0M5S2R4W9XK7{number:03d}", "files"))
    records = told().records
    assert len(records) == 200
    assert records[0].run.endswith("204")


def test_the_paths_of_a_run_are_a_reference_with_the_copies_of_their_bytes(top: Path, tmp_path: Path) -> None:
    content = {
        "path": "/etc/a",
        "before": state("file", 0o644, b"a"),
        "after": state("file", 0o644, b"b"),
        "backup": "0.before",
    }
    access = {"path": "/etc/b", "before": state("file", 0o644), "after": state("file", 0o600), "backup": None}
    news = [
        {
            "number": number,
            "path": str(tmp_path / name),
            "before": state("missing"),
            "after": state("file", 0o644, wrote),
        }
        for number, (name, wrote) in enumerate((("n", b"new"), ("t", b"torn"), ("s", b"same")), 2)
    ]
    place = put(top, document(FIRST, "files", content, access, *news), n0=b"a")
    for name, held, now in (("n", b"new", b"mine"), ("t", b"to", b"mine"), ("s", b"same", b"same")):
        (tmp_path / name).write_bytes(now)
        (place / f"{'nts'.index(name) + 2}.after").write_bytes(held)
    put(top, document(SECOND, "files", {**access, "path": "/etc/c"}))
    put(top, document(FIRST, "docker", {**access, "path": "/etc/d"}, result={"outcome": "rolled_back"}))
    names = [f"@transactions.{FIRST}.content", f"@transactions.{FIRST}.access", "@transactions.NONE.access", "@other"]
    found = own_transactions.transaction_references(names)
    changed = ["/etc/a", f"{place}/0.before", *(str(tmp_path / name) for name in "nts")]
    # A copy that the disk did not take whole is none, and one of what nobody changed since is not looked at.
    assert [path for path, _ in found[names[0]].paths] == [*changed, f"{place}/2.after"]
    (record,) = [record for record in told().records if (record.run, record.group) == (FIRST, "files")]
    assert [each.written for each in record.entries] == [None, None, "2.after", None, None]
    assert [path for path, _ in found[names[1]].paths] == ["/etc/b"]
    assert found[names[2]].status == "absent"
    assert set(found) == set(names[:3])
