"""Plan documents as data, rendered views, and the command itself as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from remediator.plan import HostResult, Plan, TransactionResult
from remediator.views.interface import Report

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("remediate")
RUN = "01ARYZ6S41TSV4RRFFQ69G5FAV"

Remediate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def no_colour_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a view looks like depends on its stream, not on who runs the tests."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def plan() -> Callable[[str], Plan]:
    """The plan in plans/NAME.json."""
    return lambda name: Plan.model_validate_json((HERE / "plans" / f"{name}.json").read_text())


@pytest.fixture
def report() -> Callable[[Plan], Report]:
    """An apply of a plan in which each host answered something else: applied, rolled back, stale, nothing."""

    def made(plan: Plan) -> Report:
        hosts = [host for host in plan.hosts if host.transactions]
        outcomes = ("applied", "rolled_back", "stale")
        results = {}
        for host, outcome in zip(hosts, outcomes, strict=False):
            first, *others = host.transactions
            answers = [TransactionResult(group=each.group, outcome="applied", paths=("/a", "/b")) for each in others]
            told = TransactionResult.model_validate(
                {
                    "group": first.group,
                    "outcome": outcome,
                    "reason": "" if outcome == "applied" else f"{outcome} for a reason",
                    "log": "line one\nline two" if outcome == "rolled_back" else "",
                }
            )
            verdicts = tuple(
                each.model_copy(update={"verdict": "compliant", "permitted": False}) if each.permitted else each
                for each in host.verdicts
            )
            after = host.model_copy(update={"verdicts": verdicts, "transactions": ()})
            results[host.host] = HostResult(host=host.host, results=(told, *answers), after=after)
        return Report(plan, "applied", results, RUN, "alice@ctl", "ticket 7", Path(f"/state/{RUN}.json"))

    return made


@pytest.fixture
def snapshot() -> Callable[[str, str], None]:
    """Compare text with snapshots/NAME; with UPDATE_SNAPSHOTS=1 in the environment, write it there instead."""

    def compare(name: str, text: str) -> None:
        path = HERE / "snapshots" / name
        if os.environ.get("UPDATE_SNAPSHOTS") == "1":
            path.write_text(text)
        assert text == path.read_text()

    return compare


@pytest.fixture
def remediate(tmp_path: Path) -> Remediate:
    """Run the installed command away from any terminal, in an empty directory with a home of its own."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "XDG_"))},
        "HOME": str(home),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "ansible"),
    }

    def run(*arguments: str, more: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=tmp_path,
            env={**environment, **(more or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            start_new_session=True,  # no controlling terminal: nothing can be asked
        )

    return run
