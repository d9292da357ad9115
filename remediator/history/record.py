"""The record of one run: what was previewed, by whom and why it was approved, and what each host answered."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from remediator.plan import HostResult, Plan


class RunRecord(BaseModel):
    """One run. Times are UTC in ISO 8601. The command line is not kept: it may hold secrets (`-e`).

    `state` is `started` until every host has answered; a record that stays so belongs to a controller that died, and
    `interrupted` to one that was stopped by hand. Either way the hosts know what they did. A `recover` and a `purge`
    have an empty plan: what they are about is what they find on the hosts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    run: str  # ULID, the same as in every host's journal
    verb: Literal["apply", "rollback", "recover", "purge"] = "apply"
    version: str  # of remediator
    state: Literal["started", "finished", "interrupted"] = "started"
    started: str
    finished: str | None = None
    who: str
    reason: str = ""
    inventory: tuple[str, ...]
    limit: str | None = None
    allow: tuple[str, ...] = ()
    serial: tuple[str | int, ...] = ()
    max_fail_percentage: int = 0
    plan_digest: str
    plan: Plan
    results: tuple[HostResult, ...] = ()
    exit_code: int | None = None
