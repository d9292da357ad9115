"""Activations and probes: the closed set of what is done once everything is written."""

import stat
import time
from typing import List, Optional, Sequence, Set

from remediator.host.commit.docker import DOCKER_SOCKET, DOCKER_UNIT, docker_ping, running_containers
from remediator.host.commit.kernel_audit import loaded_rules, rule_form
from remediator.host.commit.mutual_tls import probe_mutual_tls
from remediator.host.commit.outcomes import NotStartedError, StepError, plain_line
from remediator.host.commit.places import open_place
from remediator.host.commit.request import Step, Transaction
from remediator.host.commit.units import (
    POLL_SECONDS,
    SETTLE_SECONDS,
    daemon_reload,
    reload_unit,
    restart_unit,
    unit_state,
    wait_until_active,
)

# How long a service may take to answer again after its activation.
PROBE_SECONDS = 60.0
# What must hold of the old state too: a service that was put back must be well, and no more than that.
HEALTH_PROBES = ("unit_active", "docker_ping", "containers")


def activate(step: Step) -> None:
    """Carries out one activation. Raises StepError."""
    if step.do == "daemon_reload":
        daemon_reload()
    elif step.do == "reload" and step.unit:
        reload_unit(step.unit)
    elif step.do == "restart" and step.unit:
        restart_unit(step.unit)


def serving_units(transaction: Transaction) -> List[str]:
    """Units whose health this transaction leans on."""
    units = [step.unit for step in transaction.activation + transaction.probe if step.unit]
    if any(step.do in ("docker_ping", "containers") for step in transaction.probe):
        units.append(DOCKER_UNIT)
    return list(dict.fromkeys(units))


def check_health(transaction: Transaction) -> Set[str]:
    """Raises NotStartedError(`refused`) unless every service that is probed afterwards is well now.

    Answers with the names of containers that run now: others are not waited for afterwards.
    """
    running: Set[str] = set()
    try:
        for unit in serving_units(transaction):
            state = unit_state(unit)
            if not state.startswith("active "):
                raise StepError("%s is %s" % (unit, plain_line(state)))
        for step in transaction.probe:
            if step.do == "docker_ping":
                docker_ping(step.path or DOCKER_SOCKET)
            elif step.do == "containers":
                running |= running_containers(step.path or DOCKER_SOCKET)
    except StepError as failure:
        raise NotStartedError("refused", "it was not well before any change: %s; repair that first" % failure)
    return running


def settle_seconds(activated: Sequence[Step], healthy: float) -> float:
    """How long a service must stay well after these activations: `healthy` after a restart, 0 after none at all."""
    if not activated:
        return 0.0
    return max(SETTLE_SECONDS, healthy if any(step.do == "restart" for step in activated) else 0.0)


def probe(step: Step, path: Optional[str], running: Set[str], settle: float) -> None:
    """Raises StepError unless the change is in force (`path` is the real one) and the service well.

    After an activation a service has PROBE_SECONDS to get there, and must stay so for `settle` seconds; 0 stands for
    no activation. `running` are the containers to wait for.
    """
    patience = PROBE_SECONDS if settle else 0.0
    if step.do == "mode_is" and path is not None:
        probe_access(step, path)
    elif step.do == "audit_loaded" and step.rule:
        if rule_form(step.rule) not in loaded_rules():
            raise StepError("the kernel does not list the rule " + plain_line(" ".join(step.rule)))
    elif step.do == "unit_active" and step.unit:
        wait_until_active(step.unit, time.monotonic() + patience, settle)
    elif step.do in ("docker_ping", "containers"):
        probe_docker(step, running, patience)
    elif step.do == "mutual_tls" and path is not None:
        probe_mutual_tls(step, path, patience)


def probe_access(step: Step, path: str) -> None:
    """Raises StepError unless mode and owner are as wanted."""
    place = open_place(path)
    try:
        found = place.stat()
    finally:
        place.close()
    shown = plain_line(step.path or path)
    if found is None:
        raise StepError(shown + " is gone")
    now = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
    if now != (step.mode, step.uid, step.gid):
        raise StepError("%s has mode %04o and owner %d:%d afterwards" % ((shown,) + now))


def probe_docker(step: Step, running: Set[str], patience: float) -> None:
    """Waits until the daemon answers, and the step's containers that ran before run again. Raises StepError."""
    address = step.path or DOCKER_SOCKET
    wanted = running & set(step.names or ())
    end = time.monotonic() + patience
    while True:
        try:
            if step.do == "docker_ping":
                docker_ping(address)
                return
            missing = sorted(wanted - running_containers(address))
            if not missing:
                return
            failure = StepError("these containers do not run again: " + plain_line(", ".join(missing)))
        except StepError as error:
            failure = error
        if time.monotonic() >= end:
            raise failure
        time.sleep(POLL_SECONDS)
