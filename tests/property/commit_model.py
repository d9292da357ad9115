"""What becomes of a generated host when a plan is applied, and what a commit would refuse to do to it.

This is the tests' own reading of commit's actions: it shares no code with the program that runs on hosts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from remediator.plan import Action, Precondition, Transaction

Document = dict[str, Any]

_WATCH = re.compile(r"-w (\S+) -p ([rwxa]+)((?: -k \S+)*)")
_FIELDS = re.compile(r"-a always,exit -F (?:path|dir)=(\S+) -F perm=([rwxa]+)((?: -F key=\S+| -k \S+)*)")
_SETTING = re.compile(r"^(Socket(?:Mode|User|Group))=(.*)$", re.MULTILINE)


def applied(document: Document, transactions: tuple[Transaction, ...]) -> Document:
    """The observation after `transactions`: every action taken at its word.

    Fails where one meets another host than it was planned for, or what a commit would refuse.
    """
    after: Document = json.loads(json.dumps(document))
    for transaction in transactions:
        for wanted in transaction.preconditions:
            _check_precondition(after, wanted)
    for transaction in transactions:
        made: set[str] = set()
        for action in transaction.actions:
            if action.path is not None:
                _check_place(after, action, made)
                made |= {action.path} if action.do == "mkdir" else set()
            else:
                _check_rule(after["audit"], action, transaction)
        for action in transaction.actions:
            _act(after, action)
        if any(step.do == "daemon_reload" for step in transaction.activation):
            _reload(after)
        after = with_ancestors(after)
    return after


def with_ancestors(document: Document) -> Document:
    """The observation with every file's untrusted ancestors as its directories are now."""
    files = document["files"]
    open_to_others = [path for path, facts in files.items() if facts["type"] == "directory" and _is_open(facts)]
    for path, facts in files.items():
        others = [above for above in facts.get("untrusted_ancestors", ()) if above not in files]
        facts["untrusted_ancestors"] = [*others, *(above for above in open_to_others if path.startswith(f"{above}/"))]
    return document


def _is_open(facts: Document) -> bool:
    if facts.get("uid", 0) != 0 or facts["mode"] & 0o002:
        return True
    return bool(facts["mode"] & 0o020 and (facts.get("gid", 0) != 0 or facts.get("acl")))


def _check_precondition(host: Document, wanted: Precondition) -> None:
    facts = host["files"].get(wanted.path, {"type": "missing"})
    assert facts["type"] == wanted.type, f"stale: {wanted.path} is a {facts['type']}"
    assert facts.get("resolved", wanted.path) == wanted.resolved, f"stale: {wanted.path}"
    for name in ("mode", "uid", "gid", "sha256"):
        then = getattr(wanted, name)
        assert then is None or facts.get(name, 0) == then, f"stale: {name} of {wanted.path}"


def _check_place(host: Document, action: Action, made: set[str]) -> None:
    """Fails where a commit would refuse the action by the state of its path or of the directory above it."""
    files = host["files"]
    facts = files.get(action.path, {"type": "missing"})
    assert facts["type"] in ("missing", "file", "directory", "socket"), f"{action.path} is a {facts['type']}"
    assert not facts.get("untrusted_ancestors"), f"others can write above {action.path}"
    assert facts["type"] == "directory" or facts.get("nlink", 1) == 1, f"{action.path} has hard links"
    assert not facts.get("read_only"), f"{action.path} is on a read-only filesystem"
    assert not (facts.get("immutable") and facts["type"] in ("file", "directory")), f"{action.path} is immutable"
    if action.do in ("write", "mkdir", "remove"):
        assert not facts.get("mount_point"), f"{action.path} is a mount point"
        above = str(action.path).rpartition("/")[0]
        directory = files.get(above, {"type": "missing"})
        assert above in made or directory["type"] == "directory", f"{above} is no directory"
        assert not directory.get("read_only"), f"{above} is on a read-only filesystem"
        assert not directory.get("immutable"), f"{above} is immutable"


def _act(host: Document, action: Action) -> None:
    facts = host["files"].setdefault(action.path, {"type": "missing"}) if action.path is not None else {}
    if action.do == "write":
        assert action.content is not None
        _write(host, facts, str(action.path), action.content)
        facts.update(mode=action.mode, uid=action.uid, gid=action.gid)
    elif action.do == "mkdir":
        facts.update(type="directory", mode=action.mode, uid=action.uid, gid=action.gid, resolved=action.path)
    elif action.do == "chmod":
        facts["mode"] = action.mode
    elif action.do == "chown":
        # chown(2) clears setuid and setgid bits of what is no directory.
        cleared = 0 if facts["type"] == "directory" else 0o6000
        facts.update(uid=action.uid, gid=action.gid, mode=facts["mode"] & ~cleared)
    elif action.do in ("audit_add", "audit_delete"):
        _change_rules(host["audit"], _words(action), add=action.do == "audit_add")
    else:
        raise AssertionError(f"the model has no {action.do}")


def _write(host: Document, facts: Document, path: str, content: bytes) -> None:
    facts.update(
        type="file",
        resolved=path,
        content=base64.b64encode(content).decode(),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    if path.endswith(".rules"):
        host["audit"]["rules_files"] = sorted({*host["audit"]["rules_files"], path})


def _check_rule(audit: Document, action: Action, transaction: Transaction) -> None:
    """Fails where the kernel would refuse the change of its rules, or has nothing to change."""
    rule, add = _words(action), action.do == "audit_add"
    assert audit["enabled"] == 1, "the kernel's rules are locked"
    deleted = {_meaning(_words(other)) for other in transaction.actions if other.do == "audit_delete"}
    there = _meaning(rule) in {_meaning(line) for line in audit["loaded"]} - (deleted if add else set())
    assert there != add, f"{rule} is {'loaded already' if add else 'not loaded'}"


def _words(action: Action) -> str:
    return " ".join(action.rule or ())


def _change_rules(audit: Document, rule: str, add: bool) -> None:
    """One rule more or less in the kernel, which lists every watch with -w; what is as wanted already stays."""
    there = [line for line in audit["loaded"] if _meaning(line) == _meaning(rule)]
    if bool(there) == add:
        return
    if add:
        path, perms, keys = _meaning(rule)
        audit["loaded"].append(" ".join(["-w", path, "-p", perms, *(word for key in keys for word in ("-k", key))]))
    else:
        audit["loaded"].remove(there[0])


def _meaning(rule: str) -> tuple[str, str, tuple[str, ...]]:
    """Path, access and keys of a watch, however it is spelled; a rule that is none is itself."""
    found = _WATCH.fullmatch(rule) or _FIELDS.fullmatch(rule)
    if found is None:
        return (rule, "", ())
    keys = re.findall(r"(?:-k |key=)(\S+)", found[3])
    return (found[1].rstrip("/"), "".join(letter for letter in "rwxa" if letter in found[2]), tuple(sorted(keys)))


def _reload(host: Document) -> None:
    """docker.socket after a daemon-reload: our drop-in counts where no other comes after it."""
    unit = host["units"]["docker.socket"]
    assert not unit["need_daemon_reload"], "a daemon-reload would put other people's changes in force"
    for path, facts in host["files"].items():
        if path.endswith(".socket.d/50-remediator-access.conf") and not unit["drop_ins"]:
            content = base64.b64decode(facts.get("content") or "").decode()
            unit["properties"].update(_SETTING.findall(content))
