"""A Docker host for property tests of TLS: generated states, what a plan makes of them, and how dockerd then runs.

This is the tests' own reading of dockerd and of commit's actions: it shares no code with what it tests, and it fails
where dockerd would not start.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import strategies as st

from remediator.plan import Action, Transaction
from remediator.tls.certificates import public_sha256, read_chain
from tests.tls_material import filled

Document = dict[str, Any]

UNIT = "/lib/systemd/system/docker.service"
THEIRS = "/etc/systemd/system/docker.service.d/10-theirs.conf"
OURS = "/etc/systemd/system/docker.service.d/zz-remediator-listeners.conf"
ENVIRONMENT = "/etc/default/docker"
CONFIG = "/etc/docker/daemon.json"
STAGED_KEY = "/var/lib/remediator/tls/key.pem"
DIRECTORY = "/etc/docker/tls"
FILES = {"tlscacert": f"{DIRECTORY}/ca.pem", "tlscert": f"{DIRECTORY}/cert.pem", "tlskey": f"{DIRECTORY}/key.pem"}
CERTIFICATES = ("good", "ending", "expired", "renewed", "misnamed", "of-other-ca")
# What the kernel calls the socket of an address. Go opens one for both families.
_KERNEL = {"0.0.0.0": "::", "localhost": "127.0.0.1"}
_RUN = "/usr/sbin/dockerd{} --containerd=/run/containerd/containerd.sock{}"
_FLAG = re.compile(
    r"(?:-H[ =]?|--host[= ])(\S+)|--(tlsverify|tls)(?![a-z])(?:=(\S+))?|--(tlscacert|tlscert|tlskey)[= ](\S+)"
)


@st.composite
def daemons(draw: st.DrawFn) -> Document:
    """A host whose dockerd runs as its files say, or as they said before, as an observation document."""
    tls = draw(st.sampled_from(["none", "none", "tls", "tlsverify"]))
    tls_place = draw(st.sampled_from(["json", "flags"]))
    address = draw(st.sampled_from([None, "0.0.0.0:2375", "192.0.2.7:2376", "127.0.0.1:2375"]))
    place = draw(st.sampled_from(["json", "unit", "environment"]))
    theirs: list[Document] = [{}, {"debug": True}, {"log-opts": {"max-size": "10m"}, "labels": ["a=b"]}]
    settings = dict(draw(st.sampled_from(theirs)))
    flags = {"unit": " -H fd://" if place != "json" else "", "environment": ""}
    if address is not None and place == "json":
        settings["hosts"] = ["unix:///run/docker.sock", f"tcp://{address}"]
    elif address is not None:
        flags[place] += draw(st.sampled_from([f" -H tcp://{address}", f" --host=tcp://{address}"]))
    if tls != "none" and tls_place == "json":
        settings.update({tls: True, **FILES})
    elif tls != "none":
        flags["unit"] += f" --{tls}" + "".join(f" --{name}={path}" for name, path in FILES.items())
    there = tls != "none"
    certificate = draw(st.sampled_from(CERTIFICATES)) if there else ""
    command = _RUN.format(flags["unit"], " $DOCKER_OPTS" if draw(st.booleans()) or flags["environment"] else "")
    in_drop_in = draw(st.booleans())
    plain = _RUN.format(" -H fd://", "") if in_drop_in else command
    files: Document = {
        UNIT: _file(f"[Service]\nEnvironmentFile=-{ENVIRONMENT}\nExecStart={plain}\nType=notify\n"),
        ENVIRONMENT: _file(f'# Options\nDOCKER_OPTS="{flags["environment"].strip()}"\nOTHER=1\n'),
        CONFIG: _config(draw, settings),
        **_tls_files(certificate),
        STAGED_KEY: draw(st.sampled_from([{"type": "missing"}, {"type": "file", "public_sha256": "public:good"}])),
        OURS: {"type": "missing"},
    }
    if in_drop_in:
        files[THEIRS] = _file(f"[Service]\nExecStart=\nExecStart={command}\n")
    directories = ("/etc/docker", "/etc/systemd/system", *([THEIRS.rpartition("/")[0]] if in_drop_in else []))
    files.update({path: {"type": "directory", "mode": 0o755} for path in directories})
    files.setdefault(THEIRS.rpartition("/")[0], {"type": "missing"})
    document = {
        "format_version": 1,
        "host": {"python": "3.11", "uid": 0},
        "systems": {"docker": {"present": True, "reason": "generated"}},
        "files": {path: {"resolved": path, **facts} for path, facts in files.items()},
        "references": {"@docker.config_file": {"status": "resolved", "paths": [{"path": CONFIG, "source": "default"}]}},
        "units": {"docker.service": {"load": "loaded", "active": "active", "fragment": UNIT}},
    }
    if not there:
        document["files"][DIRECTORY] = {"type": "missing", "resolved": DIRECTORY}
        for path in FILES.values():
            document["files"][path]["resolved"] = None
    after = restarted(filled(document))
    if draw(st.booleans()):
        after["docker_listeners"] = draw(st.sampled_from([[], [{"address": "::", "port": 2375, "speaks": "plain"}]]))
    return after


def applied(document: Document, transactions: tuple[Transaction, ...]) -> Document:
    """The host after `transactions`, restarted where they say so. Fails where one of their probes would."""
    after: Document = json.loads(json.dumps(document))
    for transaction in transactions:
        for wanted in transaction.preconditions:
            facts = after["files"].get(wanted.path, {"type": "missing"})
            assert facts["type"] == wanted.type, wanted.path
            assert wanted.sha256 in (None, facts.get("sha256")), wanted.path
        for action in transaction.actions:
            _act(after["files"], action)
        if any(step.do == "restart" for step in transaction.activation):
            reloaded = any(step.do == "daemon_reload" for step in transaction.activation)
            assert reloaded or all(action.path != OURS for action in transaction.actions)
            after = restarted(after)
        for step in transaction.probe:
            if step.do == "mutual_tls":
                _handshake(after, str(step.address), str(step.sha256))
    return after


def restarted(document: Document) -> Document:
    """The host once dockerd has started from its files. Fails where it would not."""
    files = document["files"]
    drop_ins = [path for path in (THEIRS, OURS) if files.get(path, {"type": "missing"})["type"] == "file"]
    commands = [line for path in (UNIT, *drop_ins) for line in re.findall("(?m)^ExecStart=(.*)$", _text(files[path]))]
    command = commands[-1]
    unit = document["units"]["docker.service"]
    unit["drop_ins"] = drop_ins
    unit["properties"] = {"ExecStart": f"{{ path=/usr/sbin/dockerd ; argv[]={command} ; ignore_errors=no ; pid=7 }}"}
    options = re.search('DOCKER_OPTS="(.*)"', _text(files[ENVIRONMENT]))
    told = _told(command.replace("$DOCKER_OPTS", options[1] if options else ""), _settings(files))
    for name in FILES:
        paths = [{"path": told[name], "source": "generated"}] if name in told else []
        status = {"status": "resolved" if paths else "absent", "paths": paths}
        document["references"][f"@docker.{name}"] = status
    document["docker_listeners"] = _listeners(told, files)
    return document


def _settings(files: Document) -> Document:
    text = _text(files[CONFIG]) if files[CONFIG]["type"] == "file" else ""
    found: Document = json.loads(text) if text.strip() else {}
    return found


def _told(command: str, settings: Document) -> Document:
    """Every option that this is about; fails where one is given in both places."""
    flags: Document = {}
    for host, switch, value, file, path in _FLAG.findall(command):
        if host:
            flags.setdefault("hosts", []).append(host)
        elif switch:
            flags[switch] = value != "false"
        else:
            flags[file] = path
    both = set(flags) & set(settings)
    assert not both, f"dockerd does not start: {both} are given twice"
    return {**settings, **flags}


def _listeners(told: Document, files: Document) -> list[Document]:
    """How dockerd would answer. Fails where it would not start for want of good files."""
    tls = "tlsverify" in told or told.get("tls")
    given = told.get("hosts", ["tcp://localhost:2376"] if tls else [])
    hosts = [host.removeprefix("tcp://") for host in given if host.startswith("tcp://")]
    speaks, certificate = "plain", None
    if tls:
        speaks = "mutual_tls" if told.get("tlsverify", False) else "tls"
        leaf = read_chain(base64.b64decode(files[told["tlscert"]]["content"]))[0]
        assert files[told["tlskey"]]["public_sha256"] == public_sha256(leaf), "dockerd does not start: another key"
        assert files[told["tlscacert"]]["type"] == "file"
        certificate = base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()
    found = []
    for host in dict.fromkeys(hosts):
        address, _, port = host.rpartition(":")
        found.append(
            {
                "address": _KERNEL.get(address, address),
                "port": int(port),
                "speaks": speaks,
                "certificate": certificate,
            }
        )
    return found


def _handshake(host: Document, address: str, sha256: str) -> None:
    name, _, port = address.rpartition(":")
    wanted = (_KERNEL.get(name, name), int(port))
    found = [one for one in host["docker_listeners"] if (one["address"], one["port"]) == wanted]
    assert [one["speaks"] for one in found] == ["mutual_tls"], f"{address} speaks no mutual TLS"
    served = hashlib.sha256(base64.b64decode(found[0]["certificate"])).hexdigest()
    assert served == sha256, f"{address} serves another certificate"


def _act(files: Document, action: Action) -> None:
    facts = files.setdefault(str(action.path), {"type": "missing"})
    if action.do == "mkdir":
        assert facts["type"] == "missing"
        facts.update(type="directory")
    elif action.do == "write":
        assert action.content is not None
        facts.update(_file(action.content.decode()))
    elif action.do == "install_key":
        facts.update(type="file", public_sha256=action.public_sha256, key_problem=None)
        if action.source == "host":
            assert files[STAGED_KEY]["public_sha256"] == action.public_sha256, "the key is not there"
            files[STAGED_KEY] = {"type": "missing"}
    elif action.do == "chmod":
        facts["mode"] = action.mode
    else:
        raise AssertionError(f"the model has no {action.do}")
    facts.update(resolved=str(action.path))
    facts.update({name: value for name in ("mode", "uid", "gid") if (value := getattr(action, name)) is not None})


def _file(text: str) -> Document:
    content = text.encode()
    encoded = base64.b64encode(content).decode()
    return {"type": "file", "mode": 0o644, "content": encoded, "sha256": hashlib.sha256(content).hexdigest()}


def _config(draw: st.DrawFn, settings: Document) -> Document:
    if not settings:
        return draw(st.sampled_from([{"type": "missing"}, _file(""), _file("{}\n")]))
    indent = draw(st.sampled_from([None, 2, "\t"]))
    return _file(json.dumps(settings, indent=indent) + draw(st.sampled_from(["", "\n"])))


def _tls_files(certificate: str) -> Document:
    if not certificate:
        return {path: {"type": "missing", "key_problem": "it cannot be read: no such file"} for path in FILES.values()}
    authority = "other-ca" if certificate == "of-other-ca" else "ca"
    usual = {"type": "file", "mode": 0o444}
    return {
        FILES["tlscacert"]: {**usual, "content": f"pem:{authority}"},
        FILES["tlscert"]: {**usual, "content": f"pem:{certificate}"},
        FILES["tlskey"]: {"type": "file", "mode": 0o400, "public_sha256": f"public:{certificate}"},
        DIRECTORY: {"type": "directory", "mode": 0o755},
    }


def _text(facts: Document) -> str:
    return base64.b64decode(facts["content"]).decode()
