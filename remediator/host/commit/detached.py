"""A commit that outlives whoever asked for it: it runs in a transient unit of the host's own systemd.

What SSH starts belongs to its session, and dies with it wherever logind has KillUserProcesses=yes. So the program
starts itself once more through systemd-run, hands over all that it was given (on a pipe: a private key never lies on
the disk), and from then on only passes the answer on. What happens to that messenger, to its session or to the
connection is nothing to the unit: it takes the host's lock, ends its transactions and records them.

The messenger's start is added to every commit, so it loads nothing that it can do without: no subprocess, no json, no
typing, and of this program no more than these files.
"""

# What the module signal is made of: that one loads enum and more, which takes longer than all the rest here. Every
# Python has it, but no types of it are published.
import _signal  # type: ignore[import-not-found]
import os
import select
import sys
import time

from remediator.host.commit.engine import load_engine
from remediator.host.commit.finding import PROGRAM_ENVIRONMENT, find_program
from remediator.host.common.digest import sha256
from remediator.host.common.failure import failure_text
from remediator.host.common.writing import write_all

# There where systemd is the init, as sd_booted(3) has it.
SYSTEMD_DIRECTORY = "/run/systemd/system"
UNIT_VARIABLE = "REMEDIATOR_UNIT"
# What stands for the run of a program that is to do its work where it is.
NO_RUN = "-"
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


def begin(marker: "bytes", run: "str", body: "bytes") -> None:
    """Has a unit do the work, which ends this process, or makes the names of the engine known, which does it here.

    Whatever goes wrong, the controller gets a sentence: a traceback on a pipe helps nobody.
    """
    try:
        hand_over(marker, run, body)
        load_engine()
    except Exception as error:  # noqa: BLE001 - whatever it was, as in serve
        why = ("the program could not begin there: " + failure_text(error)).replace("\n", " ")
        write_all(1, b"%s failed %s\n" % (marker, why.encode("ascii", "replace")))
        leave(1)


def hand_over(marker: "bytes", run: "str", body: "bytes") -> None:
    """Has a unit of its own do this call's work, and passes its answer on; the process ends then.

    `run` is the run whose commit it is, `body` what the bootstrap was given behind the marker. Returns where the work
    is to be done here: inside of that unit, where no run is named, where no systemd runs, and where systemd-run is
    missing, is too old for --pipe and --collect (before 236), or refuses. Nothing was begun elsewhere then: the unit
    gets its frame only after it has said that it is there.
    """
    if run == NO_RUN:
        return
    # One for each call: a run may call twice, and the manager keeps a unit's name a moment longer than its process.
    unit = "remediator-commit-%s-%s.service" % (run.lower(), marker[:8].decode("ascii"))
    program = find_program("systemd-run")
    if os.environ.get(UNIT_VARIABLE) == unit or program is None or not os.path.isdir(SYSTEMD_DIRECTORY):
        return
    try:
        messenger = Messenger(program, unit_arguments(unit, run) + own_command())
    except OSError:
        return
    if not messenger.is_ready(marker):
        messenger.give_up()
        return
    messenger.send(b"%s\n%d %s\n" % (marker, len(body), sha256(body).hexdigest().encode("ascii")) + body)
    if messenger.pass_on(marker):
        messenger.end()  # systemd-run waits for the manager to clear the unit away, which nobody else needs to
        leave(0)
    leave(messenger.status())


def leave(status: "int") -> None:
    """Ends the process at once: there is nothing left to flush or to clear away."""
    os._exit(status)


def unit_arguments(unit: "str", run: "str") -> "list[bytes]":
    """The words of systemd-run before the command."""
    words = ["--system", "--quiet", "--pipe", "--wait", "--collect", "--no-ask-password", "--unit=" + unit]
    words += ["--description=remediator: commit of run " + run, "--setenv=%s=%s" % (UNIT_VARIABLE, unit)]
    words += ["--property=" + each for each in UNIT_PROPERTIES]
    return [word.encode("ascii") for word in words + ["--"]]


def own_command() -> "list[bytes]":
    """The command that this process was started with, its interpreter by absolute path.

    A `$` is doubled: systemd would put a variable in its place.
    """
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\0")[:-1]
    interpreter = sys.executable if os.path.isabs(sys.executable or "") else os.readlink("/proc/self/exe")
    return [word.replace(b"$", b"$$") for word in [os.fsencode(interpreter)] + words[1:]]


class Messenger:
    """systemd-run, which starts the other program on two pipes of ours, and what goes over those."""

    def __init__(self, path: "str", words: "list[bytes]") -> None:
        """Starts it. No shell, and no part of our session: it outlives a hang-up. Raises OSError."""
        # Whoever ignores it, and hands that down, has no children to wait for.
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        taken, self.frame = os.pipe2(os.O_CLOEXEC)
        self.answers, given = os.pipe2(os.O_CLOEXEC)
        self.child = os.fork()
        if self.child == 0:
            try:
                os.setsid()
                for number in (_signal.SIGPIPE, _signal.SIGXFSZ):  # Python's own deafness, which must not be inherited
                    _signal.signal(number, _signal.SIG_DFL)
                os.dup2(taken, 0)
                os.dup2(given, 1)
                os.execve(path, [path.encode("ascii")] + words, PROGRAM_ENVIRONMENT)  # noqa: S606 - never a shell
            finally:
                os._exit(127)
        os.close(taken)
        os.close(given)

    def is_ready(self, marker: "bytes") -> "bool":
        """Whether the other program says in time that it waits for its frame."""
        held = bytearray()
        end = time.monotonic() + READY_SECONDS
        while len(held) < MAX_LINE:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(self.answers, 4096) if ready else b""
            if not piece:
                return False
            held += piece
            if any(line.startswith(marker + b" ready") for line in bytes(held).split(b"\n")[:-1]):
                return True
        return False

    def give_up(self) -> None:
        """Ends it before it got anything: what may have been started after all reads an end instead of a program."""
        os.close(self.frame)
        os.close(self.answers)
        self.end()

    def end(self) -> None:
        """Ends systemd-run. The unit goes on."""
        os.kill(self.child, _signal.SIGKILL)
        os.waitpid(self.child, 0)

    def send(self, frame: "bytes") -> None:
        """Gives the other program what this one was given."""
        try:
            write_all(self.frame, frame)
        except BrokenPipeError:
            pass  # it ended: what it said, or that it said nothing, is the answer
        os.close(self.frame)

    def pass_on(self, marker: "bytes") -> "bool":
        """Copies to standard output until the answer is whole (true), or all has ended, or nobody reads it."""
        held = bytearray()
        while not is_whole(held, marker):
            piece = os.read(self.answers, 65536)
            if not piece:
                return False
            held += piece
            try:
                write_all(1, piece)
            except BrokenPipeError:
                return False
        return True

    def status(self) -> "int":
        """How systemd-run ended, once it has: what its unit's program ended with."""
        _, status = os.waitpid(self.child, 0)
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1


def is_whole(held: "bytearray", marker: "bytes") -> "bool":
    """Whether an answer as serve writes it is there to its end."""
    head, newline, answer = bytes(held).partition(marker + b" answer ")[2].partition(b"\n")
    return bool(newline) and len(answer) > int(head.split()[0])
