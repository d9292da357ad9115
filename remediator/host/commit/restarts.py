"""What keeps a restart from being made: it would start, or stop for good, what nobody was shown."""

import json
import os
import time
from typing import Any, Dict, List, Sequence, Set

from remediator.host.commit.docker import DOCKER_SOCKET, DOCKER_UNIT, docker_get
from remediator.host.commit.outcomes import NotStartedError, StepError, plain_line
from remediator.host.commit.request import Step, Transaction
from remediator.host.commit.units import unit_properties

# Looking at containers one by one ends here: a daemon that takes longer is not one to restart unattended.
CONTAINERS_SECONDS = 60.0
MAX_NAMED = 5


def refuse_other_restart(transaction: Transaction) -> None:
    """Raises NotStartedError where an activation would do more than the transaction says; StepError, where unknown.

    `held`: it would start another program, or a unit as somebody else changed it. `stale`: it would stop a container
    for good that was not shown.
    """
    for step in transaction.activation:
        if step.do == "daemon_reload":
            hold_pending_units(step.names or ())
        elif step.do == "restart" and step.unit:
            socket_unit = [step.unit[: -len(".service")] + ".socket"] if step.unit.endswith(".service") else []
            hold_pending_units([step.unit] + socket_unit)
            hold_replaced_program(step.unit)
    for step in transaction.probe:
        if step.do == "stays_down":
            named = {name for other in transaction.probe if other.do == "containers" for name in other.names or ()}
            refuse_lost_containers(step, named)


def hold_pending_units(units: Sequence[str]) -> None:
    """Raises NotStartedError (held) where a unit lies on disk otherwise than systemd has read it.

    Nothing was written yet, so that is nothing of ours, even where it is our own unit: what an earlier transaction
    wrote was activated with it, or put back and read again.
    """
    waiting = [name for name in units if unit_properties(name, ("NeedDaemonReload",)).get("NeedDaemonReload") == "yes"]
    if waiting:
        raise NotStartedError(
            "held",
            "%s changed on disk without a daemon-reload, and this would put in force what is not ours: run systemctl "
            "daemon-reload when that is wanted, then apply again" % " and ".join(waiting),
        )


def hold_replaced_program(unit: str) -> None:
    """Raises NotStartedError (held) where a unit would start another program than the one that runs."""
    program = replaced_program(unit_properties(unit, ("MainPID",)).get("MainPID", ""))
    if program:
        raise NotStartedError(
            "held",
            "%s was replaced since %s started, and a restart would start the new one as well: restart it by hand when "
            "that is wanted, then apply again" % (plain_line(program), unit),
        )


def replaced_program(pid: str) -> str:
    """The path of a process's program where another file lies there now, or none; empty where it is the same."""
    if not pid.isdigit() or pid == "0":
        return ""
    link = "/proc/%s/exe" % pid
    try:
        path, runs = os.readlink(link), os.stat(link)
    except OSError:
        return ""
    try:
        lies = os.stat(path)
    except OSError:
        return path
    return path if (runs.st_dev, runs.st_ino) != (lies.st_dev, lies.st_ino) else ""


def refuse_lost_containers(step: Step, coming_back: Set[str]) -> None:
    """Raises NotStartedError (stale) where a container runs that would not come back and that nobody was shown.

    `coming_back` are those that are waited for afterwards. Raises StepError where the daemon does not say.
    """
    address = step.path or DOCKER_SOCKET
    end = time.monotonic() + CONTAINERS_SECONDS
    known = coming_back | set(step.names or ())
    lost = []
    others = [one for one in listed_containers(address) if not known.intersection(names_in_list(one))]
    if not others or live_restore(address):
        return
    for one in others:
        if time.monotonic() > end:
            raise StepError("the Docker daemon takes too long to say which containers would come back")
        if stays_down(one, address):
            lost.append(plain_line((names_in_list(one) or ["one without a name"])[0], 100))
    if lost:
        names = ", ".join(lost[:MAX_NAMED]) + (
            " and %d more" % (len(lost) - MAX_NAMED) if len(lost) > MAX_NAMED else ""
        )
        words = "the restart of %s would stop %s for good (no restart policy), which the preview did not show"
        raise NotStartedError("stale", words % (DOCKER_UNIT, names) + "; preview again")


def docker_document(path: str, address: str) -> Any:
    """The JSON that the daemon answers. Raises StepError."""
    try:
        return json.loads(docker_get(path, address).decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise StepError("the Docker daemon's answer cannot be read")


def listed_containers(address: str) -> List[Dict[str, Any]]:
    """The containers that run or are paused, as the daemon lists them. Raises StepError."""
    listed = docker_document("/containers/json", address)
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise StepError("the Docker daemon's list of containers cannot be read")
    return [one for one in listed if one.get("State") != "restarting"]


def names_in_list(one: Dict[str, Any]) -> List[str]:
    """A listed container's names."""
    names = one.get("Names")
    return [str(name).lstrip("/") for name in names] if isinstance(names, list) else []


def live_restore(address: str) -> bool:
    """Whether containers outlive the daemon that runs now. Raises StepError."""
    info = docker_document("/info", address)
    return isinstance(info, dict) and info.get("LiveRestoreEnabled") is True


def stays_down(one: Dict[str, Any], address: str) -> bool:
    """Whether a container would be gone for good, which `--rm` asks for anyway. Raises StepError."""
    identity = str(one.get("Id"))
    if not identity.isalnum():
        raise StepError("the Docker daemon lists a container whose id is not hexadecimal")
    try:
        found = docker_document("/containers/%s/json" % identity, address)
        settings = found["HostConfig"]
        policy = (settings.get("RestartPolicy") or {}).get("Name") or "no"
        return policy == "no" and settings.get("AutoRemove") is not True
    except StepError:
        if identity not in [str(other.get("Id")) for other in listed_containers(address)]:
            return False  # it ended in the meantime
        raise
    except (AttributeError, KeyError, TypeError):
        raise StepError("the Docker daemon's answer about a container cannot be read")
