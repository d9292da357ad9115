"""socket_access: who may talk to a systemd socket, now and after the next start of its unit.

A chmod or chown of a socket is lost when its unit starts again, so the unit's own SocketMode=, SocketUser= and
SocketGroup= (systemd.socket(5)) are decided as well and set in a drop-in of ours.
"""

from __future__ import annotations

import re
from dataclasses import replace

from remediator.kinds.file_access import FileAccess, FileAccessParameters, resolve_names
from remediator.kinds.interface import Decision, Kind, Parameters, Scope
from remediator.kinds.obstacle import edit_obstacle
from remediator.observation import Unit
from remediator.overlay import Overlay
from remediator.plan import Step
from remediator.request import Needs

_DROP_IN = "/etc/systemd/system/{unit}.d/50-remediator-access.conf"
_OURS = ("SocketMode", "SocketUser", "SocketGroup")
_HEAD = "# Written by remediator: who may talk to this socket.\n[Socket]\n"


class SocketAccessParameters(FileAccessParameters):
    """Like file_access; `unit` is the socket unit that makes the socket."""

    unit: str


class SocketAccess(Kind):
    """Decides docker-bench's 3.15 and 3.16 on the socket itself and on what its unit will make of it."""

    name = "socket_access"
    parameters = SocketAccessParameters

    def needs(self, parameters: Parameters) -> Needs:
        """The socket, our drop-in, its directory and the one that this would be made in."""
        assert isinstance(parameters, SocketAccessParameters)  # noqa: S101 - narrows for mypy: the catalogue made it
        drop_in = _DROP_IN.format(unit=parameters.unit)
        above = [drop_in.rpartition("/")[0], drop_in.rpartition("/")[0].rpartition("/")[0]]
        return Needs.of([*parameters.places, *above], contents=[drop_in])

    def decide(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision:
        """As file_access decides the socket, and drifted also where its unit would make it looser again."""
        assert isinstance(parameters, SocketAccessParameters)  # noqa: S101
        before = overlay.copy()
        live = FileAccess().decide(control, parameters, scope, overlay)
        if live.verdict not in ("compliant", "drifted"):
            return live
        unit = scope.seen.units.get(parameters.unit)
        if unit is None or unit.load != "loaded":
            return live
        wanted = _wanted_settings(parameters, scope, unit)
        if not wanted:
            return live
        obstacle = _obstacle(parameters.unit, unit, wanted, scope, before)
        if obstacle:
            return Decision("manual", obstacle)
        _stage(control, parameters.unit, wanted, overlay)
        reason = live.reason if live.verdict == "drifted" else f"{parameters.unit} would open it at its next start"
        return replace(live, verdict="drifted", reason=reason)


def _obstacle(name: str, unit: Unit, wanted: dict[str, str], scope: Scope, overlay: Overlay) -> str:
    """Why a drop-in cannot set `wanted`, so that a person must; empty when it can."""
    pending = sorted(other for other, facts in scope.seen.units.items() if facts.need_daemon_reload)
    if pending:
        rest = f" and {len(pending) - 3} more" if len(pending) > 3 else ""
        return (
            f"{', '.join(pending[:3])}{rest} changed on disk without a daemon-reload, and setting {', '.join(wanted)} "
            "would put those changes in force as well: run systemctl daemon-reload yourself, then check again"
        )
    path = _DROP_IN.format(unit=name)
    obstacle = edit_obstacle(path, scope, overlay)
    if obstacle:
        return obstacle
    facts = overlay.seen.files.get(path)
    if facts is not None and facts.content is not None and _settings(facts.content).items() >= wanted.items():
        later = [drop_in for drop_in in unit.drop_ins if drop_in.rpartition("/")[2] > path.rpartition("/")[2]]
        return (
            f"{path} sets {', '.join(wanted)} already, and {name} does not heed it: another drop-in sets it after ours"
            f" ({', '.join(later[:3]) or 'see systemctl cat ' + name}): correct that one"
        )
    return ""


def _wanted_settings(parameters: SocketAccessParameters, scope: Scope, unit: Unit) -> dict[str, str]:
    """The [Socket] settings that the unit lacks, by name."""
    wanted: dict[str, str] = {}
    if parameters.mode is not None:
        present = unit.properties.get("SocketMode", "")
        allowed = int(parameters.mode, 8)
        if re.fullmatch("[0-7]{1,4}", present) and int(present, 8) & ~allowed:
            wanted["SocketMode"] = f"{int(present, 8) & allowed:04o}"
    names = resolve_names(parameters, scope)
    if isinstance(names, Decision):
        return wanted
    for setting, want in (("SocketUser", names.owner), ("SocketGroup", names.group)):
        present = unit.properties.get(setting, "") or "root"
        if want is not None and present != want[0]:
            wanted[setting] = want[0]
    return wanted


def _stage(control: str, unit: str, wanted: dict[str, str], overlay: Overlay) -> None:
    path = _DROP_IN.format(unit=unit)
    directory = path.rpartition("/")[0]
    facts = overlay.seen.files.get(directory)
    if directory not in overlay.files and (facts is None or facts.type == "missing"):
        overlay.make_directory(control, "docker", directory, 0o755)
    settings = {**_settings(overlay.content(path) or b""), **wanted}
    lines = "".join(f"{name}={value}\n" for name, value in sorted(settings.items()))
    overlay.write(control, "docker", path, (_HEAD + lines).encode(), 0o644)
    overlay.activate("docker", Step(do="daemon_reload", names=(unit,)))


def _settings(content: bytes) -> dict[str, str]:
    """The settings in our drop-in; what else is there is not ours to keep."""
    lines = [line.partition("=") for line in content.decode("utf-8", "replace").split("\n")]
    return {name: value for name, equals, value in lines if equals and name in _OURS}
