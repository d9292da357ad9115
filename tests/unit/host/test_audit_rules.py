"""Audit rules in normal form, and as augenrules joins them from files.

Every case is what auditctl 3.0 and a Linux kernel answered when it was tried.
"""

from __future__ import annotations

import pytest

from remediator.host.common.audit_rules import (
    AuditForm,
    assemble_rules,
    listed_form,
    normal_form,
    parse_rules,
    split_rule,
)

WATCH = ("watch", "/x/f", "wa", ("k",))


def form(text: str) -> AuditForm | None:
    return normal_form(split_rule(text))


@pytest.mark.parametrize(
    "text",
    [
        "-w /x/f -p wa -k k",
        "-w /x/f -p aw -k k",
        "-w /x/f -pWA -kk",
        "-w /x/f/ -p wa -k k",
        "-a always,exit -F path=/x/f -F perm=wa -F key=k",
        "-a exit,always -F path=/x/f -F perm=aw -k k",
        "-a always,exit -S all -F key=k -F perm=wa -F dir=/x/f",
        "-A always,exit -F path=/x/f -F perm=wa -k k",
    ],
)
def test_a_watch_has_one_form_however_it_is_spelled(text: str) -> None:
    assert form(text) == WATCH


@pytest.mark.parametrize(
    ("given", "listed"),
    [
        ("-w /x/f", "-w /x/f -p rwxa"),
        ("-w /x/f -k a -k b", "-w /x/f -p rwxa -k a -k b"),
        (
            "-a always,exit -F arch=b64 -F path=/x/f -F perm=wa",
            "-a always,exit -F arch=b64 -S all -F path=/x/f -F perm=wa",
        ),
        ("-a always,exit -F path=/x/f", "-a always,exit -S all -F path=/x/f"),
        (
            "-a always,exit -F path=/x/f -F uid=root -F perm=wa",
            "-a always,exit -S all -F path=/x/f -F uid=0 -F perm=wa",
        ),
        (
            "-a always,exit -F arch=x86_64 -S creat,open -S rename -k x",
            "-a always,exit -F arch=b64 -S open,rename,creat -F key=x",
        ),
        (
            "-a always,exit -F auid>=1000 -F auid!=unset -F perm=wa",
            "-a always,exit -S all -F auid>=1000 -F auid!=-1 -F perm=wa",
        ),
        (
            "-a always,exit -F arch=b64 -S open -F a0&1 -F a1&=2",
            "-a always,exit -F arch=b64 -S open -F a0&0x1 -F a1&=0x2",
        ),
        ("-a always,exit -F arch=b64 -S execve -C euid!=uid", "-a always,exit -F arch=b64 -S execve -C uid!=euid"),
        ("-a never,user -F uid=root", "-a never,user -F uid=0"),
        ("-a never,exclude -F msgtype=CWD", "-a never,exclude -F msgtype=CWD"),
        ("-a always,exit -S open -F filetype=file -F uid=0", "-a always,exit -S open -F filetype=32768 -F uid=0"),
        ("-a always,exit -F perm=wa -F path=/x/f -k k", " -p wa-w /x/f -k k"),
        ("-a always,exit -F path=/x/a\\ b -F perm=wa -k k", "-w /x/a b -p wa -k k"),
        ("-a never,task", "-a never,task"),
    ],
)
def test_a_rule_has_the_form_of_the_line_that_auditctl_lists_for_it(given: str, listed: str) -> None:
    assert form(given) is not None
    assert form(given) == listed_form(listed)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-w /x/f -p wa", "-w /x/f -p w"),
        ("-w /x/f -p wa -k k", "-w /x/f -p wa"),
        ("-w /x/f -p wa", "-a always,exit -F path=/x/f"),
        ("-a always,exit -F path=/x/f -F perm=wa", "-a never,exit -F path=/x/f -F perm=wa"),
        ("-a always,exit -F path=/x/f -F perm=wa", "-a always,exit -F path=/x/f -F perm=wa -F uid=0"),
        ("-a always,exit -F path!=/x/f -F perm=wa", "-a always,exit -F path=/x/f -F perm=wa"),
        ("-a always,exit -F arch=b64 -S open", "-a always,exit -F arch=b32 -S open"),
    ],
)
def test_rules_that_differ_have_different_forms(one: str, other: str) -> None:
    assert form(one) != form(other)


@pytest.mark.parametrize(
    "text",
    [
        "-w relative -p wa",
        "-w /x/f -p q",
        '-w "/x/f" -p wa',
        "-w /x/f -p wa # why",
        "-p wa -w /x/f",
        "-k k -w /x/f",
        "-w",
        "-a always,entry -S open",
        "-a always -S open",
        "-a always,exit -F uid~0",
        "-w /x/f -k " + "k" * 300,
        "--nonsense",
        "word",
        "",
    ],
)
def test_what_auditctl_would_not_read_has_no_form(text: str) -> None:
    assert form(text) is None


def test_control_and_delete_rules_are_kinds_of_their_own() -> None:
    assert form("-D") == ("control", "-D", "")
    assert form("-D -k x") == ("control", "-D", "x")
    assert form("-b 8192") == ("control", "-b", "8192")
    assert form("--backlog_wait_time 60000") == form("--backlog_wait_time=60000")
    assert form("--loginuid-immutable") == ("control", "--loginuid-immutable", "")
    assert form("-W /x/f -p wa -k k") == ("delete", WATCH)
    assert form("-d exit,always -F path=/x/f -F perm=wa -k k") == ("delete", WATCH)


def test_a_listing_that_holds_no_rules_has_no_forms() -> None:
    assert listed_form("No rules") is None
    assert listed_form("") is None


def test_rules_are_numbered_as_they_stand_and_comments_are_none() -> None:
    rules = parse_rules("## head\n\n  # indented\n-D\n  -w /x/f -p wa -k k\n\t-w /x/d\n", "a.rules")
    assert [(rule.source, rule.line, rule.form) for rule in rules] == [
        ("a.rules", 4, ("control", "-D", "")),
        ("a.rules", 5, WATCH),
        ("a.rules", 6, None),  # auditctl splits at spaces alone
    ]


def test_control_rules_are_moved_as_augenrules_moves_them() -> None:
    files = [("10", "-e 2\n-b 1\n-w /x/f\n"), ("20", "-f 1\n-D\n-b 2\n-D -k x\n")]
    assert [rule.text for rule in assemble_rules(files)] == ["-D", "-b 2", "-f 1", "-w /x/f", "-D -k x", "-e 2"]


def test_a_file_without_its_last_newline_swallows_the_next_ones_first_line() -> None:
    rules = assemble_rules([("10", "-w /x/f -p wa"), ("20", "## head\n-w /x/d\n")])
    assert [(rule.text, rule.form is None) for rule in rules] == [("-w /x/f -p wa## head", True), ("-w /x/d", False)]


def test_hostile_rules_cost_no_time_and_raise_nothing() -> None:
    text = "-a always,exit -F a0=" + "9" * 100_000 + "\n" + "-F" * 100_000 + "\n" + "-w /x/f " * 10_000 + "\n"
    assert len(parse_rules(text)) == 3
