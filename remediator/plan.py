"""The plan document: every host's verdicts and transactions, versioned, digestible, saveable.

Nothing here decides: `remediator.decide` makes these values, views render them, commit receives `Transaction.order()`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from remediator.host.commit.request import transaction_digest

FORMAT_VERSION = 1

VerdictName = Literal["compliant", "drifted", "pending", "not_applicable", "waived", "manual", "unknown"]
FixClass = Literal["safe", "guarded", "opt_in", "manual"]
Severity = Literal["low", "medium", "high", "critical"]
Outcome = Literal["applied", "rolled_back", "stale", "held", "refused", "unreported", "broken"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")

Content = Annotated[
    bytes,
    BeforeValidator(lambda value: base64.b64decode(value, validate=True) if isinstance(value, str) else value),
    PlainSerializer(lambda value: base64.b64encode(value).decode("ascii"), return_type=str),
]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Verdict(_Document):
    """The result for one (host, control). `reason` is one sentence, already harmless to show."""

    control: str
    verdict: VerdictName
    reason: str
    title: str
    role: str
    severity: Severity
    fix: FixClass  # as decided for this host: a safe fix that takes a group's access is guarded here
    threat: str | None = None
    references: dict[str, str] = Field(default_factory=dict)
    permitted: bool = False  # drifted, and this call may change it
    release: str | None = None  # drifted and held back: what would release it


class State(_Document):
    """What a path is before or after a change; all null and type `missing` where there is nothing."""

    type: Literal["missing", "file", "directory", "socket"]
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    user: str | None = None
    group: str | None = None
    sha256: str | None = None  # of the content; null for what has none, and after a change to a masked file


class Change(_Document):
    """One path's, or one kernel audit rule's, way from before to after, with the controls that ask for it.

    `what` is `content`, `access`, `create`, `remove`, `key`, `audit_rule`, `restart` or `reload`. For audit rules
    `path` is the rules file that makes the rule last, `added` and `removed` list kernel rules in the words of auditctl.
    `details` say in words what the bytes are: a certificate's subject, names, lifetime and fingerprint, a key's public
    digest. A `restart` (or a `reload`, where its process can read that as it runs) is for a process that is older than
    its files: `path` is its unit, `details` say what it has not read. `since` is for what a rollback takes back: the
    unified diff from the bytes that the run wrote to those of now, where somebody changed them.
    """

    controls: tuple[str, ...]
    what: Literal["content", "access", "create", "remove", "key", "audit_rule", "restart", "reload"]
    path: str
    before: State
    after: State
    diff: str = ""  # unified diff, harmless to show
    since: str = ""  # the same
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    details: tuple[str, ...] = ()  # harmless to show


class Precondition(_Document):
    """What commit must find at `path`, exactly, before its host's first write. `resolved` is its realpath."""

    path: str
    resolved: str
    type: Literal["missing", "file", "directory", "socket"]
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    sha256: str | None = None  # null: content is not compared (access changes compare identity instead)
    ino: int | None = None
    dev: int | None = None
    size: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    masked: bool = False  # `sha256` is of the content with its secrets masked, as observe masks them


class EditSplice(_Document):
    """`length` bytes at `offset` of a file's real content are replaced with `content`."""

    offset: int
    length: int
    content: Content


class Action(_Document):
    """One step of a transaction, from commit's closed set. Fields that `do` does not use are null.

    write (path, content, mode, uid, gid); edit (path, splices, mode, uid, gid: for a file with masked secrets); restore
    (path, source: the name `RUN.GROUP/N.before` of what an earlier transaction kept, whose bytes, mode, owner,
    attributes and time of change the file gets); mkdir (path, mode, uid, gid); rmdir (path: an empty directory); chmod
    (path, mode); chown (path, uid, gid); remove (path); audit_add and audit_delete (rule: its words as a rules file has
    them, beginning with -a or -w; commit itself turns -a into -d, or -w into -W, to delete it); make_key (subject: the
    host's name; a key and a signing request for it, in commit's own directory); install_key (path, source,
    public_sha256, mode, uid, gid).

    A key's `source` is `host` (what make_key left there) or `controller` (a frame of its own that no document holds);
    `public_sha256` is the sha256 of its public half (SubjectPublicKeyInfo, DER), which commit compares first.
    """

    do: Literal[
        "write",
        "edit",
        "restore",
        "mkdir",
        "rmdir",
        "chmod",
        "chown",
        "remove",
        "audit_add",
        "audit_delete",
        "make_key",
        "install_key",
    ]
    path: str | None = None
    content: Content | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    rule: tuple[str, ...] | None = None
    splices: tuple[EditSplice, ...] | None = None
    subject: str | None = None
    source: str | None = None
    public_sha256: str | None = None


class Step(_Document):
    """A validation, activation or probe from commit's closed set.

    validate: json (path), yaml_text (path: decodes as UTF-8, no tabs at line starts), audit_rules (path), dockerd
    (path: a configuration file, by `dockerd --validate` where that exists), sudoers (path: by visudo);
    activate: daemon_reload, reload (unit), restart (unit);
    probe: mode_is (path, mode, uid, gid), audit_loaded (rule), unit_active (unit), docker_ping, containers (names),
    mutual_tls (address `HOST:PORT` on the host itself, path: the CA's file, sha256: of the certificate in DER that must
    be served; a request without a client certificate and one in plain HTTP must be refused), stays_down (names: the
    containers that were shown as not coming back; looked at before the first write, when another one that would not
    come back makes the transaction stale).
    """

    do: str
    path: str | None = None
    unit: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    rule: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    address: str | None = None
    sha256: str | None = None


