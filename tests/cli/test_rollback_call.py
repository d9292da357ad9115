"""`remediate rollback` as a user calls it, with stand-in hosts that hold transactions: which run is meant, or none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from remediator.history import RunRecord, new_ulid
from remediator.plan import Action, HostPlan, HostResult, Plan, Transaction, TransactionResult
from tests.cli.conftest import Remediate
from tests.unit import stand_in
from tests.unit.undo_host import RUN, record, written


def fleet(directory: Path, hosts: Mapping[str, list[dict[str, Any]] | str]) -> None:
    """hosts.ini with hosts that hold these records, or say why they cannot be looked at."""
    stand_in.fleet(directory, dict.fromkeys(hosts, "applied"))
    for name, held in hosts.items():
        seen = stand_in.observation(0o644)
        seen["transactions"] = {"error": held} if isinstance(held, str) else {"records": held}
        (directory / name / "observation.json").write_text(json.dumps(seen))


def keep(directory: Path, run: str, *hosts: str) -> None:
    """This controller's record of a run that changed these hosts."""
    change = Transaction(group="docker", changes=(), actions=(Action(do="chmod", path="/etc/docker", mode=0o755),))
    plan = Plan(controls=(), hosts=tuple(HostPlan(host=host, transactions=(change,)) for host in hosts))
    applied = (TransactionResult(group="docker", outcome="applied"),)
    runs = directory / "home" / ".local" / "state" / "remediator" / "runs"
    runs.mkdir(parents=True, mode=0o700)
    kept = RunRecord(
        run=run,
        version="0",
        started="2026-10-01T00:00:00+00:00",
        who="ann@c",
        inventory=("hosts.ini",),
        plan_digest=plan.digest,
        plan=plan,
        results=tuple(HostResult(host=host, results=applied) for host in hosts),
    )
    (runs / f"{run}.json").write_text(kept.model_dump_json())


def test_a_run_or_a_control_that_nobody_knows_is_a_wrong_call_and_changes_nothing(
    tmp_path: Path, remediate: Remediate
) -> None:
    fleet(tmp_path, {"web1": [record(written(controls=["site.own-control"]))], "web2": "denied"})
    call = ("-i", "hosts.ini", "--yes")

    mistyped = remediate("rollback", RUN[:-1] + "0", *call)
    assert mistyped.returncode == 2, mistyped.stdout
    assert f"no host that answered holds anything of run {RUN[:-1]}0 (web2 could not be looked at)" in mistyped.stderr
    assert "remediate transactions" in mistyped.stderr

    unknown = remediate("rollback", RUN, "--control", "docker.files.no-such-mode", *call)
    assert unknown.returncode == 2, unknown.stdout
    assert "--control docker.files.no-such-mode: there is no such control" in unknown.stderr

    # One of the catalogue's, and one that only the run knows.
    known = remediate("rollback", RUN, "--control", f"{stand_in.MODE},site.own-control", "-i", "hosts.ini", "--check")
    assert known.stderr == ""
    assert known.returncode == 3, known.stdout  # web2 could not be looked at
    assert "Look at /var/lib/remediator on the host" in known.stdout
    assert stand_in.told(tmp_path, "web1") == ["observe"] * 3


def test_what_last_means_is_decided_by_this_controller_s_record_and_by_no_single_host(
    tmp_path: Path, remediate: Remediate
) -> None:
    newest = new_ulid()
    ours = record(written())
    fleet(tmp_path, {"web1": [ours], "web2": [record(written(), run=newest), ours]})
    call = ("rollback", "last", "-i", "hosts.ini", "--check")

    unsure = remediate(*call)
    assert unsure.returncode == 2, unsure.stdout
    assert f"{newest} (web2), {RUN} (web1)" in unsure.stderr
    assert "Name the RUN" in unsure.stderr

    keep(tmp_path, RUN, "web1", "web2")
    sure = remediate(*call)
    assert f"Rolling back run {RUN}" in sure.stdout, sure.stderr
    assert f"were left out: {newest} (web2)" in sure.stderr


def test_where_no_journal_can_be_looked_at_the_reason_and_its_remedy_are_told(
    tmp_path: Path, remediate: Remediate
) -> None:
    fleet(tmp_path, {"web1": "denied"})
    done = remediate("rollback", "last", "-i", "hosts.ini", "--check")
    assert done.returncode == 3, done.stdout
    assert "web1: its journal could not be looked at (denied)" in done.stderr
    assert "Look at /var/lib/remediator on the host" in done.stderr  # as root: --become would help nobody
    assert "--become" not in done.stderr
