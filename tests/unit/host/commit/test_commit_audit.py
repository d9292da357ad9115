"""Kernel audit rules, against an auditctl that keeps them in a file.

The real kernel does the same on the lab's machines.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from remediator.plan import Action, Step
from tests.unit.host.commit.host import CommitHost, transaction, write

# As auditctl 3.0 behaves: it lists watches as -w however they were given, and refuses duplicates and strangers.
AUDITCTL = """
rules = here / "rules"
held = rules.read_text().splitlines() if rules.exists() else []

def listed(words):
    if words[0] in ("-w", "-W"):
        return "-w " + " ".join(words[1:])
    fields = dict(word.split("=", 1) for word in words if "=" in word)
    keys = [word for flag, word in zip(words, words[1:]) if flag == "-k"] or [fields["key"]] * ("key" in fields)
    perms = "".join(letter for letter in "rwxa" if letter in fields["perm"])
    where = fields.get("path") or fields["dir"]
    return "-w %s -p %s" % (where, perms) + "".join(" -k " + key for key in keys)

with (here / "calls").open("a") as calls:
    calls.write(" ".join(argv) + "\\n")
if argv == ["-l"]:
    print("\\n".join(held) or "No rules")
elif argv == ["-s"]:
    print("enabled %s\\nfailure 1" % ((here / "enabled").read_text() if (here / "enabled").exists() else "1"))
elif argv[0] in ("-w", "-a"):
    if listed(argv) in held:
        sys.exit("Error sending add rule data request (Rule exists)")
    if "refused" in " ".join(argv):
        sys.exit("Error sending add rule data request (No such file or directory)")
    rules.write_text("\\n".join(held + [listed(argv)]))
elif argv[0] in ("-W", "-d"):
    only = (here / "only").read_text() if (here / "only").exists() else argv[0]
    if listed(argv) not in held or only not in " ".join(argv):
        sys.exit("Error sending delete rule data request (No such file or directory)")
    held.remove(listed(argv))
    rules.write_text("\\n".join(held))
"""
DOCKERD = ("-w", "/usr/bin/dockerd", "-p", "wa", "-k", "docker")
RUNC = ("-a", "always,exit", "-F", "path=/usr/bin/runc", "-F", "perm=wa", "-F", "key=docker")
THEIRS = "-w /etc/passwd -p wa -k identity"


def add(*rule: str) -> Action:
    return Action(do="audit_add", rule=rule)


def delete(*rule: str) -> Action:
    return Action(do="audit_delete", rule=rule)


def loaded(*rule: str) -> Step:
    return Step(do="audit_loaded", rule=rule)


@pytest.fixture
def kernel(host: CommitHost) -> Path:
    host.program("auditctl", AUDITCTL)
    rules = host.base / "rules"
    rules.write_text(THEIRS)
    return rules


def test_rules_are_loaded_one_by_one_beside_other_peoples(host: CommitHost, kernel: Path) -> None:
    rules = host.files / "50-remediator.rules"
    probes = (loaded(*DOCKERD), loaded("-w", "/usr/bin/runc", "-p", "aw", "-k", "docker"))
    [result] = host.run(transaction(write(rules, b"-w /x -p wa\n"), add(*DOCKERD), add(*RUNC), probe=probes))
    assert (result["outcome"], result["paths"]) == ("applied", [str(rules)])
    assert kernel.read_text().splitlines() == [
        THEIRS,
        "-w /usr/bin/dockerd -p wa -k docker",
        "-w /usr/bin/runc -p wa -k docker",
    ]
    assert any('path="-w /usr/bin/dockerd' in line for line in host.journal())


def test_a_rule_that_fails_takes_the_others_and_the_file_back(host: CommitHost, kernel: Path) -> None:
    rules = host.files / "50-remediator.rules"
    bad = ("-w", "/refused/dockerd", "-p", "wa")
    [result] = host.run(transaction(write(rules, b"x"), delete(*THEIRS.split()), add(*DOCKERD), add(*bad)))
    assert result["outcome"] == "rolled_back"
    assert "No such file or directory" in result["reason"]
    assert kernel.read_text().splitlines() == [THEIRS]
    assert not rules.exists()


def test_a_rule_that_is_loaded_already_is_neither_added_nor_taken_back(host: CommitHost, kernel: Path) -> None:
    kernel.write_text("-w /usr/bin/runc -p wa -k docker")
    bad = ("-w", "/refused/dockerd", "-p", "wa")
    assert host.run(transaction(add(*RUNC)))[0]["outcome"] == "applied"
    assert host.run(transaction(add(*RUNC), add(*bad)))[0]["outcome"] == "refused"
    assert kernel.read_text() == "-w /usr/bin/runc -p wa -k docker"


@pytest.mark.parametrize("only", ["-W", "path=", "dir="])
def test_a_rule_is_deleted_however_it_was_loaded(host: CommitHost, kernel: Path, only: str) -> None:
    kernel.write_text("-w /usr/bin/dockerd -p wa -k docker")
    (host.base / "only").write_text(only)
    assert host.run(transaction(delete(*DOCKERD)))[0]["outcome"] == "applied"
    assert kernel.read_text() == ""


def test_locked_rules_are_refused_before_anything_is_written(host: CommitHost, kernel: Path) -> None:
    (host.base / "enabled").write_text("2")
    rules = host.files / "50-remediator.rules"
    [result] = host.run(transaction(write(rules, b"x"), add(*DOCKERD)))
    assert result["outcome"] == "refused"
    assert "until the next reboot" in result["reason"]
    assert not rules.exists()


@pytest.mark.parametrize("rule", [("-D",), ("-e", "0"), ("-R", "/x"), ("-W", "/x"), ("-w", "x"), ("-w", "/x", "-D")])
def test_nothing_but_one_rule_can_be_given_to_auditctl(host: CommitHost, kernel: Path, rule: tuple[str, ...]) -> None:
    [result] = host.run(transaction(add(*rule)))
    assert result["outcome"] == "refused"
    assert "is no audit rule" in result["reason"]
    assert not (host.base / "calls").exists()


def test_a_rule_that_the_kernel_does_not_list_afterwards_is_a_failure(host: CommitHost, kernel: Path) -> None:
    [result] = host.run(transaction(add(*DOCKERD), probe=(loaded("-w", "/usr/bin/other", "-p", "wa"),)))
    assert result["outcome"] == "rolled_back"
    assert kernel.read_text() == THEIRS
