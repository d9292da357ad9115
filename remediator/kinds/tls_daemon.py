"""One host's daemon as both kinds of its TLS see it: what it is told, what it serves with, what is to be staged."""

from __future__ import annotations

from dataclasses import dataclass

from remediator.dockerd import DaemonConfiguration, Wanted, configure, normalise_listen, read_configuration
from remediator.dockerd import needs as configuration_needs
from remediator.errors import UsageError
from remediator.host.commit.roots import is_normal_path
from remediator.kinds.daemon_restart import IN_PERSON as IN_PERSON
from remediator.kinds.daemon_restart import UNIT, pending_reload, read_at_start
from remediator.kinds.interface import Decision, Scope
from remediator.kinds.tls_files import (
    GROUP,
    Judged,
    Offer,
    TlsParameters,
    TlsPaths,
    install,
    is_due,
    judge,
    offer,
    tls_file_needs,
    tls_paths,
)
from remediator.overlay import Overlay
from remediator.plan import Step
from remediator.request import Needs
from remediator.text import one_line

# observe looks at no more of them.
_MOST_ADDRESSES = 8


@dataclass(frozen=True)
class Daemon:
    """What the daemon is told on disk, and what it shall serve with.

    `listen` are the addresses that the inventory wants (None: those that it has). `present` says what is wrong with the
    files at `paths`, `offered` what the controller has in their place.
    """

    configuration: DaemonConfiguration
    listen: tuple[str, ...] | None
    paths: TlsPaths
    present: Judged
    offered: Offer
    running: bool


@dataclass(frozen=True)
class Hindrance:
    """Why nothing was staged. `waits_for` is what would help; empty where a person must clear the way."""

    reason: str
    waits_for: str = ""


def daemon_needs() -> Needs:
    """What must be observed to judge a daemon's TLS and to change it; its containers, for what a restart costs."""
    return configuration_needs() | tls_file_needs() | Needs.of([], "docker")


def look(parameters: TlsParameters, scope: Scope) -> Daemon | Decision:
    """The daemon of this host, or the decision where there is none or it cannot be known."""
    unit = scope.seen.units.get(UNIT)
    if unit is None or unit.load in ("not-found", "masked"):
        return Decision("not_applicable", f"{UNIT} is {unit.load if unit else 'not there'}: systemd starts no daemon")
    try:
        listen = _listen(parameters.listen, scope)
        directory = _directory(parameters.directory, scope)
    except UsageError as error:
        return Decision("unknown", one_line(str(error), 1000))
    configuration = read_configuration(Overlay(scope.seen))
    if isinstance(configuration, str):
        return Decision("unknown", configuration)
    paths = tls_paths(configuration, scope, directory)
    running = unit.active in ("active", "reloading")
    return Daemon(configuration, listen, paths, judge(paths, scope), offer(paths, scope), running)


def stage(
    control: str, daemon: Daemon, scope: Scope, overlay: Overlay, why_restart: str, tell: bool
) -> Hindrance | None:
    """Stage due files, with `tell` what the daemon shall be told, and its restart; None once that is done.

    Where nothing on disk needs to change, the restart is the change, for the reason `why_restart`.
    """
    hindrance = _not_now(daemon, scope)
    if hindrance is None:
        # A copy first: what cannot be done in full is not begun.
        hindrance = _stage(control, daemon, scope, overlay.copy(), why_restart, tell)
    return hindrance or _stage(control, daemon, scope, overlay, why_restart, tell)


def _listen(variable: str, scope: Scope) -> tuple[str, ...] | None:
    """The wanted addresses, None for none. Raises UsageError."""
    value = scope.variables.get(variable) or []
    if not isinstance(value, list) or len(value) > _MOST_ADDRESSES:
        raise UsageError(
            f"{variable} must be a list of at most {_MOST_ADDRESSES} addresses, such as 192.0.2.7:2376. Correct it in "
            "the inventory."
        )
    return tuple(dict.fromkeys(normalise_listen(item) for item in value)) or None


def _directory(variable: str, scope: Scope) -> str:
    """The directory for files that the daemon does not name. Raises UsageError."""
    value = scope.variables.get(variable)
    directory = value.rstrip("/") if isinstance(value, str) else ""
    if not is_normal_path(directory) or directory == "/":
        raise UsageError(f"{variable} must be the absolute path of a directory. Correct it in the inventory.")
    return directory


def _not_now(daemon: Daemon, scope: Scope) -> Hindrance | None:
    """What is in the way of any change: no files to serve with, a daemon that would not start, other people's edits."""
    offered, present = daemon.offered, daemon.present
    serves = daemon.listen or daemon.configuration.tcp
    if serves and not is_due(present, offered) and (scope.surroundings.problem or not present.sound):
        wrong = present.wrong if daemon.configuration.tls else ()
        files = "; ".join((*wrong, *present.unknown))
        return Hindrance(offered.why_not or files, "" if offered.material else offered.waits_for)
    if daemon.configuration.conflict:
        return Hindrance(one_line(daemon.configuration.conflict, 1000))
    if not daemon.running:
        state = one_line(scope.seen.units[UNIT].active, 40)
        return Hindrance(f"{UNIT} is {state}, and only a daemon that is well is restarted: start it, then check again")
    pending = pending_reload(scope.seen)
    return Hindrance(pending) if pending else None


def _stage(
    control: str, daemon: Daemon, scope: Scope, overlay: Overlay, why_restart: str, tell: bool
) -> Hindrance | None:
    before = dict(overlay.files)
    due = is_due(daemon.present, daemon.offered)
    obstacle = install(control, daemon.paths, daemon.offered, scope, overlay) if due else ""
    if not obstacle and tell:
        obstacle = _tell(control, daemon, scope, overlay)
    if obstacle:
        return Hindrance(obstacle)
    if overlay.files != before:
        overlay.activate(GROUP, Step(do="restart", unit=UNIT))
    else:
        files = read_at_start(daemon.configuration, overlay, daemon.paths.all if daemon.configuration.tls else ())
        overlay.restart(control, GROUP, UNIT, why_restart, files)
    _probe(daemon, overlay, due)
    return None


def _tell(control: str, daemon: Daemon, scope: Scope, overlay: Overlay) -> str:
    """Stage what the daemon shall be told, on top of what others staged in its files; or why a person must."""
    now = read_configuration(overlay)
    if isinstance(now, str):
        return now
    paths = daemon.paths
    wanted = Wanted(daemon.listen, paths.authority, paths.certificate, paths.key)
    return configure(control, scope, overlay, now, wanted)


def _probe(daemon: Daemon, overlay: Overlay, due: bool) -> None:
    """Ask for a handshake with every address that demands one afterwards."""
    now = read_configuration(overlay)
    overlay.forget_probes(GROUP, "mutual_tls")
    if isinstance(now, str) or not now.verified:
        return
    material = daemon.offered.material
    served = material.fingerprint if due and material is not None else daemon.present.fingerprint
    for address in now.tcp:
        probe = Step(do="mutual_tls", address=address, path=daemon.paths.authority, sha256=served)
        overlay.probe(GROUP, probe)
