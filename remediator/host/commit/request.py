"""The request as types, every field of it checked before anything on the host is looked at."""

import base64
import binascii
import json
from typing import Any, Dict, NamedTuple, Optional, Tuple

from remediator.host.common.digest import sha256
from remediator.host.common.patterns import pattern
from remediator.host.common.serve import ProgramError

REQUEST_FORMAT = 1
MAX_ID = 2**32 - 2
# Where a daemon listens: HOST:PORT, an IPv6 address in brackets, with its zone or without.
ADDRESS = pattern(r"^(?:[A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]):([0-9]{1,5})\Z")
SHA256 = pattern(r"^[0-9a-f]{64}\Z")
GROUP_NAME = pattern(r"^[a-z0-9-]{1,64}\Z")
RUN_NAME = pattern(r"^[0-9A-Za-z]{1,40}\Z")
# How many seconds a service must have been well after a restart, where the request does not say.
HEALTHY_SECONDS = 15
MOST_HEALTHY_SECONDS = 600
UNIT_NAME = pattern(r"^[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,200}\.(service|socket)$")

# What each action and step needs; every other field of it must be null.
ACTION_FIELDS = {
    "write": {"path", "content", "mode", "uid", "gid"},
    "edit": {"path", "splices", "mode", "uid", "gid"},
    "mkdir": {"path", "mode", "uid", "gid"},
    "chmod": {"path", "mode"},
    "chown": {"path", "uid", "gid"},
    "remove": {"path"},
    "audit_add": {"rule"},
    "audit_delete": {"rule"},
    "make_key": {"subject"},
    "install_key": {"path", "source", "public_sha256", "mode", "uid", "gid"},
    "restore": {"path", "source"},
    "rmdir": {"path"},
}
VALIDATION_FIELDS = {
    "json": {"path"},
    "yaml_text": {"path"},
    "audit_rules": {"path"},
    "dockerd": {"path"},
    "sudoers": {"path"},
}
ACTIVATION_FIELDS = {"daemon_reload": {"names"}, "reload": {"unit"}, "restart": {"unit"}}
PROBE_FIELDS = {
    "mode_is": {"path", "mode", "uid", "gid"},
    "audit_loaded": {"rule"},
    "unit_active": {"unit"},
    "docker_ping": {"path"},
    "containers": {"path", "names"},
    "mutual_tls": {"address", "path", "sha256"},
    "stays_down": {"path", "names"},
}
STEP_FIELDS = {"validation": VALIDATION_FIELDS, "activation": ACTIVATION_FIELDS, "probe": PROBE_FIELDS}
# Probes that only name containers, which come and go by themselves: what was approved is the same without them.
UNAPPROVED_PROBES = ("containers", "stays_down")
TEXT_FIELDS = (
    "do",
    "path",
    "resolved",
    "type",
    "unit",
    "subject",
    "source",
    "address",
)
OPTIONAL_FIELDS = {
    ("daemon_reload", "names"),
    ("docker_ping", "path"),
    ("containers", "path"),
    ("stays_down", "path"),
    ("stays_down", "names"),
}


class Precondition(NamedTuple):
    """What must be found at `path`, exactly; null fields are not compared."""

    path: str
    resolved: str
    type: str
    mode: Optional[int]
    uid: Optional[int]
    gid: Optional[int]
    sha256: Optional[str]
    ino: Optional[int]
    dev: Optional[int]
    size: Optional[int]
    mtime_ns: Optional[int]
    ctime_ns: Optional[int]
    masked: bool


class EditSplice(NamedTuple):
    """`length` bytes at `offset` are replaced with `content`."""

    offset: int
    length: int
    content: bytes


class Action(NamedTuple):
    """One write, from the closed set of ACTION_FIELDS."""

    do: str
    path: Optional[str]
    content: Optional[bytes]
    mode: Optional[int]
    uid: Optional[int]
    gid: Optional[int]
    rule: Optional[Tuple[str, ...]]
    splices: Optional[Tuple[EditSplice, ...]]
    subject: Optional[str]
    source: Optional[str]
    public_sha256: Optional[str]


