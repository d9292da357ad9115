"""Hosts that answer the wire's protocol from files, to play what no healthy host does.

Each is a program given to Ansible as `ansible_python_interpreter` over a local connection: everything between the
controller and the host's Python is real. Its directory holds `observation.json`, and for an apply `after.json` (what
is observed once a commit was applied) and `commit` (an outcome, or one of `dies`, `locked`, `slow`). `errand.json` is
what it answers to anything else than observe and commit.
"""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from remediator.observation import Observation

MODE = "docker.files.service-unit-mode"
UNIT = "/usr/lib/systemd/system/docker.service"
PROGRAM = r"""
import base64, hashlib, json, os, sys, time, zlib

home, marker = sys.argv[1], sys.argv[-1]
behaviour = open(home + "/commit").read().strip()


def answer(document):
    body = zlib.compress(json.dumps(document).encode())
    text = base64.b64encode(body).decode()
    print(marker, "answer", len(text), hashlib.sha256(body).hexdigest())
    print(text, flush=True)


print("Welcome to this host\n" + marker, "ready none", flush=True)
if behaviour == "endless":
    while True:
        sys.stdout.write("x" * 65536)
for line in sys.stdin.buffer:
    if line.strip() == marker.encode():
        break
length, digest = sys.stdin.buffer.readline().split()
body = zlib.decompress(sys.stdin.buffer.read(int(length)))
head, rest = body.split(b"\n", 1)
sizes = [int(word) for word in head.split()[1:4]]
request = json.loads(rest[sizes[0] + sizes[1]:][:sizes[2]])
inside = os.environ.get("AWX_ISOLATED_DATA_DIR")
private = inside.split("/runner/")[0] if inside else home
# Other hosts of the same batch write there too: what is gone again between a listing and a look is no matter.
modes = {}
for directory, directories, files in os.walk(private):
    for name in directories + files:
        try:
            modes[os.path.join(directory, name)] = os.lstat(os.path.join(directory, name)).st_mode
        except FileNotFoundError:
            pass
processes = []
for number in os.listdir("/proc"):
    try:
        words = [open("/proc/%s/%s" % (number, part), errors="replace").read() for part in ("cmdline", "environ")]
        processes.append("".join(words))
    except OSError:
        pass
with open(home + "/circumstances.json", "w") as file:
    json.dump({"environment": dict(os.environ), "modes": modes, "processes": processes}, file)
errand = request.get("do")
with open(home + "/seen", "a") as seen:
    what = errand or ("commit" if "transactions" in request else "observe")
    seen.write(what + " " + head.split()[4].decode() + "\n")
if errand and behaviour not in ("locked", "dies"):
    with open(home + "/order.json", "w") as order:
        json.dump(request, order)
    told = json.load(open(home + "/errand.json")) if os.path.exists(home + "/errand.json") else {}
    answer({"format_version": 1, "run": request["run"], "host": request["host"], "results": [], **told})
    sys.exit()
if not errand and "transactions" not in request:
    answer(json.load(open(home + "/observation.json")))
    sys.exit()
with open(home + "/order.json", "w") as order:
    json.dump(request, order)
if behaviour == "dies":
    sys.exit(9)
if behaviour == "locked":
    answer({"error": {"kind": "locked", "message": "run 01X of ann has the lock"}})
    sys.exit()
if behaviour == "slow":
    open(home + "/committing", "w").close()
    for _ in range(600):
        if os.path.exists(home + "/go"):
            break
        time.sleep(0.05)
    behaviour = "applied"
if behaviour == "applied":
    os.replace(home + "/after.json", home + "/observation.json")
results = [
    {"group": t["group"], "outcome": behaviour, "reason": "\x1b[31m" + behaviour, "digest": t["digest"]}
    for t in request["transactions"]
]
told = json.load(open(home + "/errand.json")) if os.path.exists(home + "/errand.json") else {}
answer({"format_version": 1, "run": request["run"], "host": request["host"], "results": results, **told})
"""


def observation(mode: int, uid: int = 0) -> dict[str, Any]:
    """A host with Docker whose unit file has `mode`; observed by the user `uid`."""
    systems = ("docker", "containerd", "kubernetes", "control_plane", "kubelet", "etcd", "kube_proxy")
    unit = {"type": "file", "mode": mode, "user": "root", "group": "root", "resolved": UNIT, "sha256": "0" * 64}
    document = {
        "format_version": 1,
        "host": {"python": "3.11.2", "uid": uid},
        "systems": {name: {"present": name == "docker", "reason": f"stand-in {name}"} for name in systems},
        "files": {UNIT: unit},
        "references": {
            "@docker.unit_file": {"status": "resolved", "paths": [{"path": UNIT, "source": "docker.service"}]},
            "@docker.unit_drop_ins": {"status": "absent", "reason": "docker.service has none"},
        },
    }
    return json.loads(Observation.model_validate(document).model_dump_json())


def fleet(directory: Path, commits: Mapping[str, str], *, mode: int = 0o666, uid: int = 0) -> Path:
    """An inventory of stand-in hosts: name to what they do with a commit."""
    program = directory / "stand_in_python"
    program.write_text(f"#!{sys.executable} -I\n{PROGRAM}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    lines = []
    for name, commit in commits.items():
        home = directory / name
        home.mkdir()
        (home / "observation.json").write_text(json.dumps(observation(mode, uid)))
        (home / "after.json").write_text(json.dumps(observation(0o644, uid)))
        (home / "commit").write_text(commit)
        lines.append(f'{name} ansible_connection=local ansible_python_interpreter="{program} {home}"')
    inventory = directory / "hosts.ini"
    inventory.write_text("\n".join(lines) + "\n")
    return inventory


def circumstances(directory: Path, host: str) -> dict[str, Any]:
    """The environment, the private directory's modes and every process's arguments, seen from the host."""
    return json.loads((directory / host / "circumstances.json").read_text())


def told(directory: Path, host: str) -> list[str]:
    """What the host was sent, in order: `observe`, `commit`, `collect`, `recover` or `purge`."""
    return [what for what, _ in _seen(directory, host)]


def in_units(directory: Path, host: str) -> list[str]:
    """What of it is to be done by a unit of the run that its request names, and so outlives the connection."""
    order = json.loads((directory / host / "order.json").read_text())
    return [what for what, run in _seen(directory, host) if run == order["run"]]


def _seen(directory: Path, host: str) -> list[list[str]]:
    seen = directory / host / "seen"
    return [line.split() for line in seen.read_text().splitlines()] if seen.is_file() else []
