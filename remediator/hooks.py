"""Commands that this controller runs around a restart of a host's services: before_restart and after_restart.

They come from the inventory's own `remediator_policy`, are lists of words, and no shell ever reads them.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from remediator.host.commit.units import SECRETS
from remediator.plan import Transaction
from remediator.restarts import Command, RestartPolicy
from remediator.text import one_line

# What a command like kubectl needs, and nothing else of what this process was given: no passwords of Ansible's.
_KEEP = frozenset(("HOME", "PATH", "LANG", "LANGUAGE", "TZ", "SSH_AUTH_SOCK", "KRB5CCNAME", "KUBECONFIG"))
_LAST = 4096  # bytes of output that are looked at


@dataclass
class Around:
    """What came of the commands: why a transaction that restarts something must not begin, and what is left undone."""

    failure: str = ""
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def around_restarts(policy: RestartPolicy, due: Iterable[Transaction]) -> Iterator[Around]:
    """before_restart, then the commit of `due`, then after_restart, where a transaction of `due` restarts something.

    Of before_restart the first command that fails ends it; what restarts must not be done then (`failure`). Every
    command of after_restart runs, whatever happened since before_restart began; those that fail become `notes`.
    """
    around = Around()
    if not any(transaction.restarts for transaction in due):
        yield around
        return
    try:
        failures = (run_command(command, policy.seconds) for command in policy.before)
        around.failure = next((f"before_restart: {failure}" for failure in failures if failure), "")
        yield around
    finally:
        failures = (run_command(command, policy.seconds) for command in policy.after)
        around.notes = tuple(f"after_restart: {failure}" for failure in failures if failure)


def run_command(command: Command, seconds: int) -> str:
    """Run one command for at most `seconds`.

    Returns why it failed in one harmless line: its first word, how it ended, its last words. Empty where it ended with
    0.
    """
    name = one_line(command[0], 200)
    # A file and no pipe: what it prints cannot fill our memory, and what it leaves behind cannot hold us up.
    with tempfile.TemporaryFile() as output:
        try:
            with _full_memory():
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env=_environment(),
                    start_new_session=True,
                )
        except OSError as error:
            return f"{name} could not be started here: {error.strerror or error}"
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"{name} did not end within {seconds} seconds{_last_line(output)}"
        except BaseException:  # the task's own deadline, Ctrl-C: nothing of ours goes on alone
            _end(process)
            raise
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"{name} {how}{_last_line(output)}" if status else ""


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in _KEEP or name.startswith("LC_")}
    kept.setdefault("PATH", os.defpath)
    return kept


@contextlib.contextmanager
def _full_memory() -> Iterator[None]:
    """Without the bound that the harden action puts on its own process: a child begins with what is set now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(output: IO[bytes]) -> str:
    """`: ` and the last line that is not empty, what looks like a secret masked; empty where there is none."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _LAST))
    lines = [line.strip() for line in output.read(_LAST).decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return ""
    said = lines[-1]
    for pattern, masked in SECRETS:
        said = pattern.sub(masked, said)
    return f": {one_line(said, 300)}"
