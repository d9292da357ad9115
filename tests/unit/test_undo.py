"""What takes a run back: composed from a host's own records and from what its paths hold now, and refused by name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from remediator.observation import parse_observation
from remediator.plan import Undo
from remediator.policy import Policy
from remediator.undo import take_back, undo_needs
from tests.unit.undo_host import (
    CONFIG,
    LATER,
    MODE,
    NOW,
    OPTION,
    RESTART,
    RUN,
    alerts,
    details,
    entry,
    facts,
    host,
    kept,
    only,
    record,
    undone,
    was,
    written,
    wrote,
)


def test_a_written_file_gets_its_bytes_back_and_its_service_is_restarted_and_probed() -> None:
    running = {"containers": [{"id": "1", "name": "web", "state": "running", "restart_policy": "always"}]}
    seen = host(record(written(), activation=RESTART), files={CONFIG: facts(b"after\n"), **kept()}, docker=running)
    undo = only(undone(seen))
    (change,) = undo.changes
    assert (change.what, change.before.mode, change.after.mode) == ("content", 0o644, 0o600)
    assert change.diff.splitlines()[3:] == ["-after", "+before"]
    assert [(action.do, action.path, action.source) for action in undo.actions] == [
        ("restore", CONFIG, f"{RUN}.docker/0.before")
    ]
    (wanted,) = undo.preconditions
    assert (wanted.sha256, wanted.mode) == (hashlib.sha256(b"after\n").hexdigest(), 0o644)
    assert [step.do for step in undo.activation] == ["restart"]
    assert [step.do for step in undo.probe] == ["mode_is", "unit_active", "docker_ping", "containers", "stays_down"]
    assert undo.impact.text == "restarts docker.service: web back afterwards; live-restore is off"


def test_a_new_file_goes_and_then_the_new_directory_that_it_lies_in() -> None:
    top, path = "/etc/docker/certs.d", "/etc/docker/certs.d/a"
    entries = (
        entry(top, was(kind="missing"), was(0o755, "directory"), content="after"),
        entry(path, was(kind="missing"), was(), content="after"),
    )
    seen = host(record(*entries), files={top: facts(mode=0o755, kind="directory"), path: facts(b"x\n")})
    undo = only(undone(seen))
    assert [(action.do, action.path) for action in undo.actions] == [("remove", path), ("rmdir", top)]
    assert [change.what for change in undo.changes] == ["remove", "remove"]
    assert "-x" in undo.changes[0].diff


def test_a_removed_file_comes_back() -> None:
    removed = entry(CONFIG, was(0o600), was(kind="missing"), content="after", backup="0.before")
    undo = only(undone(host(record(removed), files={CONFIG: {"type": "missing"}, **kept()})))
    assert [(change.what, change.after.mode) for change in undo.changes] == [("create", 0o600)]
    assert [(wanted.type, wanted.path) for wanted in undo.preconditions] == [("missing", CONFIG)]
    assert [action.do for action in undo.actions] == ["restore"]


def test_access_alone_goes_back_without_a_look_at_the_bytes_and_without_a_restart() -> None:
    owned = {"type": "file", "mode": 0o4755, "uid": 33, "gid": 0}
    changed = entry(CONFIG, owned, was(0o600))
    undo = only(undone(host(record(changed, activation=RESTART), files={CONFIG: facts(mode=0o600)})))
    assert [(action.do, action.mode, action.uid) for action in undo.actions] == [
        ("chown", None, 33),
        ("chmod", 0o4755, None),
    ]
    assert (undo.changes[0].what, undo.changes[0].diff, undo.preconditions[0].sha256) == ("access", "", None)
    assert (undo.activation, undo.impact.level) == ((), "none")


def test_a_path_that_was_changed_twice_in_one_transaction_goes_back_once() -> None:
    owner = entry(CONFIG, {**was(0o644), "uid": 33}, was(0o644))
    mode = entry(CONFIG, was(0o644), was(0o600))
    undo = only(undone(host(record(owner, mode), files={CONFIG: facts(mode=0o600)})))
    assert [(action.do, action.mode, action.uid) for action in undo.actions] == [
        ("chown", None, 33),
        ("chmod", 0o644, None),
    ]


def test_transactions_are_taken_back_in_the_opposite_order() -> None:
    groups = ("files", "files-2", "docker", "audit")
    paths = {f"/etc/docker/{group}": facts(mode=0o600) for group in groups}
    records = [record(entry(f"/etc/docker/{group}", was(), was(0o600)), group=group) for group in groups]
    plan = undone(host(*records, files=paths))
    assert [transaction.group for transaction in plan.transactions] == ["audit", "docker", "files-2", "files"]


def test_a_rollback_is_taken_back_in_the_order_of_the_apply_with_directories_trusted_again_in_time() -> None:
    """The rollback gave /etc/docker away last; taking that back repairs it before what lies below."""
    top, below = "/etc/docker", "/etc/docker/a"
    given = {"type": "directory", "mode": 0o775, "uid": 33, "gid": 0}
    files = {
        top: facts(mode=0o775, kind="directory", uid=33),
        below: facts(mode=0o666, untrusted_ancestors=[top]),
    }
    records = (
        record(entry(below, was(0o600), was(0o666)), group="files-2", place=0),
        record(entry(top, was(0o755, "directory"), given), group="files", place=1),
    )
    plan = undone(host(*records, files=files))
    assert plan.held == ()
    assert [transaction.group for transaction in plan.transactions] == ["files", "files-2"]
    alone = undone(host(records[0], files=files))
    assert "others than root can write" in details(alone.held[0])


def test_a_directory_that_a_rollback_removed_is_made_again() -> None:
    removed = entry("/etc/docker/certs.d", was(0o755, "directory"), was(kind="missing"), content="after")
    undo = only(undone(host(record(removed), files={"/etc/docker/certs.d": {"type": "missing"}})))
    assert [(action.do, action.mode) for action in undo.actions] == [("mkdir", 0o755)]
    assert undo.changes[0].what == "create"


def test_a_second_rollback_of_the_same_run_has_nothing_to_do() -> None:
    seen = host(record(written(held="before")), files={CONFIG: facts(b"before\n", 0o600), **kept()})
    plan = undone(seen)
    assert (plan.transactions, plan.held) == ((), ())
    assert alerts(plan) == [("nothing", f"everything that run {RUN} changed here is as it was before it")]


@pytest.mark.parametrize(
    ("held", "now", "said"),
    [
        ("other", facts(b"by hand\n"), "it holds other bytes than the run wrote"),
        ("before", facts(b"before\n"), "it holds the bytes from before the run"),
        ("after", facts(b"after\n", 0o666), "its mode is 0666, and was 0644 then"),
        ("after", facts(b"after\n", uid=33), "its owner is 33:0, and was 0:0 then"),
        ("other", {"type": "missing"}, "it is missing now, and was file then"),
        ("unknown", facts(b"after\n"), "bytes that could not be compared"),
    ],
)
def test_a_file_that_somebody_changed_since_is_refused_by_name_unless_forced(
    held: str, now: dict[str, Any], said: str
) -> None:
    seen = host(record(written(held=held)), files={CONFIG: now, **kept()})
    plan = undone(seen)
    assert plan.transactions == ()
    (refused,) = plan.held
    assert refused.changes[0].path == CONFIG
    assert f"refused: somebody changed it since run {RUN}" in details(refused)
    assert said in details(refused)
    assert "--force" in details(refused)
    forced = only(undone(seen, force=True))
    assert [action.do for action in forced.actions] == ["restore"]
    assert forced.preconditions[0].type == now["type"]


@pytest.mark.parametrize("force", [False, True])
def test_what_somebody_changed_since_is_shown_from_the_run_s_bytes_on(force: bool) -> None:
    edited = written(held="other", written="0.after")
    plan = undone(host(record(edited), files={CONFIG: facts(b"by hand\n"), **kept(), **wrote()}), force=force)
    (transaction,) = plan.transactions if force else plan.held
    (change,) = transaction.changes
    assert change.since.splitlines()[2:] == ["@@ -1 +1 @@", "-after", "+by hand"]
    assert change.diff.splitlines()[2:] == ["@@ -1 +1 @@", "-by hand", "+before"]
    gone = undone(host(record(edited), files={CONFIG: {"type": "missing"}, **kept(), **wrote()}))
    assert gone.held[0].changes[0].since.splitlines()[2:] == ["@@ -1 +0,0 @@", "-after"]


def test_what_was_changed_since_is_shown_masked_or_it_is_told_why_it_is_not() -> None:
    edited = written(held="other", written="0.after")
    masked = facts(b"a=1\ntoken=xxxx\n", masked=[[10, 4]], size=15, mtime_ns=1, ctime_ns=1)
    copy = {next(iter(wrote())): facts(b"token=xxxx\n", masked=[[6, 4]])}
    plan = undone(host(record(edited), files={CONFIG: masked, **kept(), **copy}))
    assert plan.held[0].changes[0].since.splitlines()[3:] == ["+a=1", " token=xxxx"]
    token = facts(b"token=xxxx\n", masked=[[6, 4]], size=11, mtime_ns=1, ctime_ns=1)
    hidden = facts(error="it holds a private key, so its content is not read out")
    for now, copies, said in (
        (token, copy, "since the run it was changed only in what is masked here"),
        (hidden, wrote(), "the bytes that are there now are not shown: it holds a private key"),
        (facts(b"by hand\n"), {}, "the bytes that the run wrote are not kept on this host"),
    ):
        plan = undone(host(record(edited), files={CONFIG: now, **kept(), **copies}))
        assert plan.held[0].changes[0].since == ""
        assert said in details(plan.held[0])


def test_a_file_that_somebody_made_where_the_run_removed_one_is_all_changed_since() -> None:
    removed = entry(CONFIG, was(0o600), was(kind="missing"), content="other", backup="0.before")
    plan = undone(host(record(removed), files={CONFIG: facts(b"by hand\n"), **kept()}))
    assert plan.held[0].changes[0].since.splitlines()[2:] == ["@@ -0,0 +1 @@", "+by hand"]


def test_what_a_later_run_changed_is_refused_with_that_run_s_name_until_it_is_taken_back() -> None:
    other = written(backup="0.before", held="after")
    newer = record(other, run=LATER)
    seen = host(newer, record(written(held="other")), files={CONFIG: facts(b"later\n"), **kept()})
    assert f"run {LATER} changed it since: roll that back first" in details(undone(seen).held[0])
    taken_back = host(
        record(written(held="before"), run=LATER), record(written()), files={CONFIG: facts(b"after\n"), **kept()}
    )
    assert [action.do for action in only(undone(taken_back)).actions] == ["restore"]


def test_what_restarts_together_is_taken_back_together_and_plain_files_one_by_one() -> None:
    unit = "/etc/systemd/system/docker.service.d/a.conf"
    entries = (written(held="other"), entry(unit, was(kind="missing"), was(), content="after"))
    files = {CONFIG: facts(b"by hand\n"), unit: facts(b"[Service]\n"), **kept()}
    together = undone(host(record(*entries, activation=RESTART), files=files))
    assert together.transactions == ()
    assert [change.path for change in together.held[0].changes] == [unit, CONFIG]
    assert "with the rest of its transaction" in details(together.held[0])
    apart = undone(host(record(*entries, group="files"), files={**files, **kept(group="files")}))
    assert [change.path for change in apart.transactions[0].changes] == [unit]
    assert [change.path for change in apart.held[0].changes] == [CONFIG]


def test_a_control_limits_it_to_its_own_paths() -> None:
    other = "/etc/default/docker"
    entries = (written(controls=[OPTION]), entry(other, was(), was(0o600)))
    files = {CONFIG: facts(b"after\n"), other: facts(mode=0o600), **kept()}
    undo = only(undone(host(record(*entries), files=files), OPTION))
    assert [change.path for change in undo.changes] == [CONFIG]


def test_a_path_that_several_controls_asked_for_is_refused_with_the_others_names() -> None:
    seen = host(record(written(controls=[MODE, OPTION])), files={CONFIG: facts(b"after\n"), **kept()})
    plan = undone(seen, MODE)
    assert f"{OPTION} asked for it too: name it with --control as well" in details(plan.held[0])
    assert undone(seen, MODE, force=True).held == plan.held
    assert only(undone(seen, MODE, OPTION)).changes[0].controls == (MODE, OPTION)


def test_a_control_that_the_run_did_nothing_for_is_told_so() -> None:
    seen = host(record(written()), files={CONFIG: facts(b"after\n"), **kept()})
    assert alerts(undone(seen, "docker.audit.x")) == [("nothing", f"run {RUN} did nothing here for docker.audit.x")]


def test_a_backup_that_is_gone_is_refused_even_by_force() -> None:
    seen = host(record(written()), files={CONFIG: facts(b"after\n")})
    for force in (False, True):
        assert "its bytes from before are no longer kept" in details(undone(seen, force=force).held[0])


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (facts(b"after\n", immutable=True), "immutable"),
        (facts(b"after\n", untrusted_ancestors=["/etc/docker"]), "others than root can write"),
        (facts(b"after\n", nlink=2), "2 hard links"),
        (facts(b"after\n", read_only=True), "mounted read-only"),
        (facts(kind="symlink"), "it is a symlink now"),
        (facts(kind="fifo"), "it is a fifo now"),
        (facts(b"after\n", mount_point=True), "mount point"),
        ({"type": "unreadable", "error": "permission denied"}, "permission denied"),
    ],
)
def test_what_commit_would_not_touch_is_refused_even_by_force(now: dict[str, Any], said: str) -> None:
    plan = undone(host(record(written()), files={CONFIG: now, **kept()}), force=True)
    assert plan.transactions == ()
    assert said in details(plan.held[0])


def test_a_path_outside_of_what_may_be_changed_is_refused_whatever_the_journal_says() -> None:
    path = "/etc/shadow"
    seen = host(record(written(path)), files={path: facts(b"after\n"), **kept()})
    assert "accounts and log-ins" in details(undone(seen, force=True).held[0])


def test_a_key_comes_back_by_its_identity_and_is_never_shown() -> None:
    key = "/etc/docker/tls/key.pem"
    hidden = facts(error="it holds a private key, so its content is not read out", mode=0o644, size=3, ctime_ns=9)
    backup = {f"/var/lib/remediator/transactions/{RUN}.docker/0.before": {**hidden, "mode": 0o400}}
    undo = only(undone(host(record(written(key)), files={key: hidden, **backup})))
    assert undo.changes[0].diff == ""
    assert "private key" in details(undo)
    (wanted,) = undo.preconditions
    assert (wanted.sha256, wanted.ino, wanted.ctime_ns) == (None, 7, 9)


def test_masked_secrets_stay_masked_and_a_change_of_them_alone_is_told() -> None:
    masked = facts(b"token=xxxx\n", masked=[[6, 4]], size=11, mtime_ns=1, ctime_ns=1)
    backup = {f"/var/lib/remediator/transactions/{RUN}.docker/0.before": {**masked, "mode": 0o600}}
    undo = only(undone(host(record(written()), files={CONFIG: masked, **backup})))
    assert undo.changes[0].diff == ""
    assert "differs only in what is masked" in details(undo)
    assert undo.changes[0].before.sha256 is None
    assert undo.changes[0].after.sha256 is None
    assert (undo.preconditions[0].masked, undo.preconditions[0].ctime_ns) == (True, 1)


def rules(*loaded: str, scope: str = "kernel", enabled: int = 1) -> dict[str, Any]:
    return {"scope": scope, "enabled": enabled, "loaded": loaded}


RULE = ["-w", "/etc/docker", "-p", "wa", "-k", "docker"]
OLD = ["-w", "/etc/old", "-p", "wa", "-k", "docker"]


def test_audit_rules_are_unloaded_and_loaded_again_as_far_as_they_are_not_already() -> None:
    entries = (
        {"rule": RULE, "loaded": [False, True], "controls": [MODE]},
        {"rule": OLD, "loaded": [True, False], "controls": [MODE]},
    )
    seen = host(record(*entries, group="audit"), audit=rules("-w /etc/docker -p wa -k docker"))
    undo = only(undone(seen))
    assert [(action.do, action.rule) for action in undo.actions] == [
        ("audit_delete", tuple(RULE)),
        ("audit_add", tuple(OLD)),
    ]
    assert undo.changes[0].removed == (" ".join(RULE),)
    assert [(step.do, step.rule) for step in undo.probe] == [("audit_loaded", tuple(OLD))]
    before = host(record(*entries, group="audit"), audit=rules("-w /etc/old -p wa -k docker"))
    assert alerts(undone(before))[0][0] == "nothing"


@pytest.mark.parametrize(
    ("audit", "said"), [(rules(enabled=2), "locked"), (rules(scope="denied"), "could not be seen")]
)
def test_audit_rules_that_cannot_be_changed_or_seen_are_refused(audit: dict[str, Any], said: str) -> None:
    rule = {"rule": RULE, "loaded": [False, True], "controls": [MODE]}
    if audit["enabled"] == 2:
        audit["loaded"] = [" ".join(RULE)]
    assert said in details(undone(host(record(rule, group="audit"), audit=audit), force=True).held[0])


def test_the_same_host_gives_the_same_digest_and_another_byte_gives_another() -> None:
    one, same, other = (
        only(undone(host(record(written()), files={CONFIG: facts(content), **kept()}))).digest
        for content in (b"after\n", b"after\n", b"after!\n")
    )
    assert one == same != other


def test_what_is_asked_of_a_host_names_the_run_and_no_path() -> None:
    needs = undo_needs(RUN)
    assert needs.paths == frozenset()
    assert needs.contents < needs.references
    assert needs.sections == {"transactions", "docker", "audit"}


RECORDED = sorted((Path(__file__).parent / "rollbacks").glob("*.json"))


@pytest.mark.parametrize("file", RECORDED, ids=[file.stem for file in RECORDED])
def test_a_recorded_host_is_taken_back_but_for_what_somebody_changed_since(file: Path) -> None:
    """As a real host answered after an apply; then /etc/environment was edited and daemon.json's mode changed there."""
    seen = parse_observation("web1", file.read_bytes())
    assert seen.transactions is not None
    run = seen.transactions.records[0].run
    plan = take_back("web1", seen, Undo(run=run), Policy(), NOW)
    assert [transaction.group for transaction in plan.transactions] == ["environment", "docker", "files-2", "files"]
    refused = {change.path: change for transaction in plan.held for change in transaction.changes}
    assert set(refused) == {"/etc/environment", "/etc/docker/daemon.json"}
    assert "its mode is 0600, and was 0644 then" in refused["/etc/docker/daemon.json"].details[-1]
    assert "-MINE=1" in refused["/etc/environment"].diff.splitlines()
    first = plan.transactions[0]
    assert [(action.do, action.path) for action in first.actions] == [
        ("remove", "/etc/sudoers.d/remediator-docker-content-trust")
    ]
    forced = take_back("web1", seen, Undo(run=run, force=True), Policy(), NOW)
    assert forced.held == ()
    restored = [action.source for each in forced.transactions for action in each.actions if action.do == "restore"]
    assert restored == [f"{run}.environment/0.before"]
    one = "docker.files.default-file-mode"
    both = take_back("web1", seen, Undo(run=run, controls=(one, "docker.files.default-file-owner")), Policy(), NOW)
    assert [change.path for each in both.transactions for change in each.changes] == ["/etc/default/docker"]
    assert (
        "asked for it too"
        in take_back("web1", seen, Undo(run=run, controls=(one,)), Policy(), NOW).held[0].changes[0].details[-1]
    )
