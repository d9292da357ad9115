"""A commit that outlives whoever asked for it: it runs in a transient unit of the host's own systemd.

What SSH starts belongs to its session, and dies with it wherever logind has KillUserProcesses=yes. So the program
starts itself once more through systemd-run, hands over all that it was given (on a pipe: a private key never lies on
the disk), and from then on only passes the answer on. What happens to that messenger, to its session or to the
connection is nothing to the unit: it takes the host's lock, ends its transactions and records them.
"""

import os
import re
import select
import sys
import time
from typing import Any, Dict, List, NamedTuple

from remediator.host.commit.engine import load_engine
from remediator.host.commit.main import handle
from remediator.host.commit.programs import find_program, start_program
from remediator.host.common.serve import ProgramError, failure_text, sha256, write_all

# There where systemd is the init, as sd_booted(3) has it.
SYSTEMD_DIRECTORY = "/run/systemd/system"
UNIT_VARIABLE = "REMEDIATOR_UNIT"
# What changes hosts, and so must not be cut short.
DETACHED = ("commit", "recover")
UNIT_RUN = re.compile(r"^[0-9A-Za-z]{1,64}\Z")
# How long a busy service manager may take to start the unit, before the work is done without it.
READY_SECONDS = 60.0
MAX_LINE = 65536
UNIT_PROPERTIES = (
    # A stop (a shutdown, or an operator's) reaches the program alone, which ends its transaction first: its own
    # children, a restart of Docker under way among them, are left to it.
    "KillMode=mixed",
    "TimeoutStopSec=3600",
    # It may hold a private key, which no core dump shall.
    "LimitCORE=0",
)


class Call(NamedTuple):
    """What the bootstrap was given: its marker, and the whole body behind it as it came."""

    marker: bytes
    body: bytes


def begin(document: Dict[str, Any], secret: bytes, call: Call) -> Dict[str, Any]:
    """What handle answers, wherever it runs. Raises ProgramError as handle does, SystemExit where a unit answered.

    The rest of the program is compiled only by the process that does the work: that is most of what both would spend.
    """
    if isinstance(document, dict) and document.get("do", "commit") in DETACHED:
        hand_over(str(document.get("run")), call)
    load_engine()
    if isinstance(document, dict) and document.get("do") == "boot":
        return at_boot(document, call)
    return handle(document, secret, call.body)


def at_boot(document: Dict[str, Any], call: Call) -> Dict[str, Any]:
    """What handle answers. Nobody reads that at boot: a failure goes to the host's own log, and is the unit's."""
    try:
        return handle(document, b"", call.body)
    except ProgramError as error:
        words = error.message
    except Exception as error:  # noqa: BLE001 - whatever it was, the host's log must have it
        words = "a defect of remediator's own: " + failure_text(error)
    sys.stderr.write("remediator did not recover at boot: " + words + chr(10))
    sys.exit(1)


def hand_over(run: str, call: Call) -> None:
    """Has a unit of its own do this call's work, and passes its answer on; the process ends then (SystemExit).

    Returns where the work is to be done here: inside of that unit, where no systemd runs, and where systemd-run is
    missing, is too old for --pipe and --collect (before 236), or refuses. Nothing was begun elsewhere then: the unit
    gets its frame only after it has said that it is there.
    """
    # One for each call: a run may call twice, and the manager keeps a unit's name a moment longer than its process.
    unit = "remediator-commit-%s-%s.service" % (run.lower(), call.marker[:8].decode("ascii"))
    program = find_program("systemd-run")
    inside = os.environ.get(UNIT_VARIABLE) == unit
    if inside or program is None or UNIT_RUN.match(run) is None or not os.path.isdir(SYSTEMD_DIRECTORY):
        return
    try:
        process = start_program(program, unit_arguments(unit, run) + own_command(), given=True, errors=None)
    except OSError:
        return
    assert process.stdin is not None  # noqa: S101 - for mypy, as the next
    assert process.stdout is not None  # noqa: S101
    frame, answers = process.stdin.fileno(), process.stdout.fileno()
    if not is_ready(answers, call.marker):
        process.kill()
        process.stdin.close()  # what may have been started after all reads an end instead of a program
        process.stdout.close()
        process.wait()
        return
    send(frame, call)
    process.stdin.close()
    if pass_on(answers, call.marker):
        process.kill()  # it waits for the manager to clear the unit away, which nobody else needs to
        process.wait()
        sys.exit(0)
    sys.exit(process.wait())


def unit_arguments(unit: str, run: str) -> List[bytes]:
    """The words of systemd-run before the command."""
    words = ["--system", "--quiet", "--pipe", "--wait", "--collect", "--no-ask-password", "--unit=" + unit]
    words += ["--description=remediator: commit of run " + run, "--setenv=%s=%s" % (UNIT_VARIABLE, unit)]
    words += ["--property=" + each for each in UNIT_PROPERTIES]
    return [word.encode("ascii") for word in words + ["--"]]


def own_command() -> List[bytes]:
    """The command that this process was started with, its interpreter by absolute path.

    A `$` is doubled: systemd would put a variable in its place.
    """
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\0")[:-1]
    interpreter = sys.executable if os.path.isabs(sys.executable or "") else os.readlink("/proc/self/exe")
    return [word.replace(b"$", b"$$") for word in [os.fsencode(interpreter)] + words[1:]]


def is_ready(answers: int, marker: bytes) -> bool:
    """Whether the other program says in time that it waits for its frame."""
    held = bytearray()
    end = time.monotonic() + READY_SECONDS
    while len(held) < MAX_LINE:
        ready, _, _ = select.select([answers], [], [], max(0.0, end - time.monotonic()))
        piece = os.read(answers, 4096) if ready else b""
        if not piece:
            return False
        held += piece
        if any(line.startswith(marker + b" ready") for line in bytes(held).split(b"\n")[:-1]):
            return True
    return False


def send(frame: int, call: Call) -> None:
    """Gives the other program what this one was given."""
    head = b"%s\n%d %s\n" % (call.marker, len(call.body), sha256(call.body).hexdigest().encode("ascii"))
    try:
        write_all(frame, head + call.body)
    except BrokenPipeError:
        pass  # it ended: what it said, or that it said nothing, is the answer


def pass_on(answers: int, marker: bytes) -> bool:
    """Copies to standard output until the answer is whole (true), or all has ended, or nobody is there to read it."""
    held = bytearray()
    while not is_whole(held, marker):
        piece = os.read(answers, 65536)
        if not piece:
            return False
        held += piece
        try:
            write_all(1, piece)
        except BrokenPipeError:
            return False
    return True


def is_whole(held: bytearray, marker: bytes) -> bool:
    """Whether an answer as serve writes it is there to its end."""
    head, newline, answer = bytes(held).partition(marker + b" answer ")[2].partition(b"\n")
    return bool(newline) and len(answer) > int(head.split()[0])
