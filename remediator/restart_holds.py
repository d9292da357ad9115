"""What keeps a restart or a daemon-reload from being made on one host now, and what would release it. Pure.

What a change needs to come into force is part of it: where that must not be done, the whole change is held back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from remediator.observation import Observation
from remediator.overlay import Overlay
from remediator.plan import Step
from remediator.policy import Policy
from remediator.surroundings import Surroundings
from remediator.text import one_line

# Their restart takes a node's pods with it, or what runs them.
_NODE_RUNTIMES = ("docker.service", "containerd.service")
_DRAIN = "before_restart and after_restart in remediator_policy (this is a Kubernetes node: drain it first)"


@dataclass(frozen=True)
class Hold:
    """Why an activation must not be made now, empty where `release` says it all: what would permit it."""

    reason: str
    release: str


def holds(trial: Overlay, permitted: Overlay, policy: Policy, around: Surroundings) -> tuple[Hold, ...]:
    """What is in the way of the activations that `trial` asks for beyond `permitted`; empty for nothing."""
    known = {step for steps in permitted.steps.values() for step in steps}
    asked = dict.fromkeys(step for steps in trial.steps.values() for step in steps if step not in known)
    return tuple(dict.fromkeys(hold for step in asked for hold in _holds(step, trial.seen, policy, around)))


def recovery_hold(host: str, seen: Observation, policy: Policy, around: Surroundings) -> str:
    """What must come before anything is changed on `host`, since a commit rolls back in passing what was interrupted.

    Empty where that restarts nothing, or only what this policy lets be restarted now with no command around it.
    """
    units = seen.state.restarts if seen.state is not None else ()
    permitted = not policy.restarts.release(around.now, policy.asks) and not policy.restarts.hooks
    if not units or (permitted and not (_is_node(seen) and any(unit in _NODE_RUNTIMES for unit in units))):
        return ""
    return recover_first(host, units)


def recover_first(host: str, units: tuple[str, ...]) -> str:
    """The call that rolls back what was interrupted, and why it must be made first."""
    return one_line(
        f"remediate recover -i INVENTORY -l {host} (an interrupted transaction must be rolled back first, which "
        f"restarts {', '.join(units)})",
        1000,
    )


def _holds(step: Step, seen: Observation, policy: Policy, around: Surroundings) -> Iterator[Hold]:
    if step.do == "daemon_reload":
        yield from _pending(seen, tuple(seen.units))
    if step.do != "restart" or step.unit is None:
        return
    socket = step.unit.removesuffix(".service") + ".socket"
    yield from _pending(seen, (step.unit, socket))
    for component in seen.components.get(step.unit.removesuffix(".service"), ()):
        if component.replaced:
            program = component.exe or "its program"
            yield Hold(
                f"{program} was replaced since {step.unit} started, and a restart here would start the new one as well",
                f"a restart of {step.unit} by hand",
            )
    if step.unit in _NODE_RUNTIMES and _is_node(seen) and not policy.restarts.before:
        yield Hold("", _DRAIN)
    release = policy.restarts.release(around.now, policy.asks)
    if release:
        yield Hold("", release)


def _pending(seen: Observation, names: tuple[str, ...]) -> Iterator[Hold]:
    """Units that systemd has read otherwise than they lie on disk: somebody else's change, not put in force yet."""
    waiting = [name for name in names if name in seen.units and seen.units[name].need_daemon_reload]
    if waiting:
        yield Hold(
            f"{', '.join(waiting)} changed on disk without a daemon-reload, which would be put in force as well",
            "systemctl daemon-reload by hand",
        )


def _is_node(seen: Observation) -> bool:
    return any(name in seen.systems and seen.systems[name].present for name in ("kubernetes", "kubelet"))
