"""process_current: whether the running Docker daemon was started with, and has read, what its files say now.

What it was started with is its command line, against the one that its unit gives it as the files stand. What it has
read of daemon.json it answers itself (GET /info); of options that it does not answer, only the times of the file and
of the process tell. Modes and owners change a file's ctime alone, so that a file counts as written since the start
where its mtime says so too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from remediator.dockerd import DaemonConfiguration, other_variables, read_configuration
from remediator.dockerd import needs as configuration_needs
from remediator.dockerd.answers import compare
from remediator.dockerd.command_line import differing_flags
from remediator.dockerd.json_edit import read_object
from remediator.dockerd.options import reloads, unstartable
from remediator.kinds.daemon_restart import IN_PERSON, UNIT, pending_reload, read_at_start
from remediator.kinds.interface import Decision, Kind, Parameters, Scope
from remediator.kinds.tls_files import GROUP
from remediator.observation import Component, Observation
from remediator.overlay import Overlay
from remediator.plan import Step
from remediator.request import Needs
from remediator.text import one_line

# Their effect is what docker_tls looks at, by a handshake with every listener.
_OF_TLS = frozenset(("hosts", "tls", "tlsverify", "tlscacert", "tlscert", "tlskey"))
# Flag, key and default of what must not stay in force once nothing on disk sets it. A reload does not take it away.
_DEFAULTS: tuple[tuple[str, str, object], ...] = (
    ("insecure-registry", "insecure-registries", []),
    ("registry-mirror", "registry-mirrors", []),
    ("authorization-plugin", "authorization-plugins", []),
    ("live-restore", "live-restore", False),
)
# Directories in which files that the daemon was started with may have come or gone.
_DIRECTORIES = (
    "/etc/default",
    "/etc/sysconfig",
    "/etc/systemd/system",
    "/etc/systemd/system/docker.service.d",
    "/run/systemd/system",
    "/run/systemd/system/docker.service.d",
)
# Said of a restart: the bytes that come into force are not ours to put back.
_FOR_GOOD = "this cannot be undone: a daemon that does not start with what stands there now stays down"
# A start is known to 10 ms, and a file's times are as coarse.
_SLACK_NS = 100_000_000
_MOST_SAID = 6


class ProcessCurrentParameters(Parameters):
    """Nothing: there is one daemon."""


@dataclass(frozen=True)
class _Fault:
    """One thing that the process does not have, in words; `live` where it can take it over without a restart."""

    said: str
    live: bool = False


@dataclass(frozen=True)
class _Process:
    """The daemon as it runs, and what it is told on disk. Times are in ns by the host's clock, None where not known."""

    component: Component
    told: DaemonConfiguration
    started: int | None
    reloaded: int | None  # the last time that it may have read daemon.json


