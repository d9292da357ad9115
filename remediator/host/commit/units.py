"""Units of the host's systemd: their state, their activation, their last words."""

import time
from typing import Dict, List, Sequence

from remediator.host.commit.finding import find_program
from remediator.host.commit.outcomes import NotStartedError, StepError, plain_line
from remediator.host.commit.programs import run_program
from remediator.host.common.patterns import pattern

# A unit that has no timeout of its own (docker.service) gets this many seconds to start, or to stop.
DEFAULT_TIMEOUT = 300.0
LONGEST_TIMEOUT = 1800.0
RELOAD_SECONDS = 180.0
RELOAD_PROPERTIES = "Id,NeedDaemonReload,Transient"
# A unit counts as active once it has kept its main process for this long after its activation, at least.
SETTLE_SECONDS = 2.0
MAX_RESTARTS = 3
# A unit that systemd has given up comes back by nobody's doing but a person's.
GIVEN_UP_SECONDS = 10.0
POLL_SECONDS = 0.2
TIME_SPAN = pattern(r"([0-9]+(?:\.[0-9]+)?)\s*(us|ms|min|month|s|h|d|w|y)")
TIME_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
LOG_LINES = 20
LOG_WIDTH = 300
# A line of the journal up to its message, the service manager's own lines, and the words of a daemon that gives up.
LOG_HEAD = pattern(r"^.{1,200}?\[[0-9]+\]: ")
MANAGER = pattern(r"\ssystemd\[[0-9]+\]: ")
COMPLAINT = pattern(r"(?i)level=(?:error|fatal)|\bfail|\berror|\bunable\b|\bcan ?not\b|\bcould not\b|\bdenied\b")
# What may stand in a service's log and must not leave the host: passwords in addresses, values of secret options.
SECRETS = (
    (pattern(r"(://[^/\s:@]*:)[^@/\s]+@"), r"\1xxxx@"),
    (
        pattern(r"(?i)((?:password|passwd|secret|token|api[-_]?key|authorization)[\"']?\s*[=:]\s*[\"']?)\S+"),
        r"\1xxxx",
    ),
    (pattern(r"(?i)(bearer |basic )\S+"), r"\1xxxx"),
)


def unit_properties(unit: str, names: Sequence[str]) -> Dict[str, str]:
    """Those properties of a unit, as systemd prints them. Raises StepError."""
    answer = run_program("systemctl", ["show", "--no-pager", "-p", ",".join(names), "--", unit])
    if answer.status != 0:
        raise StepError("systemctl show %s: %s" % (unit, answer.complaint()))
    pairs = [line.partition("=") for line in answer.output.split("\n") if "=" in line]
    return {name: value for name, _, value in pairs}


def unit_state(unit: str) -> str:
    """`active` with its main process (`active 812`), or another state with its result."""
    found = unit_properties(unit, ("ActiveState", "SubState", "MainPID", "NRestarts", "Result"))
    if found.get("ActiveState") == "active" and found.get("SubState") not in ("auto-restart", "start-post"):
        return "active %s %s" % (found.get("MainPID", "0"), found.get("NRestarts", "0"))
    return "%s (%s)" % (found.get("ActiveState", "unknown"), found.get("Result", "unknown"))


def wait_until_active(unit: str, deadline: float, settle: float) -> None:
    """Waits until `unit` has been active with one main process for `settle` seconds.

    `deadline` is on the monotonic clock. Raises StepError when it is not active by then.
    """
    since = time.monotonic()
    before = ""
    processes = set()
    while True:
        state = unit_state(unit)
        now = time.monotonic()
        if state != before:
            since, before = now, state
        if state.startswith("active "):
            processes.add(state)
            if now - since >= settle:
                return
        if state.startswith("failed ") and now - since >= GIVEN_UP_SECONDS:
            raise StepError("%s is %s" % (unit, plain_line(state)))
        if len(processes) > MAX_RESTARTS:
            raise StepError("%s keeps being restarted" % unit)
        if now >= deadline and not (state.startswith("active ") and settle):
            raise StepError("%s is %s" % (unit, plain_line(state)))
        if now >= deadline + settle:
            raise StepError("%s does not stay active" % unit)
        time.sleep(POLL_SECONDS)


def seconds_of(text: str, default: float) -> float:
    """A time span as systemctl prints it (`1min 30s`, `infinity`) in seconds."""
    spans = TIME_SPAN.findall(text)
    known = [float(number) * TIME_UNITS[unit] for number, unit in spans if unit in TIME_UNITS]
    return min(sum(known), LONGEST_TIMEOUT) if known and len(known) == len(spans) and sum(known) > 0 else default


