"""A hostile journal costs its own length and no more, and it takes nothing from what can be looked at."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from remediator.observation import Observation, parse_observation
from remediator.plan import Undo
from remediator.policy import Policy
from remediator.undo import take_back
from tests.unit.undo_host import LATER, MODE, NOW, RUN, entry, facts, host, kept, record, was, written


def work(call: Callable[[], object]) -> int:
    """How many bytecodes of Python `call` runs: the same on every machine, however busy."""
    steps = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal steps
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return steps


def hostile(size: int) -> Observation:
    """A host that claims `size` paths in each of many transactions, and as many users, groups and audit rules."""
    paths = [f"/etc/docker/{number}" for number in range(size)]
    rules = [[f"-w /etc/docker/{number} -p wa", ["-w", f"/etc/docker/{number}", "-p", "wa"]] for number in range(size)]
    loaded = [{"rule": rule, "loaded": [False, True], "controls": [MODE]} for _, rule in rules[:1]]
    groups = ("files", "files-2", "files-3", "files-4")
    later = [
        record(*(written(path, "other") for path in paths), run=f"01JDQ4{number}" + 19 * "A") for number in range(4)
    ]
    ours = [record(*(written(path, "other") for path in paths), *loaded, group=group) for group in groups]
    names = {"root": 0, **{f"user{number}": number for number in range(1, size)}}
    files = {path: facts(b"by hand\n") for path in paths}
    audit = {"scope": "kernel", "enabled": 1, "loaded": [text for text, _ in rules]}
    for group in groups:
        files |= kept(group=group)
    return host(*later, *ours, files=files, users=names, groups=names, audit=audit)


def test_twice_as_much_in_a_journal_costs_twice_as_much_to_compose() -> None:
    def cost(size: int) -> int:
        seen = hostile(size)
        return work(lambda: take_back("web1", seen, Undo(run=RUN), Policy(), NOW))

    cost(2)  # what is made once for all calls
    assert cost(24) < 2.3 * cost(12)


def test_entries_beyond_what_is_looked_at_are_refused_as_a_fact_and_the_others_stay() -> None:
    few = [entry("/etc/docker/kept", was(), was(0o600))]
    many = [entry(f"/etc/docker/{number}", was(), was(0o600)) for number in range(4_500)]
    later = [record(*many, run=LATER, group=group) for group in ("a", "b", "c", "d")]
    claimed = [*later, record(*many, group="e"), record(*few, group="files")]
    seen = host(files={"/etc/docker/kept": facts(mode=0o600)}).model_dump(mode="json")
    seen["transactions"] = {"records": claimed}
    read = parse_observation("web1", json.dumps(seen).encode())
    assert read.transactions is not None
    assert sum(len(each.entries) for each in read.transactions.records) <= 20_000
    told = {each.group: each.problem for each in read.transactions.records}
    assert [group for group, problem in told.items() if problem] == ["e"]
    assert "more than is looked at" in told["e"]
    plan = take_back("web1", read, Undo(run=RUN), Policy(), NOW)
    assert [alert.text[:2] for alert in plan.alerts if alert.kind == "refused"] == ["e:"]
    assert [transaction.group for transaction in plan.transactions] == ["files"]
