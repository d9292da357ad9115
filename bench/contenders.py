"""The ways to check the same hosts: the sweep, the floor, builtin Ansible tasks and pyinfra."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fleet import USER, Fleet

BIN = Path(sys.executable).parent

# Sixty paths that hardening looks at on a Docker or Kubernetes host, as literal tasks would name them.
PATHS = tuple(Path(__file__).with_name("paths.txt").read_text().split())


@dataclass(frozen=True)
class Timing:
    """One run of one contender: seconds of wall clock, and the largest resident set in MiB."""

    seconds: float
    memory: float
    output: str


def run(words: list[str], environment: dict[str, str] | None = None, accepted: tuple[int, ...] = (0,)) -> Timing:
    """Run a command to its end, timed from outside."""
    started = time.perf_counter()
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    out, err = process.communicate(timeout=1800)
    seconds = time.perf_counter() - started
    if process.returncode not in accepted:
        raise SystemExit(f"bench: {words[0]} ended {process.returncode}\n{err[-2000:]}{out[-2000:]}")
    return Timing(seconds, 0.0, out)


def sweep(fleet: Fleet, size: int, forks: int, transport: str = "ssh") -> Timing:
    """The whole command over the whole catalogue, start to printed result, with its own peak memory."""
    words = [str(BIN / "remediate"), "check", "-i", str(fleet.inventory(size)), "--forks", str(forks),
             "--transport", transport, "--format", "json"]  # fmt: skip
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    out = process.stdout.read() if process.stdout is not None else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1, 3):
        raise SystemExit(f"bench: the sweep ended {process.returncode}")
    return Timing(seconds, usage.ru_maxrss / 1024, out)


def floor(fleet: Fleet, size: int, forks: int) -> Timing:
    """`ssh host python3 -c pass` on every host, `forks` at a time: the least that a tool over ssh can cost."""

    def one(host: str) -> None:
        words = ["ssh", *fleet.ssh_options, f"{USER}@{host}", "python3 -c pass"]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)

    started = time.perf_counter()
    with ThreadPoolExecutor(forks) as pool:
        list(pool.map(one, fleet.hosts[:size]))
    return Timing(time.perf_counter() - started, 0.0, "")


def builtin(fleet: Fleet, size: int, forks: int) -> Timing:
    """An ansible-playbook of builtin tasks with as many checks: a stat and its judgement for each."""
    tasks: list[dict[str, Any]] = []
    for path in PATHS:
        tasks.append({"name": f"Look at {path}", "ansible.builtin.stat": {"path": path}, "register": "found"})
    play = [{"name": "Checks", "hosts": "all", "gather_facts": False, "tasks": tasks}]
    book = fleet.home / "builtin.yml"
    book.write_text(json.dumps(play))
    words = [str(BIN / "ansible-playbook"), "-i", str(fleet.inventory(size)), "-f", str(forks), str(book)]
    return run(words, {"ANSIBLE_HOST_KEY_CHECKING": "True"})


def pyinfra(fleet: Fleet, size: int, forks: int) -> Timing:
    """The same file checks as pyinfra operations in a dry run."""
    hosts = fleet.home / "pyinfra_hosts.py"
    data = {"ssh_user": USER, "ssh_port": fleet.port, "ssh_key": str(fleet.key),
            "ssh_known_hosts_file": f"{fleet.home}/known_hosts", "ssh_strict_host_key_checking": "yes"}  # fmt: skip
    hosts.write_text(f"hosts = ({list(fleet.hosts[:size])!r}, {data!r})\n")
    deploy = fleet.home / "pyinfra_checks.py"
    # The operation that decides mode and owner of one path; --dry changes nothing, as a check does.
    lines = ["from pyinfra.operations import files", f"for path in {PATHS!r}:"]
    lines.append("    files.file(path=path, mode='644', user='root', group='root', force=True)")
    deploy.write_text("\n".join(lines) + "\n")
    return run([str(BIN / "pyinfra"), "--dry", "--parallel", str(forks), str(hosts), str(deploy)])


def verdicts(timing: Timing) -> dict[str, dict[str, str]]:
    """Verdict by control by host, from a sweep's JSON."""
    document = json.loads(timing.output)
    return {host["host"]: {v["control"]: v["verdict"] for v in host["verdicts"]} for host in document["hosts"]}
