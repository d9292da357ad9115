"""One commit, ready to be disturbed, and the judgement of what it left: all as before, or all as after."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from remediator.plan import Transaction
from tests.unit.host.commit.host import CommitHost, Running, state_of

Look = dict[str, Any]
# What may lie in the state directory once nothing is open.
OWN_NAMES = {"lock", "transactions", "tls", "recover.py"}
RECORD_NAMES = {"record.json"}


@dataclass
class Scene:
    """A host as it is before a commit, and the request that is to be disturbed.

    `recovering`: the request itself puts back what an earlier run left, and `before` is from the time before that one.
    """

    host: CommitHost
    transactions: tuple[Transaction, ...] = ()
    setup: str = ""
    secret: bytes = b""
    request: dict[str, Any] = field(default_factory=dict)
    recovering: bool = False
    before: Look = field(default_factory=dict)
    bystanders: Look = field(default_factory=dict)
    pair: tuple[bytes, bytes] | None = None

    def ready(self) -> Scene:
        """Itself, once the host is as it shall be before the commit."""
        self.request = self.host.request(*self.transactions, healthy_seconds=0)
        self.pair = read_pair(self.host.state / "tls")
        self.before, self.bystanders = self.look(), bystanders(self.host)
        return self

    def start(self, under: str = "") -> Running:
        """The commit, running; `under` is a command that watches it."""
        return self.host.start(self.request, self.setup, secret=self.secret, under=under)

    def recover(self) -> dict[str, Any]:
        """The answer of a request to recover, which releases the host as well."""
        return self.host.recover(self.setup, release=True)

    def look(self) -> Look:
        """Everything that the commit may change: each path below the host's places, its rules, its service, its pair.

        A leftover is a path like any other here, so it makes this differ from before and from after.
        """
        found: Look = {}
        for root in (self.host.files, self.host.base / "var-lib" / "docker", self.host.base / "units"):
            for path in sorted(root.rglob("*")) if root.exists() else []:
                if "bystander" not in path.name:
                    found[str(path.relative_to(self.host.base))] = self._named(seen_state(path))
        rules = self.host.base / "rules"
        found["rules"] = sorted(rules.read_text().split("\n")) if rules.exists() else []
        started = self.host.base / "started_from"
        found["service"] = started.read_bytes() if started.exists() else b""
        found["pair"] = self._pair()
        return found

    def _named(self, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """A state where the host's own key, another on every host, goes by what it is."""
        is_own = self.pair is not None and state[0] and state[0] == self.pair[0]
        return ("the host's own key", *state[1:]) if is_own else state

    def _pair(self) -> str:
        pair = read_pair(self.host.state / "tls")
        if pair is None or not pair[0]:
            return "none"
        if pair == self.pair:
            return "old"
        key = serialization.load_pem_private_key(pair[0], None)
        request = x509.load_pem_x509_csr(pair[1])
        return "new" if key.public_key() == request.public_key() else "mixed"


def seen_state(path: Path) -> tuple[Any, ...]:
    """A path's state; a directory's own time moves with what is staged in it."""
    state = state_of(path)
    return (*state[:4], None, None, state[6]) if path.is_dir() else state


def bystanders(host: CommitHost) -> Look:
    """Files that no request names: not even their times may change."""
    return {str(path): state_of(path) for path in sorted(host.files.rglob("*bystander*"))}


def timeless(look: Look) -> Look:
    """A look without times: those of what was written anew are today's."""
    return {name: (*state[:4], None, *state[5:]) if isinstance(state, tuple) else state for name, state in look.items()}


def read_pair(directory: Path) -> tuple[bytes, bytes] | None:
    """Key and signing request of the host's own pair; None where there is none."""
    key, request = directory / "key.pem", directory / "request.pem"
    if not directory.exists():
        return None
    return (key.read_bytes() if key.exists() else b"", request.read_bytes() if request.exists() else b"")


class BrokenError(AssertionError):
    """A promise that was not kept."""


def require(holds: bool, words: str) -> None:
    """Raises BrokenError, with these words, unless it holds."""
    if not holds:
        raise BrokenError(words)


