"""What a commit adds to a host: three files written, over SSH, against a request with nothing to do."""

from __future__ import annotations

import json
import shlex
import stat
import statistics
import subprocess
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.fleet import USER, Fleet
from remediator import wire
from remediator.history import new_ulid
from remediator.host import commit_program
from remediator.plan import Action, Precondition, Transaction

FILES = 3
# The host's own state directory and log stay out of it; what this costs is in both of what is compared.
_APART = "mount --bind {home}/var-lib /var/lib && mount --bind {home}/no-log /dev/log 2>/dev/null; {command}"


def commit_cost(fleet: Fleet, runs: int) -> tuple[float, float, float]:
    """Milliseconds, as medians: an empty request, one that writes FILES files, and what the second adds.

    Each is one call of ssh: one round trip. The two take turns.
    """
    (fleet.home / "no-log").touch()
    outside = fleet.home / "var-lib" / "docker"
    outside.mkdir(parents=True)
    places = [outside / f"config-{number}.json" for number in range(FILES)]
    for place in places:
        place.write_bytes(b'{"number": 0}\n')
    ask(fleet, ())
    pairs = []
    for number in range(1, runs + 1):
        empty = ask(fleet, ())
        pairs.append((empty, ask(fleet, (change(places, number),))))
    added = statistics.median(full - empty for empty, full in pairs)
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs), added


def change(places: list[Path], number: int) -> Transaction:
    """A transaction that writes every file anew."""
    content = b'{"number": %d}\n' % number
    actions = [Action(do="write", path=inside(place), content=content, mode=0o644, uid=0, gid=0) for place in places]
    return Transaction(
        group="files",
        changes=(),
        preconditions=tuple(found_at(place) for place in places),
        actions=tuple(actions),
        validation=(),
        activation=(),
        probe=(),
    )


def inside(place: Path) -> str:
    """What a file below `var-lib` is called on the host."""
    return f"/var/lib/docker/{place.name}"


def found_at(place: Path) -> Precondition:
    """The precondition that a preview of a file would make."""
    facts = place.stat()
    return Precondition(
        path=inside(place),
        resolved=inside(place),
        type="file",
        mode=stat.S_IMODE(facts.st_mode),
        uid=facts.st_uid,
        gid=facts.st_gid,
        sha256=sha256(place.read_bytes()).hexdigest(),
    )


def ask(fleet: Fleet, transactions: tuple[Transaction, ...]) -> float:
    """Milliseconds of one request from the call of ssh to its whole answer. Ends the program where it did not apply."""
    request: dict[str, Any] = {
        "format_version": 1,
        "run": new_ulid(),
        "host": fleet.hosts[0],
        "roots": [],
        "who": "bench",
        "reason": "",
        "transactions": [{**each.model_dump(mode="json"), "digest": each.digest} for each in transactions],
    }
    marker = wire.new_marker()
    apart = _APART.format(home=fleet.home, command=wire.command("/usr/bin/python3", marker))
    words = ["ssh", *fleet.ssh_options, f"{USER}@{fleet.hosts[0]}", f"unshare --mount sh -c {shlex.quote(apart)}"]
    sent = wire.frame(marker, commit_program(), json.dumps(request).encode("ascii"))
    started = time.perf_counter()
    done = subprocess.run(words, input=sent, capture_output=True, check=False)
    taken = (time.perf_counter() - started) * 1000
    answer = json.loads(wire.read_answer(fleet.hosts[0], done.stdout, marker, done.returncode, done.stderr))
    if [result["outcome"] for result in answer["results"]] != ["applied"] * len(transactions):
        raise SystemExit(f"bench: the commit ended {answer}")
    return taken