class Impact(_Document):
    """What activation costs. `stops` and `stays_down` name containers, `text` is what the preview prints.

    A container that goes when it stops anyway (`docker run --rm`) is not among `stays_down`.
    """

    level: Literal["none", "reload", "restart", "recreation", "login", "reboot"] = "none"
    text: str = ""
    units: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    stays_down: tuple[str, ...] = ()


class Transaction(_Document):
    """The changes of one host that succeed or roll back together."""

    group: str  # docker, audit, kubelet, kube-apiserver, files...
    changes: tuple[Change, ...]
    preconditions: tuple[Precondition, ...] = ()
    actions: tuple[Action, ...] = ()
    validation: tuple[Step, ...] = ()
    activation: tuple[Step, ...] = ()
    probe: tuple[Step, ...] = ()
    impact: Impact = Impact()

    @property
    def digest(self) -> str:
        """What is approved, and what apply compares: sha256 of the canonical JSON without what only names containers.

        They come and go by themselves; those that a restart would stop for good are compared by name.
        """
        return transaction_digest(self.model_dump(mode="json"))

    @property
    def restarts(self) -> tuple[str, ...]:
        """The units that it restarts."""
        return tuple(dict.fromkeys(step.unit for step in self.activation if step.do == "restart" and step.unit))

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls that asked for its changes, in catalogue order of first appearance."""
        return tuple(dict.fromkeys(control for change in self.changes for control in change.controls))


class HostError(_Document):
    """Why a host has no plan."""

    kind: str
    message: str


class Alert(_Document):
    """What must be said of a host before all else, harmless to show.

    `open`: a transaction was interrupted and waits to be rolled back; `broken`: nothing is changed there until a person
    releases it; `changing`: a run changes it right now; `recovered`: its newest transaction was rolled back by what
    found its journal; `unseen`: its journal could not be looked at. For a rollback also `nothing`: there is nothing of
    that run to take back, and why; `refused`: what of it is not taken back. `restarts` are the units that rolling back
    an `open` one restarts.
    """

    kind: Literal["open", "broken", "changing", "recovered", "unseen", "nothing", "refused"]
    text: str
    restarts: tuple[str, ...] = ()


class Undo(_Document):
    """What a plan takes back: one run, or what some of its controls asked for; `force`: whoever changed it since."""

    run: str
    controls: tuple[str, ...] = ()  # empty: all
    force: bool = False


class HostPlan(_Document):
    """One host's part of the plan. `error` is set where it could not be observed; its verdicts are then unknown.

    `recovers`: an apply rolls back first what was interrupted there, whether it has transactions or not.
    """

    host: str
    error: HostError | None = None
    systems: tuple[str, ...] = ()  # what the host is: docker, kubernetes
    verdicts: tuple[Verdict, ...] = ()
    transactions: tuple[Transaction, ...] = ()  # what this call is permitted to do
    held: tuple[Transaction, ...] = ()  # what would be done with more consent, on top of `transactions`
    notes: tuple[str, ...] = ()  # what a preview must say beside its bytes
    alerts: tuple[Alert, ...] = ()  # what every preview says first
    recovers: bool = False

    @property
    def acts(self) -> bool:
        """Whether an apply does anything there."""
        return self.recovers or bool(self.transactions)

    @property
    def interrupted(self) -> frozenset[str]:
        """The transactions that wait to be rolled back, each in the words that tell its run and what it restarts."""
        return frozenset(alert.text for alert in self.alerts if alert.kind == "open")

    @property
    def restarts(self) -> tuple[str, ...]:
        """The units that an apply restarts: for what must be rolled back first, and for its transactions."""
        first = (unit for alert in self.alerts for unit in alert.restarts)
        return tuple(dict.fromkeys((*first, *(unit for each in self.transactions for unit in each.restarts))))


class Plan(_Document):
    """Every host's verdicts and transactions for one selection of controls; or, with `undo`, what takes a run back.

    Then there are no verdicts, and what is held needs force or a person.
    """

    format_version: Literal[1] = 1
    controls: tuple[str, ...]
    hosts: tuple[HostPlan, ...]
    undo: Undo | None = None

    @property
    def digest(self) -> str:
        """The plan's identity: sha256 of its canonical JSON."""
        return digest(self)


class TransactionResult(_Document):
    """What a host answered for one transaction. `log` holds the service's own last lines after a failure."""

    group: str
    outcome: Outcome
    reason: str = ""
    digest: str = ""
    paths: tuple[str, ...] = ()  # what was written
    log: str = ""


class HostResult(_Document):
    """One host's answer to an apply: outcomes, and the verdicts observed afterwards."""

    host: str
    error: HostError | None = None
    results: tuple[TransactionResult, ...] = ()
    after: HostPlan | None = None
    notes: tuple[str, ...] = ()  # what else was proved or seen from the controller, harmless to show
    contradicted: bool = False  # what the controller itself met is not what the host said of its change
    left_undone: bool = False  # a command of after_restart failed; a note says which

    @property
    def broken(self) -> bool:
        """Whether it is left with a service that is not well: nobody goes on to the next host then."""
        return any(answer.outcome == "broken" for answer in self.results) or (
            self.error is not None and self.error.kind == "broken"
        )


def canonical(value: BaseModel) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII, defaults included."""
    data: Any = value.model_dump(mode="json")
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def digest(value: BaseModel) -> str:
    """sha256 of `canonical(value)`, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()
