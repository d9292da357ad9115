"""What a boot-time load makes of a list of audit rules.

Every case is what auditctl 3.0 and a Linux kernel answered when it was tried.
"""

from __future__ import annotations

import pytest

from remediator.audit_load import simulate_load
from remediator.host.common.audit_rules import parse_rules

THERE = {"/", "/x", "/x/f", "/x/d", "/usr", "/usr/bin"}
DIRECTORIES = THERE - {"/x/f"}


def load(text: str) -> list[tuple[int, str, bool]]:
    failures = simulate_load(parse_rules(text), THERE.__contains__, DIRECTORIES.__contains__)
    return [(failure.rule.line, failure.reason, failure.stops) for failure in failures]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("-w /x/f -p wa\n-w /no/f -p wa\n-w /x/d\n", 2, "directory /no is missing"),
        ("-a always,exit -F dir=/x/no -F perm=wa\n", 1, "directory /x/no is missing"),
        ("-w /x/f/g -p wa\n", 1, "directory /x/f is missing"),
        ("-w /x/f -p wa -k k\n-a exit,always -F path=/x/f -F perm=wa -k k\n", 2, "identical"),
        ("-a always,exit -F dir=/x/d -F perm=wa\n-w /x/d -p wa\n", 2, "identical"),
        ("-A exit,always -F path=/x/f -F perm=wa\n-w /x/f -p wa\n", 2, "identical"),
        ("-a always,exit -F path=/x/f -F auid!=unset\n-a always,exit -F path=/x/f -F auid!=-1\n", 2, "identical"),
        ("-w /x/f -p wa # why\n", 1, "cannot read"),
        ("-W /x/f -p wa\n", 1, "not loaded"),
        ("-e 2\n-w /x/f\n", 2, "locked"),
        ("-a always,exit -F path=/x/d/ -F perm=wa\n", 1, "cannot end in /"),
    ],
)
def test_the_first_rule_that_fails_stops_the_load(text: str, line: int, words: str) -> None:
    [(found, reason, stops)] = load(text)
    assert (found, stops) == (line, True)
    assert words in reason


@pytest.mark.parametrize(
    "text",
    [
        "-w /x/missing -p wa\n-w /x/d -p wa\n",
        "-w /x/f -p wa -k a\n-w /x/f -p wa -k b\n-w /x/f -p w -k b\n",
        "-w /x/f -p wa -k a -k b\n-w /x/f -p wa -k b -k a\n",
        "-a always,exit -F path=/x/f -F uid=0 -F gid=0\n-a always,exit -F path=/x/f -F gid=0 -F uid=0\n",
        "-w /x/f -p wa\n-A exit,always -F path=/x/f -F perm=wa\n",
        "-a always,exit -F dir=/x/d -F perm=wa\n-a always,exit -F path=/x/d -F perm=wa\n",
        "-w /x/f -p wa -k a\n-d always,exit -F path=/x/f -F perm=wa -k a\n-w /x/f -p wa -k a\n",
        "-w /x/d -p wa -k a\n-D -k a\n-w /x/d -p wa -k a\n-D\n-w /x/d -p wa -k a\n",
        "-a always,exit -F dir=/x/f -F perm=wa\n",
        "-e 1\n-b 8192\n-w /x/f\n-e 2\n",
    ],
)
def test_what_the_kernel_takes_does_not_fail(text: str) -> None:
    assert load(text) == []


def test_a_rule_that_was_put_in_twice_is_deleted_twice() -> None:
    # By kernel/auditfilter.c: a rule that is put first equals none that is there, and each deletion takes one.
    twice = "-w /x/f -p wa\n-A exit,always -F path=/x/f -F perm=wa\n-W /x/f -p wa\n-W /x/f -p wa\n"
    assert load(twice) == []
    assert load(twice + "-W /x/f -p wa\n") == [(5, "it deletes a rule that is not loaded", True)]


@pytest.mark.parametrize("option", ["-i", "-c"])
def test_loading_goes_on_after_a_failure_where_the_rules_say_so(option: str) -> None:
    assert [(line, stops) for line, _, stops in load(f"{option}\n-w /no/x\n-w /x/d\n-w /no/y\n")] == [
        (2, False),
        (4, False),
    ]


def test_hostile_rules_cost_no_time_and_raise_nothing() -> None:
    text = "-a always,exit -F a0=" + "9" * 100_000 + "\n" + "-F" * 100_000 + "\n" + "-w /x/f " * 10_000 + "\n"
    assert len(simulate_load(parse_rules("-c\n" + text), THERE.__contains__)) == 2
