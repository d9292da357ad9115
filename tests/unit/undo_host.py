"""Hosts that hold transactions of ours, as data: what observe answers when a run is to be taken back, and what then."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

from remediator.observation import Observation
from remediator.plan import HostPlan, Transaction, Undo
from remediator.policy import Policy
from remediator.undo import take_back

RUN = "01JDQ3V8N6T0M5S2R4W9XK7YZB"
LATER = "01JDQ4AAAAAAAAAAAAAAAAAAAA"
CONFIG = "/etc/docker/daemon.json"
MODE = "docker.files.config-mode"
OPTION = "docker.daemon.live-restore"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
RESTART = [{"do": "restart", "unit": "docker.service"}]


def facts(content: bytes | None = None, mode: int = 0o644, kind: str = "file", **more: Any) -> dict[str, Any]:
    """What observe says of a path of root's; `content` in clear."""
    told: dict[str, Any] = {"type": kind, "mode": mode, "user": "root", "group": "root", "ino": 7, "dev": 1}
    if content is not None:
        told.update(content=base64.b64encode(content).decode(), sha256=hashlib.sha256(content).hexdigest())
    return {**told, **more}


def was(mode: int = 0o644, kind: str = "file") -> dict[str, Any]:
    return {"type": kind} if kind == "missing" else {"type": kind, "mode": mode, "uid": 0, "gid": 0}


def entry(path: str, before: dict[str, Any], after: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"path": path, "before": before, "after": after, "controls": [MODE], **more}


def written(path: str = CONFIG, held: str = "after", **more: Any) -> dict[str, Any]:
    """A path whose bytes the run replaced."""
    return entry(path, was(0o600), was(0o644), **{"content": held, "backup": "0.before", **more})


def record(*entries: dict[str, Any], run: str = RUN, group: str = "docker", **more: Any) -> dict[str, Any]:
    told = {"run": run, "group": group, "outcome": "applied", "started": 5, "ended": 6, "who": "ann@c"}
    return {**told, "entries": entries, **more}


def kept(number: int = 0, group: str = "docker", content: bytes = b"before\n") -> dict[str, Any]:
    """The backup of that entry, as observed."""
    return {f"/var/lib/remediator/transactions/{RUN}.{group}/{number}.before": facts(content, 0o600)}


def wrote(number: int = 0, group: str = "docker", content: bytes = b"after\n") -> dict[str, Any]:
    """The copy of what that entry wrote, as observed."""
    return {f"/var/lib/remediator/transactions/{RUN}.{group}/{number}.after": facts(content, 0o600)}


def host(*records: dict[str, Any], files: dict[str, Any] | None = None, **more: Any) -> Observation:
    return Observation.model_validate(
        {
            "format_version": 1,
            "host": {"python": "3.11.2", "uid": 0},
            "systems": {"docker": {"present": True, "reason": "stand-in"}},
            "files": files or {},
            "users": {"root": 0},
            "groups": {"root": 0},
            "transactions": {"records": list(records)},
            **more,
        }
    )


def undone(seen: Observation, *controls: str, force: bool = False, policy: Policy | None = None) -> HostPlan:
    return take_back("web1", seen, Undo(run=RUN, controls=controls, force=force), policy or Policy(), NOW)


def only(plan: HostPlan) -> Transaction:
    assert plan.held == ()
    (transaction,) = plan.transactions
    return transaction


def details(transaction: Transaction) -> str:
    return "\n".join(detail for change in transaction.changes for detail in change.details)


def alerts(plan: HostPlan) -> list[tuple[str, str]]:
    return [(alert.kind, alert.text) for alert in plan.alerts]
