"""Calls that are wrong: each ends 2 with a sentence on stderr that says what to do, and prints nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Remediate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chek"], ["--chek", "--check"]),
        (["chck"], ["chck", "check"]),
        (["check", "--no-such-option"], ["--no-such-option"]),
        (["check", "surplus"], ["surplus"]),
        (["check", "--format", "yaml"], ["yaml", "json"]),
        (["check", "--fail-on", "severe"], ["severe", "critical"]),
        (["check", "--forks", "0"], ["--forks", "0"]),
        (["check", "--transport", "telnet"], ["telnet", "ansible"]),
        (["check", "--private-key", "no-such-key"], ["no-such-key", "does not exist"]),
        (["check", "--vault-password-file", "no-such-file"], ["no-such-file", "does not exist"]),
        (["check", "--role", "no_such_role"], ["no_such_role", "docker_audit"]),
        (["check", "--control", "9.9.9"], ["9.9.9", "remediate controls"]),
        (["check", "--skip-control", "no.such"], ["no.such", "remediate controls"]),
        (["check", "--control", "docker.audit.runc", "--skip-control", "1.1.18"], ["--skip-control"]),
        (["check", "--allow", "no_such_role"], ["no_such_role", "guarded", "docker_audit"]),
        (["check", "-i", "no-such-inventory"], ["no-such-inventory"]),
        (["check", "-i", "localhost,", "-l", "no-such-host"], ["no-such-host"]),
        (["check", "-k"], ["no terminal", "SSH password"]),
        (["check", "-K"], ["no terminal", "Become password"]),
        (["check", "--ask-vault-pass"], ["no terminal", "Vault password"]),
        (["apply"], ["-i"]),
        (["apply", "--yes"], ["-i"]),
        (["apply", "-i", "localhost,", "--format", "json"], ["--yes"]),
        (["apply", "-i", "localhost,", "--serial", "0"], ["0", "20%"]),
        (["apply", "-i", "localhost,", "--serial", "101%"], ["101%"]),
        (["apply", "-i", "localhost,", "--max-fail-percentage", "101"], ["101"]),
        (["controls", "docker.audit.runk"], ["docker.audit.runk", "docker.audit.runc"]),
        (["schema", "surplus"], ["surplus"]),
    ],
    ids=" ".join,
)
def test_a_wrong_call_says_what_is_wrong_and_ends_2(
    arguments: list[str], words: list[str], remediate: Remediate
) -> None:
    done = remediate(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    said = " ".join(done.stderr.split())
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    "content", ["all: {hosts: [unclosed", "all:\n\thosts:\n", "\x00\x01\x02"], ids=["yaml", "tab", "binary"]
)
def test_a_broken_inventory_is_named(content: str, remediate: Remediate, tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(content)
    done = remediate("--check", "-i", "hosts.yml")
    assert done.returncode == 2, done.stderr
    assert "hosts.yml" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help_and_version_end_0(remediate: Remediate) -> None:
    for arguments in (["--help"], ["-h"], ["--version"], ["check", "--help"], ["apply", "--help"], ["controls", "-h"]):
        done = remediate(*arguments)
        assert (done.returncode, done.stderr) == (0, "")


def test_nothing_to_do_shows_the_help(remediate: Remediate) -> None:
    done = remediate()
    assert done.returncode == 2
    assert "check" in done.stdout + done.stderr


def test_a_password_is_taken_from_no_pipe(remediate: Remediate) -> None:
    done = remediate("check", "-i", "localhost,", "-k", "-K")
    assert done.returncode == 2
    assert "--vault-password-file" in done.stderr
