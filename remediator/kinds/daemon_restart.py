"""What the kinds that restart the Docker daemon share: what it reads then, and what must not come along with it."""

from __future__ import annotations

from collections.abc import Iterable

from remediator.dockerd import DaemonConfiguration
from remediator.kinds.tls_files import place
from remediator.observation import Observation
from remediator.overlay import Overlay

UNIT = "docker.service"
SOCKET_UNIT = "docker.socket"
# What a fix waits for where a person must clear the way.
IN_PERSON = "what the reason names"


def pending_reload(seen: Observation) -> str:
    """Why a restart would not start what is on disk, and what to do; empty where it would."""
    stale = [name for name in (UNIT, SOCKET_UNIT) if name in seen.units and seen.units[name].need_daemon_reload]
    if not stale:
        return ""
    return (
        f"{' and '.join(stale)} changed on disk without a daemon-reload, so a restart would not start what is on "
        "disk: run systemctl daemon-reload yourself, then check again"
    )


def read_at_start(told: DaemonConfiguration, overlay: Overlay, more: Iterable[str] = ()) -> list[str]:
    """The files that the daemon reads when it starts; `more` are those that its configuration names."""
    unit = overlay.seen.units[UNIT]
    variables = [variable.path for variable in told.variables.values()]
    files = [told.config_file, unit.fragment or told.line.path, *unit.drop_ins, *variables]
    return [place(path, overlay) for path in (*files, *more)]