class Step(NamedTuple):
    """One validation, activation or probe, from the closed sets above."""

    do: str
    path: Optional[str]
    unit: Optional[str]
    mode: Optional[int]
    uid: Optional[int]
    gid: Optional[int]
    rule: Optional[Tuple[str, ...]]
    names: Optional[Tuple[str, ...]]
    address: Optional[str]
    sha256: Optional[str]

    def document(self) -> Dict[str, Any]:
        """As it stands in a request and in a journal."""
        found = {name: value for name, value in self._asdict().items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


class Transaction(NamedTuple):
    """The changes that succeed or roll back together. `asked` has the controls that ask for a path or a rule."""

    group: str
    digest: str
    preconditions: Tuple[Precondition, ...]
    actions: Tuple[Action, ...]
    validation: Tuple[Step, ...]
    activation: Tuple[Step, ...]
    probe: Tuple[Step, ...]
    asked: Dict[str, Tuple[str, ...]]

    @property
    def controls(self) -> Tuple[str, ...]:
        """Every control that asks for a part of it."""
        return tuple(sorted({control for controls in self.asked.values() for control in controls}))

    def controls_of(self, path_or_rule: str) -> Tuple[str, ...]:
        """The controls that ask for a path, or for a rule (its words)."""
        return self.asked.get(path_or_rule, ())

    def resolved(self, path: str) -> str:
        """The real path that `path` had at the preview; `path` itself where no precondition names it."""
        wanted = self.wanted(path)
        return wanted.resolved if wanted is not None else path

    def wanted(self, path: str) -> Optional[Precondition]:
        """What the preview found at `path`; None where no precondition names it."""
        return next((found for found in self.preconditions if found.path == path), None)


class Request(NamedTuple):
    """What one host is asked to do, for whom and why.

    `secret` is the private key (PEM) that came beside it, if any; `undoes` is the run that this one takes back, empty
    for most; `healthy_seconds` is how long a service that was restarted must have been well before its change counts;
    `keep` is how many ended transactions the host keeps, and for how many days, None for all.
    """

    run: str
    host: str
    who: str
    reason: str
    roots: Tuple[str, ...]
    transactions: Tuple[Transaction, ...]
    secret: bytes
    keep: Optional[Tuple[int, int]]
    undoes: str
    healthy_seconds: int


def parse_request(document: Dict[str, Any], secret: bytes) -> Request:
    """The request, checked. Raises ProgramError (kind `request`) on anything but what this program knows."""
    if not isinstance(document, dict) or document.get("format_version") != REQUEST_FORMAT:
        raise bad_request("its format is not version 1")
    transactions = document.get("transactions")
    roots = document.get("roots")
    if not isinstance(transactions, list) or not isinstance(roots, list):
        raise bad_request("transactions and roots must be lists")
    texts = [document.get(name) for name in ("run", "host", "who", "reason")] + [document.get("undoes", "")]
    if not all(isinstance(text, str) and len(text) <= 4096 for text in texts + roots):
        raise bad_request("run, host, who, reason, undoes and roots must be text")
    run, host, who, reason, undoes = (str(text) for text in texts)
    if RUN_NAME.match(run) is None:
        raise bad_request("the run's name is none")
    parsed = tuple(parse_transaction(item) for item in transactions)
    keep = parse_keep(document.get("keep"))
    healthy = healthy_seconds(document.get("healthy_seconds"))
    return Request(run, host, who, reason, tuple(roots), parsed, secret, keep, undoes, healthy)


def healthy_seconds(value: Any) -> int:
    """How long a restarted service must be well; the default where nothing is said. Raises ProgramError."""
    if value is None:
        return HEALTHY_SECONDS
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_HEALTHY_SECONDS:
        raise bad_request("healthy_seconds must be a number from 0 to %d" % MOST_HEALTHY_SECONDS)
    return value


def parse_keep(document: Any) -> Optional[Tuple[int, int]]:
    """How many ended transactions are kept, and for how many days; None: all. Raises ProgramError."""
    if document is None:
        return None
    if not isinstance(document, dict) or set(document) != {"count", "days"}:
        raise bad_request("keep must say count and days")
    return parse_number(document["count"]), parse_number(document["days"])


def parse_number(value: Any) -> int:
    """A number of things that are kept. Raises ProgramError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 100000:
        raise bad_request("keep must say numbers from 1 to 100000")
    return value


def bad_request(why: str) -> ProgramError:
    """The error for a request that this program was not made for."""
    return ProgramError("request", "the request cannot be carried out, nothing was written: " + why)


def parse_transaction(document: Dict[str, Any]) -> Transaction:
    """One transaction, its digest compared with its content. Raises ProgramError."""
    group = document.get("group") if isinstance(document, dict) else None
    if not isinstance(group, str) or GROUP_NAME.match(group) is None:
        raise bad_request("a transaction has no group, or one that is no name")
    document_list(document, "probe")
    if document.get("digest") != transaction_digest(document):
        raise bad_request("the digest of transaction " + document["group"] + " is not that of its content")
    return Transaction(
        group,
        document["digest"],
        tuple(parse_precondition(item) for item in document_list(document, "preconditions")),
        tuple(parse_action(item) for item in document_list(document, "actions")),
        parse_steps(document, "validation"),
        parse_steps(document, "activation"),
        parse_steps(document, "probe"),
        parse_asked(document_list(document, "changes")),
    )


def parse_steps(document: Dict[str, Any], name: str) -> Tuple[Step, ...]:
    """The steps under `validation`, `activation` or `probe`. Raises ProgramError."""
    return tuple(parse_step(item, STEP_FIELDS[name]) for item in document_list(document, name))


def parse_asked(changes: Any) -> Dict[str, Tuple[str, ...]]:
    """Which controls ask for which path, and for which rule. Raises ProgramError."""
    asked: Dict[str, Tuple[str, ...]] = {}
    for change in changes:
        controls = change.get("controls", [])
        targets = [change.get("path")] + list(change.get("added") or ()) + list(change.get("removed") or ())
        if not all(isinstance(item, str) for item in list(controls) + targets):
            raise bad_request("a change names something else than text")
        for target in targets:
            asked[target] = tuple(dict.fromkeys(asked.get(target, ()) + tuple(controls)))
    return asked


def transaction_digest(document: Dict[str, Any]) -> str:
    """sha256 of what a transaction's approval is about: all of its canonical JSON but which containers it touches."""
    content = {name: value for name, value in document.items() if name not in ("digest", "impact")}
    content["probe"] = [step for step in content.get("probe", []) if step.get("do") not in UNAPPROVED_PROBES]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    return sha256(canonical).hexdigest()


def document_list(document: Dict[str, Any], name: str) -> Any:
    """The list of mappings at `name`."""
    items = document.get(name, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise bad_request(name + " must be a list of mappings")
    return items


def parse_precondition(document: Dict[str, Any]) -> Precondition:
    """One precondition."""
    found = Precondition(*checked_fields(document, Precondition._fields))
    if not found.path or not found.resolved or found.type not in ("missing", "file", "directory", "socket"):
        raise bad_request("a precondition needs path, resolved and a type it knows")
    # Behind a mask anything may change unseen but for these.
    identity = (found.sha256, found.ino, found.dev, found.size, found.mtime_ns, found.ctime_ns)
    if found.masked and (found.type != "file" or None in identity):
        raise bad_request("a masked file's precondition needs its digest and its identity")
    return found


def parse_action(document: Dict[str, Any]) -> Action:
    """One action, with exactly the fields that it needs."""
    action = Action(*checked_fields(document, Action._fields))
    require_fields(document, ACTION_FIELDS, Action._fields)
    if action.do == "install_key" and action.source not in ("host", "controller"):
        raise bad_request("a key comes from the host or from the controller")
    return action


def parse_step(document: Dict[str, Any], known: Dict[str, Any]) -> Step:
    """One step, with exactly the fields that it needs."""
    step = Step(*checked_fields(document, Step._fields))
    require_fields(document, known, Step._fields)
    if step.unit is not None and UNIT_NAME.match(step.unit) is None:
        raise bad_request("a unit's name is not valid")
    address = ADDRESS.match(step.address or "")
    if step.address is not None and (address is None or int(address.group(1)) > 65535):
        raise bad_request("an address is not HOST:PORT")
    return step


def require_fields(document: Dict[str, Any], known: Dict[str, Any], fields: Tuple[str, ...]) -> None:
    """Raises ProgramError unless `do` is known and the fields that it uses, and no others, are there."""
    do = document.get("do")
    if do not in known:
        raise bad_request("it asks for a step that commit does not have")
    for name in fields[1:]:
        there = document.get(name) is not None
        if there != (name in known[do]) and (do, name) not in OPTIONAL_FIELDS:
            raise bad_request("the step " + str(do) + (" cannot have " if there else " needs ") + name)


def checked_fields(document: Dict[str, Any], fields: Tuple[str, ...]) -> Any:
    """The values of `fields`, each of its type or None. Raises ProgramError on unknown fields and wrong types."""
    if set(document) - set(fields):
        raise bad_request("a field is not known: " + ", ".join(sorted(set(document) - set(fields))))
    return [checked_field(name, document.get(name)) for name in fields]


def checked_field(name: str, value: Any) -> Any:
    """One value as its type; text lists become tuples, content becomes bytes."""
    if value is None:
        return None
    if name == "masked":
        if isinstance(value, bool):
            return value
    elif name == "splices":
        return checked_splices(value)
    elif name in ("rule", "names"):
        if isinstance(value, list) and value and all(isinstance(item, str) and "\0" not in item for item in value):
            return tuple(value)
    elif name == "content" and isinstance(value, str):
        try:
            return base64.b64decode(value.encode("ascii"), validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise bad_request("content is not base64")
    elif name in ("sha256", "public_sha256"):
        if isinstance(value, str) and SHA256.match(value) is not None:
            return value
    elif name in TEXT_FIELDS:
        if isinstance(value, str) and "\0" not in value:
            return value
    elif isinstance(value, int) and not isinstance(value, bool):
        limit = {"mode": 0o7777, "uid": MAX_ID, "gid": MAX_ID}.get(name, 2**64)
        if 0 <= value <= limit or name == "mtime_ns":
            return value
    raise bad_request("the field " + name + " has a wrong value")


def checked_splices(value: Any) -> Tuple[EditSplice, ...]:
    """Splices in order that do not overlap. Raises ProgramError."""
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise bad_request("splices must be a list of mappings")
    splices = [EditSplice(*checked_fields(item, EditSplice._fields)) for item in value]
    end = 0
    for one in splices:
        if one.offset is None or one.length is None or one.content is None or one.offset < end:
            raise bad_request("splices overlap, are out of order or lack a field")
        end = one.offset + one.length
    return tuple(splices)
