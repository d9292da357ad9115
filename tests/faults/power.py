"""The plug pulled in the middle of an apply: a real machine under QEMU, its own kernel and disk, booted again.

The change set is TLS for the Docker daemon (which restarts it), owners and modes, and audit rules. A watcher on the
machine tells each step of the journals as it is taken, so the plug can be pulled at a step, or a time after the first.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from remediator.host.common.audit_rules import listed_form, parse_rules
from tests.faults.scene import BrokenError, require
from tests.lab.docker_tls import PORT, Authority, listening, make_authority
from tests.lab.hosts.interface import LabError, LabHost
from tests.lab.hosts.machine import Machine
from tests.lab.hosts.workload import running_containers
from tests.lab.product import REMEDIATE, Product

ROLES = ("docker_tls", "docker_files", "docker_audit")
PATIENCE = 900.0
# Of what comes before the apply: an emulated machine on a busy computer answers late now and then.
TRIES = 4
# From an apply's first journal to the end of its last, on two idle cores. A cut after the end is a cut too.
APPLY_SECONDS = 25.0
# Asks the kernel (inotify): a small transaction's journal is there for less time than lies between two looks.
_WATCH = """
import ctypes, os, struct
root, watched, seen = b"/var/lib/remediator/transactions", {}, set()
libc = ctypes.CDLL(None, use_errno=True)
notices = libc.inotify_init1(os.O_CLOEXEC)
CREATED, DELETED, MOVED_FROM, MOVED_TO = 0x100, 0x200, 0x40, 0x80
def tell(one, name, there):
    if there != ((one, name) in seen):
        (seen.add if there else seen.discard)((one, name))
        words = ("+" if there else "-", one.partition(b".")[2].decode(), name.decode())
        print(*words, flush=True)
def watch(one):
    mark = libc.inotify_add_watch(notices, os.path.join(root, one), CREATED | DELETED | MOVED_FROM | MOVED_TO)
    if mark < 0:
        raise OSError(ctypes.get_errno(), "inotify_add_watch", one)
    watched[mark] = one
    for name in sorted(os.listdir(os.path.join(root, one))) if one else ():
        tell(one, name, True)
watch(b"")
print("watching", flush=True)
for one in os.listdir(root):
    watch(one)
while True:
    held = os.read(notices, 65536)
    while held:
        mark, what, _, length = struct.unpack_from("iIII", held)
        name, held = held[16:16 + length].rstrip(bytes(1)), held[16 + length:]
        one = watched.get(mark)
        if one:
            tell(one, name, bool(what & (CREATED | MOVED_TO)))
        elif one is not None and what & (CREATED | MOVED_TO):
            try:
                watch(name)
            except OSError:
                pass  # gone again
"""
# Everything that this change set could touch and that a boot by itself leaves alone, with its facts.
_FACTS = """
import hashlib, json, os, stat
found = {}
def look(path):
    facts = os.lstat(path)
    digest = hashlib.sha256(open(path, "rb").read()).hexdigest() if stat.S_ISREG(facts.st_mode) else ""
    when = facts.st_mtime_ns if digest else 0
    found[path] = [stat.S_IFMT(facts.st_mode), stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid, digest, when]
for top in ("/etc/docker", "/etc/systemd/system", "/etc/audit/rules.d", "/etc/default", "/etc/tmpfiles.d",
            "/usr/lib/systemd/system"):
    for place, directories, files in os.walk(top):
        for name in [place] + [os.path.join(place, each) for each in directories + files]:
            look(name)
root = "/var/lib/remediator/transactions"
held = {}
for one in os.listdir(root) if os.path.isdir(root) else []:
    names = os.listdir(os.path.join(root, one))
    record = os.path.join(root, one, "record.json")
    held[one] = [names, json.load(open(record)) if os.path.exists(record) else None]
