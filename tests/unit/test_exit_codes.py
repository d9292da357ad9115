"""The exit code of a call, from its plan and its hosts' answers."""

from __future__ import annotations

from typing import Any

import pytest

from remediator.cli import options
from remediator.exit_codes import ExitCode, Threshold, first_that_applies, of_apply, of_check
from remediator.plan import SEVERITIES, HostError, HostPlan, HostResult, Plan, TransactionResult, Verdict

LENIENT = Threshold()
STRICT = Threshold(strict=True)


def verdict(name: str, **more: Any) -> Verdict:
    """A verdict by this name; a high, safe control unless told otherwise."""
    given = {"control": "docker.files.a", "reason": "", "title": "", "role": "docker_files", "severity": "high"}
    return Verdict.model_validate({**given, "fix": "safe", "verdict": name, **more})


def plan(*verdicts: Verdict, error: str | None = None) -> Plan:
    """A plan of one host."""
    trouble = None if error is None else HostError(kind=error, message="no")
    host = HostPlan(host="web1", error=trouble, verdicts=verdicts)
    return Plan(controls=tuple(each.control for each in verdicts), hosts=(host,))


def answered(after: Plan | None, *outcomes: str, error: str | None = None) -> dict[str, HostResult]:
    """The host's answer: these outcomes, and the verdicts of `after`."""
    results = tuple(
        TransactionResult.model_validate({"group": f"g{number}", "outcome": outcome})
        for number, outcome in enumerate(outcomes)
    )
    trouble = None if error is None else HostError(kind=error, message="no")
    seen = None if after is None else after.hosts[0]
    return {"web1": HostResult(host="web1", error=trouble, results=results, after=seen)}


PERMITTED = verdict("drifted", permitted=True)
GUARDED = verdict("drifted", fix="guarded")
OPT_IN = verdict("drifted", fix="opt_in")
RESTARTS = verdict("drifted", fix="safe")  # held back by the host's policy of restarts, not for want of consent
FINE = plan(verdict("compliant"))


@pytest.mark.parametrize(
    ("found", "lenient", "strict"),
    [
        (verdict("compliant"), 0, 0),
        (verdict("not_applicable"), 0, 0),
        (verdict("waived"), 0, 0),
        (PERMITTED, 1, 1),
        (GUARDED, 1, 1),
        (RESTARTS, 1, 1),
        (OPT_IN, 0, 1),
        (verdict("manual"), 0, 1),
        (verdict("pending"), 0, 1),
        (verdict("unknown"), 3, 3),
    ],
)
def test_a_check_ends_by_what_it_found(found: Verdict, lenient: int, strict: int) -> None:
    assert of_check(plan(verdict("compliant"), found), LENIENT) == lenient
    assert of_check(plan(found), STRICT) == strict


def test_a_host_out_of_reach_outranks_drift() -> None:
    both = Plan(controls=(), hosts=(*plan(PERMITTED).hosts, *plan(error="unreachable").hosts))
    assert of_check(both, LENIENT) == ExitCode.FAILED


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fail_on_leaves_out_lower_severities_only(severity: str) -> None:
    found = plan(verdict("drifted", permitted=True, severity="high"))
    expected = ExitCode.DONE if severity == "critical" else ExitCode.DRIFT
    assert of_check(found, Threshold(fail_on=severity)) == expected  # type: ignore[arg-type]


def test_fail_on_hides_no_unknown_verdict() -> None:
    assert of_check(plan(verdict("unknown", severity="low")), Threshold(fail_on="critical")) == ExitCode.FAILED


def test_the_command_line_knows_the_severities_of_the_plan() -> None:
    assert options.SEVERITIES == SEVERITIES


def test_an_apply_that_left_nothing_permitted_is_done() -> None:
    assert of_apply(plan(PERMITTED), answered(FINE, "applied"), LENIENT) == ExitCode.DONE


@pytest.mark.parametrize("left", [GUARDED, RESTARTS, OPT_IN, verdict("manual"), verdict("pending")])
def test_after_an_apply_what_it_was_not_allowed_to_do_counts_only_when_strict(left: Verdict) -> None:
    answers = answered(plan(left), "applied")
    assert of_apply(plan(PERMITTED, left), answers, LENIENT) == ExitCode.DONE
    assert of_apply(plan(PERMITTED, left), answers, STRICT) == ExitCode.DRIFT


def test_permitted_drift_that_is_left_is_drift() -> None:
    assert of_apply(plan(PERMITTED), answered(plan(PERMITTED), "held"), LENIENT) == ExitCode.DRIFT


def test_a_command_of_after_restart_that_failed_is_a_failure_whatever_was_applied() -> None:
    left = {host: result.model_copy(update={"left_undone": True}) for host, result in answered(FINE, "applied").items()}
    assert of_apply(plan(PERMITTED), left, LENIENT) == ExitCode.FAILED


def test_hosts_that_were_not_to_change_count_as_previewed() -> None:
    assert of_apply(plan(verdict("unknown")), {}, LENIENT) == ExitCode.FAILED
    assert of_apply(plan(error="unreachable"), {}, LENIENT) == ExitCode.FAILED


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("applied", 0), ("held", 0), ("stale", 4), ("rolled_back", 3), ("refused", 3), ("unreported", 3), ("broken", 3)],
)
def test_each_outcome_has_its_code(outcome: str, code: int) -> None:
    assert of_apply(plan(PERMITTED), answered(FINE, "applied", outcome), LENIENT) == code


def test_a_host_locked_by_another_run_outranks_a_stale_one() -> None:
    answers = answered(None, "stale", error="locked")
    assert of_apply(plan(PERMITTED), answers, LENIENT) == ExitCode.LOCKED


def test_a_host_that_nobody_saw_again_is_a_failure_even_if_all_was_applied() -> None:
    assert of_apply(plan(PERMITTED), answered(None, "applied"), LENIENT) == ExitCode.FAILED


def test_the_first_that_applies_is_70_2_5_4_3_1_0() -> None:
    order = [70, 2, 5, 4, 3, 1, 0]
    for place, code in enumerate(order):
        assert first_that_applies(ExitCode(each) for each in reversed(order[place:])) == code
    assert first_that_applies([]) == 0
