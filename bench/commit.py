"""What a commit adds to a host without a restart: on a real host of the lab, over SSH, with unit and journal."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from remediator import wire
from remediator.history import new_ulid
from remediator.host import commit_program
from remediator.plan import Action, Precondition, Transaction
from tests.lab.hosts.container import start_docker_host
from tests.lab.hosts.engine import engine
from tests.lab.hosts.interface import LabHost
from tests.lab.hosts.keys import make_keys

FILES = 3
HOST = "debian13"
_PLACES = tuple(f"/etc/docker/bench-{number}.json" for number in range(FILES))


@dataclass(frozen=True)
class Cost:
    """Milliseconds, as medians of one call of ssh each.

    `floor` starts a Python and ends, `commit` writes FILES files, `added` is what the second takes longer.
    """

    floor: float
    commit: float
    added: float


def commit_cost(runs: int) -> Cost:
    """The cost on a lab host with its own systemd. Floor and commit take turns."""
    with tempfile.TemporaryDirectory() as directory, engine() as lab:
        host = start_docker_host(lab, make_keys(Path(directory) / "keys"), HOST, f"{HOST}-bench")
        try:
            for place in _PLACES:
                host.put(place, _content(0))
            _commit(host, 0)
            pairs = [(_floor(host), _commit(host, number)) for number in range(1, runs + 1)]
        finally:
            host.remove()
    floors, commits = zip(*pairs, strict=True)
    added = statistics.median(full - floor for floor, full in pairs)
    return Cost(statistics.median(floors), statistics.median(commits), added)


def _floor(host: LabHost) -> float:
    return _timed(host, "cd / && exec /usr/bin/python3 -I -B -c pass", b"")[0]


def _commit(host: LabHost, number: int) -> float:
    """Writes every file anew. Ends the program where that does not come through."""
    request: dict[str, Any] = {
        "format_version": 1,
        "run": new_ulid(),
        "host": host.name,
        "roots": [],
        "who": "bench",
        "reason": "",
        "keep": {"count": 20, "days": 90},  # the policy's own: what is old is pruned in the same call
        "transactions": [{**(wanted := _change(number)).model_dump(mode="json"), "digest": wanted.digest}],
    }
    marker = wire.new_marker()
    sent = wire.frame(marker, commit_program("commit", request["run"]), json.dumps(request).encode("ascii"))
    taken, done = _timed(host, wire.command("/usr/bin/python3", marker), sent)
    answer = json.loads(wire.read_answer(host.name, done.stdout, marker, done.returncode, done.stderr))
    if [result["outcome"] for result in answer["results"]] != ["applied"]:
        raise SystemExit(f"bench: the commit on {host.name} ended {answer}")
    return taken


def _timed(host: LabHost, command: str, sent: bytes) -> tuple[float, subprocess.CompletedProcess[bytes]]:
    words = ["ssh", *host.ssh_options(), "--", f"{host.user}@{host.address}", command]
    started = time.perf_counter()
    done = subprocess.run(words, input=sent, capture_output=True, check=False)
    return (time.perf_counter() - started) * 1000, done


def _change(number: int) -> Transaction:
    """A transaction that writes every file with the next number in it."""
    content = _content(number + 1)
    actions = [Action(do="write", path=place, content=content, mode=0o644, uid=0, gid=0) for place in _PLACES]
    found = [_precondition(place, _content(number)) for place in _PLACES]
    return Transaction(group="files", changes=(), preconditions=tuple(found), actions=tuple(actions))


def _precondition(place: str, content: bytes) -> Precondition:
    digest = sha256(content).hexdigest()
    return Precondition(path=place, resolved=place, type="file", mode=0o644, uid=0, gid=0, sha256=digest)


def _content(number: int) -> bytes:
    return b'{"number": %d}\n' % number