print(json.dumps({"found": found, "held": held, "state": os.listdir("/var/lib/remediator")}))
"""
_DRIFT = (
    "chmod 0775 /etc/docker; chown 4711:4711 /etc/default/docker; chmod 0664 /usr/lib/systemd/system/docker.service"
)
_FILE, _DIRECTORY = 0o100000, 0o040000
_UNIT = "remediator-recover.service"


@dataclass(frozen=True)
class Cut:
    """When the plug is pulled: at the first `step` (`+ docker journal.json`), or `seconds` after the first of all."""

    step: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"at step {self.step}" if self.step else f"{self.seconds:.2f} s after the first journal"


# Each step that the journal of the transaction with the restart takes, and the journals of the others.
STEPS = (
    "+ docker record.new",
    "+ docker journal.json",
    "+ docker broken.new",
    "+ docker activating",
    "+ docker record.json",
    "- docker journal.json",
    "+ files journal.json",
    "+ audit journal.json",
)


@dataclass
class Bench:
    """A machine that is ready for an apply: `inventory` names it, `facts` are what it was before."""

    machine: Machine
    product: Product
    authority: Authority
    inventory: Path
    facts: dict[str, Any]


@contextmanager
def prepared(suite: str, directory: Path) -> Iterator[Bench]:
    """A fresh machine with a certificate issued and some drift; gone at the end. Raises LabError."""
    with Machine.start(suite) as machine:
        home = directory / "home"
        home.mkdir()
        product = Product(home)
        authority = make_authority(product, directory)
        path = listening(machine.host, directory, docker_tls_names=["127.0.0.1"], ansible_timeout=120)
        for _ in range(TRIES):
            issued = authority.issue(path)
            if issued.code == 0:
                break
        require(issued.code == 0, issued.err + issued.out)
        machine.host.script(_DRIFT + "\nsystemctl daemon-reload\nsync\n")
        yield Bench(machine, product, authority, path, facts(machine.host))


def facts(host: LabHost) -> dict[str, Any]:
    """What _FACTS finds."""
    found: dict[str, Any] = json.loads(host.text("python3", "-c", _FACTS))
    return found


@contextmanager
def watched(host: LabHost) -> Iterator[Queue[tuple[float, str]]]:
    """The steps of the host's journals, each with the moment at which it was told."""
    steps: Queue[tuple[float, str]] = Queue()
    words = ["ssh", *host.ssh_options(), "--", f"{host.user}@{host.address}", "exec python3 -u -"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(_WATCH)
    process.stdin.close()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            steps.put((time.monotonic(), line.strip()))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        require(steps.get(timeout=PATIENCE)[1] == "watching", f"{host.name}: its watcher does not start")
        yield steps
    finally:
        process.kill()
        process.wait()
        reader.join(30)


def apply_words(bench: Bench) -> list[str]:
    """The installed command, applying."""
    roles = [word for role in ROLES for word in ("--role", role)]
    return [str(REMEDIATE), "apply", "-i", str(bench.inventory), "--yes", *roles, "--allow", "docker_tls"]


@contextmanager
def applying(bench: Bench) -> Iterator[subprocess.Popen[str]]:
    """An apply that runs; whatever is left of it is killed at the end, and its temporary files are removed."""
    with tempfile.TemporaryDirectory(prefix="remediator-cut-") as temporary:
        environment = {"HOME": str(bench.product.home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        process = subprocess.Popen(
            apply_words(bench),
            env={**environment, "TMPDIR": temporary},
            cwd=bench.product.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def whole_apply(bench: Bench) -> tuple[float, list[str]]:
    """An apply without a fault: seconds from its first journal to the end of its last, and the steps it took."""
    with watched(bench.machine.host) as steps, applying(bench) as process:
        output, _ = process.communicate(timeout=PATIENCE)
        require(process.returncode == 0, output)
        told = [steps.get() for _ in range(steps.qsize())]
    journals = [when for when, step in told if "journal.json" in step]
    return journals[-1] - journals[0], [step for _, step in told]


def pull(bench: Bench, cut: Cut) -> list[str]:
    """Applies, and pulls the plug then; the steps that were told until then. Raises BrokenError where it never came."""
    told: list[str] = []
    with watched(bench.machine.host) as steps, applying(bench) as process:
        end, due = time.monotonic() + PATIENCE, 0.0
        while not due or time.monotonic() < due:
            try:
                when, step = steps.get(timeout=max(0.001, min(1.0, due - time.monotonic()) if due else 1.0))
            except Empty:
                if not due and (process.poll() is not None or time.monotonic() > end):
                    process.kill()
                    raise BrokenError(f"the apply ended before, after {told}: {process.communicate()[0]}") from None
                continue
            told.append(step)
            if not due and (step == cut.step or (not cut.step and "journal.json" in step)):
                due = when + cut.seconds
        bench.machine.pull_plug()
    return told


def recovered(bench: Bench) -> str:
    """Boots the machine again and says how it ended: each group's end. Raises BrokenError where that is neither."""
    machine = bench.machine
    machine.boot()
    host = machine.host
    now = facts(host)
    open_ones = [one for one, (names, _) in now["held"].items() if "journal.json" in names]
    require(not open_ones, f"after the boot journals are open: {open_ones}; {boot_log(host)}")
    require(_UNIT not in str(sorted(now["found"])), "the boot unit is still there")
    require("broken.json" not in now["state"], "the host is marked broken")
    records = [record for _, record in now["held"].values() if record is not None]
    applied = {record["group"] for record in records if record["result"]["outcome"] == "applied"}
    judge_files(bench.facts["found"], now["found"], [record for record in records if record["group"] in applied])
    order = judge_order(boot_log(host))
    judge_services(host, "docker" in applied)
    ends = [f"{record['group']} {record['result']['outcome']}" for record in records]
    return ", ".join(sorted(ends) or ["nothing begun"]) + order


def judge_files(before: dict[str, Any], now: dict[str, Any], applied: list[dict[str, Any]]) -> None:
    """Raises BrokenError unless everything is as before but for what the applied transactions changed, all of it."""
    wanted = dict(before)
    made = set()
    for entry in (entry for record in applied for entry in record["entries"] if "path" in entry):
        state = entry["after"]
        kind = {"file": _FILE, "directory": _DIRECTORY}.get(state["type"])
        if kind is not None:
            wanted[entry["path"]] = [kind, state["mode"], state["uid"], state["gid"], state.get("sha256", ""), 0]
            made.add(entry["path"])
    wanted = {path: state for path, state in wanted.items() if path.startswith(("/etc/", "/usr/lib/"))}
    differing = []
    for path in sorted(set(wanted) | set(now)):
        one, other = wanted.get(path), now.get(path)
        content = one is not None and other is not None and (one[4] == "" or one[4] == other[4])
        same = content and one is not None and other is not None and one[:4] == other[:4]
        if not same or (path not in made and one is not None and other is not None and one[5] != other[5]):
            differing.append(f"{path}: {one} became {other}")
    require(not differing, "; ".join(differing[:6]))


def boot_log(host: LabHost) -> str:
    """What this boot's journal says of the units that matter."""
    units = [word for unit in (_UNIT, "docker.service", "auditd.service") for word in ("-u", unit)]
    return host.text("journalctl", "-b", "-o", "short-monotonic", "--no-pager", *units)


def judge_order(log: str) -> str:
    """Whether anything was recovered at boot, in words. Raises BrokenError unless that had ended before dockerd."""
    docker = moment(log, r"Starting docker\.service|dockerd\[\d+\]")
    # That it started was said before journald could file it under its unit.
    ended = moment(log, r"Finished remediator-recover")
    if "remediator-recover" not in log and "remediator[" not in log:
        return "; no boot unit"
    require(ended is not None and docker is not None and ended < docker, f"dockerd did not wait: {log}")
    return "; by the boot unit, before dockerd"


def moment(log: str, words: str) -> float | None:
    """The seconds since boot of the first line that matches."""
    for line in log.split("\n"):
        found = re.match(r"\[\s*([0-9.]+)\]", line)
        if found is not None and re.search(words, line) is not None:
            return float(found[1])
    return None


def judge_services(host: LabHost, listening_now: bool) -> None:
    """Raises BrokenError unless dockerd runs as its files say, its container is back, and the rules are the files'."""
    end = time.monotonic() + PATIENCE
    while running_containers_now(host) != ["web"]:
        require(time.monotonic() < end, f"containers: {running_containers_now(host)}")
        time.sleep(2)
    listens = f":{PORT} " in host.text("ss", "-ltn") + " "
    require(listens == listening_now, f"dockerd {'listens' if listens else 'does not listen'} on {PORT}")
    loaded = {listed_form(line) for line in host.text("auditctl", "-l").split("\n")}
    text = host.text("sh", "-c", "cat /etc/audit/rules.d/*.rules")
    on_disk = {rule.form for rule in parse_rules(text) if rule.form is not None and rule.form[0] == "watch"}
    require(on_disk <= loaded, f"not loaded: {on_disk - loaded}")


def running_containers_now(host: LabHost) -> list[str]:
    """The containers that run; none while the daemon is not there yet."""
    try:
        return running_containers(host)
    except LabError:
        return []


def attempt(suite: str, cut: Cut, directory: Path) -> str:
    """One power cut on a fresh machine, from beginning to end. Raises BrokenError."""
    try:
        with prepared(suite, directory) as bench:
            told = pull(bench, cut)
            try:
                return recovered(bench)
            except (BrokenError, LabError) as error:
                raise BrokenError(f"{suite}, {cut}, after {told[-3:]}: {error}") from error
    except AssertionError as error:
        raise BrokenError(f"{suite}, {cut}: {error}") from error


def attempt_anew(suite: str, cut: Cut) -> str:
    """As `attempt`, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="remediator-faults-") as directory:
        return attempt(suite, cut, Path(directory))