def unit_timeout(unit: str) -> float:
    """Seconds that its restart may take at most by its own settings, and half a minute more."""
    found = unit_properties(unit, ("TimeoutStartUSec", "TimeoutStopUSec"))
    spans = [seconds_of(found.get(name, ""), DEFAULT_TIMEOUT) for name in ("TimeoutStartUSec", "TimeoutStopUSec")]
    return sum(spans) + 30.0


def daemon_reload() -> None:
    """Has systemd read its unit files again. Raises StepError."""
    control_unit(["daemon-reload"], RELOAD_SECONDS)


def reload_unit(unit: str) -> None:
    """Has a unit read its configuration again. Raises StepError."""
    control_unit(["reload", "--", unit], unit_timeout(unit))


def restart_unit(unit: str) -> None:
    """Restarts a unit, its start limit cleared first: after failed starts systemd would refuse. Raises StepError."""
    seconds = unit_timeout(unit)
    socket = unit[: -len(".service")] + ".socket" if unit.endswith(".service") else unit
    for name in (unit, socket):
        run_program("systemctl", ["reset-failed", "--", name])  # a unit that has no socket makes this fail: no matter
    control_unit(["restart", "--", unit], seconds)


def control_unit(arguments: List[str], seconds: float) -> None:
    """One systemctl call. Raises StepError."""
    answer = run_program("systemctl", ["--no-pager", "--no-ask-password"] + arguments, seconds)
    if answer.status != 0:
        raise StepError("systemctl %s: %s" % (" ".join(word for word in arguments if word != "--"), answer.complaint()))


def refuse_foreign_reload(units: Sequence[str]) -> None:
    """Raises NotStartedError (held) where a daemon-reload would also activate changed files of other units."""
    answer = run_program("systemctl", ["show", "--no-pager", "-p", RELOAD_PROPERTIES, "--", "*"], RELOAD_SECONDS)
    if answer.status != 0:
        raise NotStartedError(
            "held", "systemctl does not say which units wait for a daemon-reload: " + answer.complaint()
        )
    waiting = []
    for block in answer.output.split("\n\n"):
        found = dict(line.partition("=")[::2] for line in block.split("\n") if "=" in line)
        # A scope is its program's own and nobody's file: systemd 252 says so of one as soon as it has limits.
        transient = found.get("Transient") == "yes"
        if found.get("NeedDaemonReload") == "yes" and not transient and found.get("Id") not in units:
            waiting.append(plain_line(found.get("Id", ""), 100))
    if waiting:
        names = ", ".join(waiting[:5]) + (" and %d more" % (len(waiting) - 5) if len(waiting) > 5 else "")
        raise NotStartedError(
            "held",
            "a daemon-reload would also activate changed unit files that are not ours (%s): run systemctl "
            "daemon-reload when that is wanted, then apply again" % names,
        )


def started_at(unit: str) -> int:
    """When a unit's main process was started, in microseconds of the monotonic clock; 0 for never. Raises StepError."""
    found = unit_properties(unit, ("ExecMainStartTimestampMonotonic",)).get("ExecMainStartTimestampMonotonic", "")
    return int(found) if found.isdigit() else 0


def is_stopping() -> bool:
    """Whether the host is shutting down: systemd refuses to start anything then."""
    try:
        return run_program("systemctl", ["is-system-running"]).output.strip() == "stopping"
    except StepError:
        return False


def unit_is_down(unit: str) -> bool:
    """Whether a unit is known not to be active."""
    try:
        return not unit_state(unit).startswith("active ")
    except StepError:
        return False


def telling_line(log: str) -> str:
    """The last of these lines in which the service itself, and not systemd, complains; empty where none does."""
    own = [line for line in log.split("\n") if COMPLAINT.search(line) is not None and MANAGER.search(line) is None]
    return LOG_HEAD.sub("", own[-1]) if own else ""


def last_log_lines(unit: str) -> str:
    """The unit's own last lines in the journal, bounded, secrets masked; empty where there are none."""
    if find_program("journalctl") is None:
        return ""
    try:
        answer = run_program("journalctl", ["-u", unit, "-n", str(LOG_LINES), "--no-pager", "-q"], 20)
    except StepError:
        return ""
    lines = [line for line in answer.output.split("\n") if line.strip()][-LOG_LINES:]
    for shape, masked in SECRETS:
        lines = [shape.sub(masked, line) for line in lines]
    return "\n".join(plain_line(line, LOG_WIDTH) for line in lines)