def judge(scene: Scene, after: Look, answered: dict[str, Any], recovered: dict[str, Any]) -> str:
    """`before` or `after`: which of both the host is in now, everything about it. Raises BrokenError for any other end.

    `answered` is what the disturbed request answered, `recovered` what recovering answered after it.
    """
    require("error" not in recovered, f"recovering failed: {recovered}")
    look = scene.look()
    if look == scene.before:
        end = "before"
    elif timeless(look) == timeless(after):
        end = "after"
    else:
        raise BrokenError(f"neither before nor after: {differences(scene, after, look)}; {recovered}")
    require(bystanders(scene.host) == scene.bystanders, "a file that no request names was changed")
    outcomes = [result["outcome"] for result in answered.get("results", ())]
    moves = scene.before != after
    if moves and "applied" in outcomes:
        require(end == "after", "it said applied, and the host is as before")
    if moves and outcomes and "applied" not in outcomes:
        require(end == "before", f"it said {outcomes}, and the host is as after")
    judge_state(scene, end if moves else "", recovered)
    return end


def differences(scene: Scene, after: Look, look: Look) -> str:
    """What differs from before, and from after, by name."""
    old, new, now = timeless(scene.before), timeless(after), timeless(look)
    names = sorted(set(old) | set(new) | set(now))
    lines = []
    for name in names:
        same = (now.get(name) == old.get(name), now.get(name) == new.get(name))
        if same != (True, True):
            what = {(True, False): "as before", (False, True): "as after"}.get(same, "neither")
            lines.append(f"{name} {what}{'' if what != 'neither' else f' {str(now.get(name))[:160]}'}")
    times = [name for name in look if look.get(name) != scene.before.get(name) and now.get(name) == old.get(name)]
    return "; ".join(lines) + (f"; time alone: {times}" if times else "")


def judge_names(names: set[str]) -> None:
    """Raises BrokenError where the state directory holds a name that is left over."""
    # The program's own compiled copy says nothing of a transaction; the next one that is kept takes its place.
    left = {name for name in names - OWN_NAMES if not name.lstrip(".").startswith("engine-")}
    require(not left, f"left in the state directory: {sorted(left)}")


def judge_state(scene: Scene, end: str, recovered: dict[str, Any]) -> None:
    """Raises BrokenError unless nothing is open any more, and what is recorded is what is there; `end` may be empty."""
    state = scene.host.state
    names = {path.name for path in state.iterdir()} if state.exists() else set()
    judge_names(names)
    require(stat.S_IMODE(state.stat().st_mode) == 0o700 if names else True, "the state directory is open")
    directories = list((state / "transactions").iterdir()) if "transactions" in names else []
    for directory in directories:
        require(stat.S_IMODE(directory.stat().st_mode) == 0o700, "a transaction's directory is open to others")
        held = {path.name for path in directory.iterdir()}
        require("journal.json" not in held, f"a journal is still open: {held}, {recovered}")
        if "record.json" not in held:
            continue  # killed before its journal was there: the next commit removes it
        record = json.loads((directory / "record.json").read_text())
        outcome = record["result"]["outcome"]
        backups = {entry["backup"] for entry in record["entries"] if entry.get("backup")}
        # Copies for showing: there or not, whole or not, whenever the change stands.
        staged = [entry["number"] for entry in record["entries"] if entry.get("path") and entry.get("new")]
        written = {f"{number}.after" for number in staged} if outcome == "applied" else set()
        require(
            held - RECORD_NAMES - written == (backups if outcome == "applied" else set()),
            f"{outcome}, and its directory holds {sorted(held)}",
        )
        judge_written(directory, record, held & written)
        if end and record["run"] == scene.request["run"]:
            require((outcome == "applied") == (end == "after"), "the record is of another end: " + outcome)
        if outcome == "applied" and record["run"] == scene.request["run"]:
            judge_backups(scene, directory, record)


def judge_written(directory: Path, record: dict[str, Any], names: set[str]) -> None:
    """Raises BrokenError unless each copy is root's alone, no key, and what was written, or cut off."""
    entries = {f"{entry['number']}.after": entry for entry in record["entries"]}
    for name in names:
        content, after = (directory / name).read_bytes(), entries[name]["after"]
        require(stat.S_IMODE((directory / name).stat().st_mode) == 0o600, f"{name} is open to others")
        require(b"PRIVATE KEY-----" not in content, f"{name} holds a private key")
        whole = hashlib.sha256(content).hexdigest() == after["sha256"]
        require(whole or len(content) < after["size"], f"{name} is not what was written")


def judge_backups(scene: Scene, directory: Path, record: dict[str, Any]) -> None:
    """Raises BrokenError unless every backup is what was there before, byte, mode, owner, attributes and time."""
    base = str(scene.host.base) + "/"
    for entry in record["entries"]:
        if not entry.get("backup"):
            continue
        path = entry["path"].replace("/var/lib/docker/", base + "var-lib/docker/")
        require(
            state_of(directory / entry["backup"]) == scene.before[path.replace(base, "", 1)],
            f"the backup of {entry['path']} is not what was there",
        )
