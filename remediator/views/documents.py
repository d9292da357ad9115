"""The documents that `--format json` prints, as types: their JSON Schema is made from these and from nothing else.

A change of meaning or shape raises `format_version`. Modes are octal strings, digests are sha256 in hexadecimal.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from remediator.plan import Alert, FixClass, HostError, Impact, Outcome, Severity, VerdictName


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StateDocument(_Part):
    """A path before or after a change."""

    type: Literal["missing", "file", "directory", "socket"]
    mode: str | None = Field(pattern="^[0-7]{4}$", description="Permission bits, octal: 0644.")
    uid: int | None
    gid: int | None
    user: str | None = Field(description="Name of uid on the host; null where it has none.")
    group: str | None = Field(description="Name of gid on the host; null where it has none.")
    sha256: str | None = Field(
        description="Of the content, where a change is about content and nothing in it is masked."
    )


class ChangeDocument(_Part):
    """One path's way from before to after, or a list of kernel audit rules, or a restart (then the path is a unit)."""

    path: str
    what: Literal["content", "access", "create", "remove", "key", "audit_rule", "restart", "reload"]
    controls: tuple[str, ...] = Field(description="The controls that ask for it.")
    before: StateDocument
    after: StateDocument
    diff: str = Field(description="Unified diff; empty where the content stays.")
    since: str = Field(description="Of a rollback: what somebody changed since that run, as a unified diff.")
    added: tuple[str, ...] = Field(description="Kernel audit rules to add.")
    removed: tuple[str, ...] = Field(description="Kernel audit rules to delete.")
    details: tuple[str, ...] = Field(description="What the new bytes are, in words: a certificate, a key's digest.")
    transaction: str = Field(description="Changes of one transaction succeed or roll back together.")
    digest: str = Field(description="Of the transaction without the containers it names: what an apply compares.")
    impact: Impact
    permitted: bool = Field(description="Whether this call may make it; else it is held back.")
    release: tuple[str, ...] = Field(description="Of a held change: what would release it, an option or a setting.")


class VerdictDocument(_Part):
    """The result for one control on one host."""

    control: str
    verdict: VerdictName
    reason: str
    title: str
    role: str
    severity: Severity
    fix: FixClass = Field(description="As decided for this host.")
    threat: str | None
    references: dict[str, str]
    permitted: bool
    release: str | None


class HostDocument(_Part):
    """One host: why it could not be looked at, or what was found there."""

    host: str
    error: HostError | None
    systems: tuple[str, ...]
    verdicts: tuple[VerdictDocument, ...]
    changes: tuple[ChangeDocument, ...]
    notes: tuple[str, ...]
    alerts: tuple[Alert, ...] = Field(description="What must be said first: interrupted, broken, being changed...")
    recovers: bool = Field(description="Whether an apply rolls back what was interrupted there.")


class OutcomeDocument(_Part):
    """What became of one transaction."""

    transaction: str
    outcome: Outcome
    reason: str
    digest: str
    paths: tuple[str, ...] = Field(description="What was written.")
    log: str = Field(description="The service's own last lines after a failure.")


class AppliedHostDocument(_Part):
    """One host of an apply: as previewed, what was done, and as seen afterwards."""

    host: str
    error: HostError | None = Field(description="Why nothing could be done; null where the host was not to change.")
    before: HostDocument
    outcomes: tuple[OutcomeDocument, ...]
    after: HostDocument | None = Field(description="Null where nothing was done, or the host could not be seen again.")
    notes: tuple[str, ...] = Field(description="What the controller itself tried or ran for it, and what came of it.")


class CheckDocument(_Part):
    """What `remediate check --format json` prints."""

    format_version: Literal[1] = 1
    document: Literal["check"] = "check"
    plan: str = Field(description="Digest of the plan.")
    controls: tuple[str, ...] = Field(description="The controls that were selected.")
    hosts: tuple[HostDocument, ...]


class ApplyDocument(_Part):
    """What `remediate apply --format json` prints."""

    format_version: Literal[1] = 1
    document: Literal["apply"] = "apply"
    plan: str = Field(description="Digest of the plan that was previewed.")
    ended: Literal["nothing_permitted", "declined", "applied"]
    run: str | None = Field(description="ULID of the run; null when nothing was begun.")
    who: str | None
    reason: str
    record: str | None = Field(description="The run's record on the controller.")
    controls: tuple[str, ...]
    hosts: tuple[AppliedHostDocument, ...]


class RollbackDocument(_Part):
    """What `remediate rollback --format json` prints. Its hosts have no verdicts; what is held is refused."""

    format_version: Literal[1] = 1
    document: Literal["rollback"] = "rollback"
    undoes: str = Field(description="The run that is taken back.")
    force: bool = Field(description="Over what was changed since, too.")
    plan: str = Field(description="Digest of the plan that was previewed.")
    ended: Literal["nothing_permitted", "declined", "applied", "previewed"]
    run: str | None = Field(description="ULID of the rollback itself; null when nothing was begun.")
    who: str | None
    reason: str
    record: str | None = Field(description="The run's record on the controller.")
    controls: tuple[str, ...] = Field(description="It was limited to what these asked for; empty: all.")
    hosts: tuple[AppliedHostDocument, ...]


class ControlDocument(_Part):
    """One control of the catalogue."""

    id: str
    role: str
    title: str
    rationale: str
    severity: Severity
    references: dict[str, str]
    threat: str | None
    applies_to: str
    fix: FixClass
    impact: str
    kind: str
    parameters: dict[str, Any] = Field(description="What the kind is told; its shape is the kind's.")


class ControlsDocument(_Part):
    """What `remediate controls --format json` prints."""

    format_version: Literal[1] = 1
    document: Literal["controls"] = "controls"
    controls: tuple[ControlDocument, ...]


def json_schema() -> dict[str, Any]:
    """One JSON Schema (draft 2020-12) for every document; `document` says which of them it is."""
    # Where they are made, so that a check need not load what they rest on.
    from remediator.tls.listing import TlsDocument
    from remediator.views.issue import IssueDocument
    from remediator.views.purge import PurgeDocument
    from remediator.views.recovery import RecoverDocument
    from remediator.views.transactions import TransactionsDocument

    documents: Any = Annotated[
        CheckDocument
        | ApplyDocument
        | RollbackDocument
        | TransactionsDocument
        | RecoverDocument
        | PurgeDocument
        | ControlsDocument
        | IssueDocument
        | TlsDocument,
        Field(discriminator="document"),
    ]
    schema = TypeAdapter(documents).json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What remediate prints with --format json",
        **schema,
    }