class ProcessCurrent(Kind):
    """Decides what no benchmark looks at: files that are right and a process that has never read them."""

    name = "process_current"
    parameters = ProcessCurrentParameters

    def needs(self, parameters: Parameters) -> Needs:
        """The daemon's configuration, what it answers of itself, and its containers for what a restart costs."""
        return configuration_needs() | Needs.of(list(_DIRECTORIES), "docker")

    def decide(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision:
        """Drifted where the process lacks what stands on disk, with its reload or its restart staged.

        Nothing is staged where a restart would put more in force than that, or would not help. `manual` where the
        daemon would not come back from one, or where only its program or what systemd knows of its unit is old.
        """
        process = _look(scope.seen)
        if isinstance(process, Decision):
            return process
        faults = _faults(process, scope.seen)
        docker = scope.seen.docker
        if not faults and (docker is None or docker.settings is None):
            why = docker.error if docker is not None and docker.error else "it answered nothing"
            return Decision("unknown", f"what the daemon has read cannot be asked: {one_line(why, 500)}")
        blocked = _blocked(process, scope.seen)
        if not faults and blocked:
            return Decision("manual", blocked)
        if not faults:
            return Decision("compliant", "the daemon runs with what its unit and daemon.json say")
        said = [fault.said for fault in faults]
        more = [f"and {len(said) - _MOST_SAID} more"] if len(said) > _MOST_SAID else []
        reason = "; ".join((*said[:_MOST_SAID], *more))
        hindrance = blocked or _hindrance(process, faults, scope.seen)
        if hindrance:
            return Decision("drifted", f"{reason}; {hindrance}", waits_for=IN_PERSON)
        _stage(control, process, faults, reason, overlay)
        return Decision("drifted", reason)


def _look(seen: Observation) -> _Process | Decision:
    """The daemon of this host, or the decision where there is none, it cannot be known, or a person must act first."""
    unit = seen.units.get(UNIT)
    if unit is None or unit.load in ("not-found", "masked"):
        return Decision("not_applicable", f"{UNIT} is {unit.load if unit else 'not there'}: systemd starts no daemon")
    if unit.active in ("inactive", "failed"):
        return Decision("not_applicable", f"{UNIT} is {unit.active}: no process could be older than its files")
    if unit.active not in ("active", "reloading"):
        return Decision("unknown", f"{UNIT} is {one_line(unit.active, 40)}: check again when it is active")
    component = next((one for one in seen.components.get("docker", ()) if one.source == UNIT and one.argv), None)
    if component is None:
        return Decision("unknown", f"the main process of {UNIT} could not be looked at: give -b (--become), or see -v")
    overlay = Overlay(seen)
    broken = _broken_file(overlay)
    if broken:
        return Decision("manual", f"{broken}; until then the daemon would not come back from a restart")
    told = read_configuration(overlay)
    if isinstance(told, str):
        return Decision("unknown", told)
    version = seen.docker.server_version if seen.docker is not None else None
    wrong = unstartable(told.document, version)
    if told.conflict or wrong:
        why = told.conflict or f"{told.config_file}: {wrong}"
        return Decision("manual", f"{one_line(why, 1000)}; until then the daemon would not come back from a restart")
    since = [moment for moment in (component.started_ns, unit.state_changed_ns) if moment is not None]
    return _Process(component, told, component.started_ns, max(since) if component.started_ns is not None else None)


def _blocked(process: _Process, seen: Observation) -> str:
    """Why a restart would put something else in force than what the files say, and what to do; empty if not."""
    pending = pending_reload(seen)
    if pending or not process.component.replaced:
        return pending
    program = one_line(process.component.exe or "dockerd", 300)
    return (
        f"{program} was replaced since the daemon started, so a restart would bring another version as well: restart "
        "it yourself when that is wanted"
    )


def _broken_file(overlay: Overlay) -> str:
    """Why dockerd does not start with daemon.json, whatever stands in it; empty where it is read, or is not seen."""
    reference = overlay.seen.references.get("@docker.config_file")
    for named in reference.paths[:1] if reference is not None else ():
        facts = overlay.seen.files.get(named.path)
        resolved = facts.resolved if facts is not None and facts.type == "symlink" else None
        content = overlay.content(resolved or named.path)
        try:
            read_object(content or b"")
        except ValueError as error:
            return one_line(f"{named.path}: {error}, so dockerd does not start with it: correct it", 1000)
    return ""


def _faults(process: _Process, seen: Observation) -> list[_Fault]:
    """All that the process does not have of what stands on disk."""
    told = process.told
    faults = [_Fault(said) for said in differing_flags(process.component.argv, told)]
    docker = seen.docker
    if docker is None or docker.settings is None:
        return faults
    unset = {key: default for flag, key, default in _DEFAULTS if told.option(flag) is None}
    compared = compare({**told.document, **unset}, docker)
    file = one_line(told.config_file, 300)
    for one in compared.differences:
        said = f"is {one.wanted} in {file}" if one.key not in unset else f"is set nowhere any more, {file} included"
        live = one.key not in unset and reloads(one.key, told.document[one.key])
        faults.append(_Fault(f"{one.key} {said}, and the daemon has {one.found}", live))
    return [*faults, *_untold(process, [key for key in compared.untold if key not in unset], seen)]


def _untold(process: _Process, keys: Iterable[str], seen: Observation) -> list[_Fault]:
    """What the daemon does not tell, and what was written since it started or read daemon.json."""
    told, file = process.told, process.told.config_file
    faults = []
    for live, since in ((True, process.reloaded), (False, process.started)):
        named = [key for key in keys if key not in _OF_TLS and reloads(key, told.document[key]) is live]
        if named and _written([file], since, seen):
            words = "the daemon last read it" if live else "the daemon started"
            said = (
                f"{one_line(file, 300)} was changed after {words}; these options may not be in force: {_named(named)}"
            )
            faults.append(_Fault(said, live))
    for path, names in other_variables(told, Overlay(seen)).items():
        if names and _written([path], process.started, seen):
            said = f"{one_line(path, 300)} was changed after the daemon started; these variables may not be in force"
            faults.append(_Fault(f"{said}: {_named(names)}"))
    return faults


def _named(names: Iterable[str]) -> str:
    return one_line(", ".join(names), 300)


def _written(paths: Iterable[str], since: int | None, seen: Observation) -> bool:
    """Whether one of the files was certainly written after that moment."""
    if since is None:
        return False
    for path in _with_targets(paths, seen):
        facts = seen.files.get(path)
        now = seen.host.clock_ns
        if facts is None or facts.type != "file" or min(facts.mtime_ns, facts.ctime_ns) <= since + _SLACK_NS:
            continue
        # A file from the future says nothing of the past: the clock was set back.
        if now is None or facts.mtime_ns <= now + _SLACK_NS:
            return True
    return False


def _touched(paths: Iterable[str], since: int | None, seen: Observation) -> bool:
    """Whether one of the files or directories may have been changed after that moment."""
    times = [seen.files[path].ctime_ns for path in _with_targets(paths, seen) if path in seen.files]
    return since is None or any(moment > since for moment in times)


def _with_targets(paths: Iterable[str], seen: Observation) -> list[str]:
    """The paths, and what those that are symlinks lead to."""
    found = dict.fromkeys(paths)
    links = [seen.files[path] for path in found if path in seen.files]
    return [*found, *(facts.resolved for facts in links if facts.type == "symlink" and facts.resolved)]


def _is_reload(process: _Process, faults: list[_Fault], seen: Observation) -> bool:
    """Whether a reload gives the process all that it lacks. One that came after the last change did not."""
    can = seen.units[UNIT].properties.get("CanReload") == "yes"
    return can and all(fault.live for fault in faults) and _touched([process.told.config_file], process.reloaded, seen)


def _hindrance(process: _Process, faults: list[_Fault], seen: Observation) -> str:
    """Why neither a reload nor a restart is for us to make; empty where one is."""
    if _is_reload(process, faults, seen):
        return ""
    files = read_at_start(process.told, Overlay(seen), other_variables(process.told, Overlay(seen)))
    directories = [process.told.config_file.rpartition("/")[0], *_DIRECTORIES]
    if not _touched([*files, *directories], process.started, seen):
        return (
            "it was started after all of that was last changed, so that one more restart would hardly help: see "
            f"journalctl -u {UNIT}"
        )
    docker = seen.docker
    if docker is not None and docker.error:
        return f"the containers that a restart stops cannot be named: {one_line(docker.error, 500)}"
    wanted = process.told.option("live-restore")
    if docker is not None and docker.live_restore and (wanted is None or not wanted.is_on):
        return (
            "live-restore goes off with a restart, so that the containers that it stops cannot be named beforehand: "
            f"restart {UNIT} yourself when that is wanted"
        )
    return ""


def _stage(control: str, process: _Process, faults: list[_Fault], why: str, overlay: Overlay) -> None:
    """Stage the reload or the restart, which rests on everything that the daemon reads then."""
    told = process.told
    files = read_at_start(told, overlay, other_variables(told, Overlay(overlay.seen)))
    if _is_reload(process, faults, overlay.seen):
        overlay.restart(control, GROUP, UNIT, why, dict.fromkeys(files), do="reload")
    else:
        overlay.restart(control, GROUP, UNIT, f"{why}; {_FOR_GOOD}", dict.fromkeys(files))
    config = files[0]
    facts = overlay.seen.files.get(config)
    if facts is not None and facts.type == "file":
        overlay.validate(GROUP, Step(do="dockerd", path=config))
