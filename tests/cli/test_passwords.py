"""Asking for passwords, at a real terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pexpect
import pytest

COMMAND = str(Path(sys.executable).with_name("remediate"))


def call(*arguments: str) -> pexpect.spawn[str]:
    """A call that ends, after its questions, because its pattern matches nothing."""
    return pexpect.spawn(
        COMMAND, ["check", "-i", "localhost,", "-l", "no-such-host", *arguments], encoding="utf-8", timeout=60
    )


@pytest.mark.parametrize(
    ("option", "question"), [("-k", "SSH password: "), ("-K", "Become password: "), ("-J", "Vault password: ")]
)
def test_a_password_is_asked_for_and_never_shown(option: str, question: str) -> None:
    child = call(option)
    child.expect_exact(question)
    child.sendline("hunter2")
    child.expect(pexpect.EOF)
    child.close()
    assert "hunter2" not in str(child.before)
    assert "no-such-host" in str(child.before)
    assert child.exitstatus == 2


def test_the_become_password_may_be_the_ssh_password() -> None:
    child = call("-k", "-K")
    child.expect_exact("SSH password: ")
    child.sendline("hunter2")
    child.expect_exact("Become password [as the SSH password]: ")
    child.sendline("")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2


def test_ctrl_c_at_a_question_ends_130() -> None:
    child = call("-k")
    child.expect_exact("SSH password: ")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in str(child.before)


def test_a_closed_terminal_is_no_password() -> None:
    child = call("-k")
    child.expect_exact("SSH password: ")
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2
    assert "Traceback" not in str(child.before)
