"""One command on one connection: starts the bootstrap, through sudo where asked, sends the frame, takes the answer."""

from __future__ import annotations

import re
import secrets
import shlex
import threading
from collections.abc import Callable

import paramiko

from remediator import wire
from remediator.connection import Become
from remediator.errors import HostError
from remediator.host import Program
from remediator.sweep_deadline import Deadline, Deadlines
from remediator.sweep_passwords import GivenUpError, PasswordGates
from remediator.text import one_line

_CHUNK = 1024 * 1024
_MAX_ERRORS = 1024 * 1024  # bytes of standard error after which a host is given up
_OPEN_WAIT = 15.0  # seconds
# What sudo says, and what to do about it, in the order in which it is looked for. Source: sudo(8), DIAGNOSTICS.
_SUDO_SAYS: tuple[tuple[str, str], ...] = (
    (r"must have a tty", "its sudo wants a terminal. Put `Defaults:{user} !requiretty` into its sudoers."),
    (r"(password|terminal) is required", "sudo wants a password. Give it with -K or ansible_become_password."),
    (r"not in the sudoers|may not run sudo", "{user} may not use sudo there. Add it to sudoers, or use another user."),
    (r"not allowed to", "{user} may not run /bin/sh as {target} through sudo there. Let sudoers allow it."),
    (r"unknown user", "there is no user {target} on it. Correct ansible_become_user."),
    (r"incorrect password|no password was", "sudo refused the password. Correct -K or ansible_become_password."),
    (r"(?m)^env: .*(not found|No such)", "there is no {program} on it. Install sudo, or log in as root."),
    (r"(?m)^sudo: ", "sudo failed. Try `sudo -n true` there as {user}."),
)


def sudo_command(become: Become, prompt: str, command: str) -> str:
    """`command` through sudo, its messages in English; with a password it asks on standard error with `prompt`."""
    flags = [_without_ours(flag) for flag in become.flags]
    asking = ["-S", "-p", prompt] if become.password is not None else ["-n"]
    words = ["env", "LC_ALL=C", *shlex.split(become.executable), *(flag for flag in flags if flag), *asking]
    return shlex.join([*words, "-u", become.user, "--", "/bin/sh", "-c", command])


def _without_ours(flag: str) -> str:
    """A flag without -n and -S, which we decide; empty when nothing is left."""
    if flag in ("--non-interactive", "--stdin"):
        return ""
    if re.fullmatch(r"-[A-Za-z]+", flag):
        return "-" + re.sub("[nS]", "", flag[1:]) if re.sub("[nS]", "", flag[1:]) else ""
    return flag


class Session:
    """The conversation with one host."""

    def __init__(self, host: str, user: str, deadlines: Deadlines, deadline: Deadline, gates: PasswordGates) -> None:
        self._host = host
        self._user = one_line(user)
        self._deadlines = deadlines
        self._deadline = deadline
        self._gates = gates
        self._errors = bytearray()
        self._arrived = threading.Event()

    def ask(
        self, transport: paramiko.Transport, become: Become | None, python: str | None, program: Program, request: bytes
    ) -> bytes:
        """What `program` answers to `request`. Raises HostError; OSError and SSHException when the connection fails."""
        marker = wire.new_marker()
        prompt = f"[{secrets.token_hex(16)}]:"
        command = wire.command(python, marker)
        channel = transport.open_session(timeout=min(_OPEN_WAIT, self._deadline.left))
        channel.settimeout(self._deadline.left)
        channel.in_buffer.set_event(self._arrived)
        channel.in_stderr_buffer.set_event(self._arrived)
        channel.exec_command(command if become is None else sudo_command(become, prompt, command))
        reader = wire.AnswerReader(self._host, marker)
        if become is not None:
            self._escalate(channel, reader, become, prompt.encode())
        self._until(channel, reader, lambda: reader.ready)
        if reader.ready and reader.answer is None:
            channel.settimeout(self._deadline.left)
            channel.sendall(wire.frame(marker, program, request, reader.magic))
            self._until(channel, reader, lambda: False)
        if reader.answer is None:
            raise reader.missing(self._status(channel), bytes(self._errors))
        return reader.answer

    def _escalate(self, channel: paramiko.Channel, reader: wire.AnswerReader, become: Become, prompt: bytes) -> None:
        """Get past sudo. The password goes out only after our own prompt, so never where sudo asks for none."""
        self._until(channel, reader, lambda: reader.ready or prompt in self._errors)
        if reader.ready:
            return
        if prompt not in self._errors or become.password is None:
            raise self._sudo_error(channel, reader, become)
        try:
            with self._deadlines.paused(self._deadline):
                attempt = self._gates.begin("sudo", self._user, become.password, self._host)
        except GivenUpError as error:
            raise self._become_error(
                f"the sudo password for {self._user} was not tried: {error} refused it already, and more failures "
                "could lock the account. Correct the password and run this again."
            ) from None
        try:
            self._errors.clear()
            channel.settimeout(self._deadline.left)
            channel.sendall(become.password.reveal().encode() + b"\n")
            self._until(channel, reader, lambda: reader.ready or prompt in self._errors)
            attempt.accepted = reader.ready
            attempt.refused = prompt in self._errors or b"incorrect password" in self._errors
        finally:
            self._gates.end(attempt)
        if attempt.refused:
            raise self._become_error(
                f"sudo refused the password for {self._user}. Correct it (ansible_become_password in the inventory, "
                "else -K)."
            )
        if not reader.ready:
            raise self._sudo_error(channel, reader, become)

    def _until(self, channel: paramiko.Channel, reader: wire.AnswerReader, done: Callable[[], bool]) -> None:
        """Take what arrives until `done`, an answer, or the end of the output. Raises TimeoutError."""
        while not done() and reader.answer is None:
            # Read before draining: what came before the end is then in the buffers.
            ended = channel.eof_received or channel.closed
            took = False
            if channel.recv_ready():
                reader.feed(channel.recv(_CHUNK))
                took = True
            if channel.recv_stderr_ready():
                self._errors += channel.recv_stderr(_CHUNK)
                took = True
                if len(self._errors) > _MAX_ERRORS:
                    raise HostError(
                        self._host,
                        "answer",
                        f"{self._host}: more than {_MAX_ERRORS} bytes came on standard error and no answer. Look at "
                        "its login scripts.",
                    )
            if took:
                continue
            if ended:
                return
            if not self._arrived.wait(self._deadline.left):
                raise TimeoutError("no answer in time")

    def _status(self, channel: paramiko.Channel) -> int | None:
        """The command's exit status, which may come a moment after its output ended."""
        channel.status_event.wait(min(1.0, self._deadline.left))
        return channel.exit_status if channel.exit_status_ready() and channel.exit_status >= 0 else None

    def _sudo_error(self, channel: paramiko.Channel, reader: wire.AnswerReader, become: Become) -> HostError:
        """Why the command ended before its program began: sudo's reason, else the program's."""
        said = self._errors.decode("utf-8", "replace")
        for pattern, meaning in _SUDO_SAYS:
            if re.search(pattern, said):
                text = meaning.format(
                    user=self._user, target=one_line(become.user), program=one_line(become.executable)
                )
                return self._become_error(f"{text} It said: {one_line(said.strip()[-400:], 500)}")
        return reader.missing(self._status(channel), bytes(self._errors))

    def _become_error(self, text: str) -> HostError:
        return HostError(self._host, "become", f"{self._host}: {text}")
