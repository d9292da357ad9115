"""A model of a host for property tests: generated observations, and what they become when a plan is applied.

The model is the tests' own reading of commit's actions: it shares no code with the program that runs on hosts.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hypothesis import strategies as st

from remediator.catalogue import Catalogue
from remediator.plan import Transaction

PLACES = ("/etc/docker", "/etc/kubernetes", "/var/lib/docker", "/usr/lib/systemd/system", "/run/containerd", "/opt/x")
SYSTEMS = ("docker", "containerd", "kubernetes", "control_plane", "kubelet", "etcd", "kube_proxy")
HOSTILE_NAMES = ("a", "b.crt", "c d", "e\x1b[31m", "f\u202eg", "h\nj", "[bold]k", "$(l)")


def file_facts() -> st.SearchStrategy[dict[str, Any]]:
    """Facts of one path, sane and insane ones."""
    return st.fixed_dictionaries(
        {
            "type": st.sampled_from(["file", "directory", "socket", "missing", "unreadable", "fifo", "file", "file"]),
            "mode": st.integers(0, 0o7777),
            "uid": st.sampled_from([0, 0, 33, 1000]),
            "gid": st.sampled_from([0, 0, 33, 998]),
            "group_members": st.integers(0, 2),
            "nlink": st.sampled_from([1, 1, 1, 2]),
            "untrusted_ancestors": st.sampled_from([[], [], [], ["/opt"], ["/etc/docker"]]),
            "user": st.just("someone"),
            "group": st.just("some"),
        }
    )


@st.composite
def observations(draw: st.DrawFn, catalogue: Catalogue) -> dict[str, Any]:
    """An observation that answers the catalogue's needs with generated facts, as a JSON document."""
    needs = catalogue.needs()
    paths = [
        f"{place}/{name}{number}"
        for place in PLACES
        for number in range(2)
        for name in draw(st.lists(st.sampled_from(HOSTILE_NAMES), max_size=2, unique=True))
    ]
    files: dict[str, Any] = {path: {**draw(file_facts()), "resolved": path} for path in paths}
    for facts in files.values():
        if facts["type"] == "missing":
            facts.update(mode=0, uid=0, gid=0)
    references = {}
    for name in sorted(needs.references):
        status = draw(st.sampled_from(["resolved", "resolved", "resolved", "absent", "unknown", "managed"]))
        chosen = draw(st.lists(st.sampled_from(paths), max_size=3, unique=True)) if paths and status != "absent" else []
        references[name] = {
            "status": status,
            "paths": [{"path": path, "source": "generated"} for path in chosen],
            "reason": "" if status == "resolved" else f"generated {status}",
        }
    for directory in ("/usr/bin", "/var/lib", "/run", "/etc"):
        files[directory] = {"type": "directory", "mode": 0o755, "resolved": directory}
    return {
        "format_version": 1,
        "host": {"python": "3.11", "uid": 0},
        "systems": {name: {"present": draw(st.booleans()), "reason": f"generated {name}"} for name in SYSTEMS},
        "files": files,
        "references": references,
        "users": {"root": 0, "etcd": 120},
        "groups": {"root": 0, "docker": 998, "etcd": 120},
        "units": {"docker.socket": draw(socket_units())},
        "audit": draw(audits(paths)),
    }


def socket_units() -> st.SearchStrategy[dict[str, Any]]:
    """docker.socket with a sane or a loose mode."""
    modes = st.sampled_from(["0660", "0666", "0600"])
    return st.builds(
        lambda mode, stale: {"load": "loaded", "properties": {"SocketMode": mode}, "need_daemon_reload": stale},
        modes,
        st.booleans(),
    )


@st.composite
def audits(draw: st.DrawFn, paths: list[str]) -> dict[str, Any]:
    """Audit facts: rules that others loaded among them."""
    watched = draw(st.lists(st.sampled_from(paths), max_size=3, unique=True)) if paths else []
    return {
        "scope": draw(st.sampled_from(["kernel", "kernel", "kernel", "container", "absent", "denied"])),
        "enabled": draw(st.sampled_from([1, 1, 2, 0])),
        "loaded": [f"-w {path} -p wa -k other" for path in watched],
        "rules_directory": draw(st.sampled_from([True, True, False])),
        "rules_files": [],
    }


def applied(document: dict[str, Any], transactions: tuple[Transaction, ...]) -> dict[str, Any]:
    """The observation after `transactions`: every action taken at its word."""
    after: dict[str, Any] = json.loads(json.dumps(document))
    for transaction in transactions:
        for action in transaction.actions:
            facts = after["files"].setdefault(action.path or "", {"type": "missing"})
            if action.do == "write":
                assert action.content is not None
                _write(after, facts, str(action.path), action.content)
                facts.update(mode=action.mode, uid=action.uid, gid=action.gid)
            elif action.do == "mkdir":
                facts.update(type="directory", mode=action.mode, uid=action.uid, gid=action.gid, resolved=action.path)
            elif action.do == "chmod":
                facts["mode"] = action.mode
            elif action.do == "chown":
                facts.update(uid=action.uid, gid=action.gid)
            elif action.do == "audit_add":
                after["audit"]["loaded"].append(" ".join(action.rule or ()))
            else:
                raise AssertionError(f"the model has no {action.do}")
        if any(step.do == "daemon_reload" for step in transaction.activation):
            after["units"]["docker.socket"]["properties"]["SocketMode"] = "0660"
        after["files"].pop("", None)
    return after


def _write(after: dict[str, Any], facts: dict[str, Any], path: str, content: bytes) -> None:
    import base64

    facts.update(
        type="file",
        resolved=path,
        content=base64.b64encode(content).decode(),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    if path.endswith(".rules") and path not in after["audit"]["rules_files"]:
        after["audit"]["rules_files"].append(path)
