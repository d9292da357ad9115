"""Stages the edits that give a Docker daemon its listeners and its TLS options, each option in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from remediator.dockerd.configuration import (
    DROP_IN,
    DROP_IN_DIRECTORY,
    SOCKET_UNIT,
    UNIT,
    DaemonConfiguration,
    comes_after_ours,
)
from remediator.dockerd.environment_file import without_words
from remediator.dockerd.flags import Flag
from remediator.dockerd.json_edit import remove_key, set_key
from remediator.dockerd.listen import default_host, tcp_address
from remediator.dockerd.unit_line import drop_in_content
from remediator.overlay import Overlay
from remediator.plan import Step
from remediator.splices import Splice
from remediator.text import one_line

if TYPE_CHECKING:
    from remediator.kinds.interface import Scope

GROUP = "docker"
# No word in it comes from the host.
_COMMENT = "dockerd's command line with client certificates demanded; see also its configuration file."
_DEFAULT_DIRECTORY = "/etc/docker"


@dataclass(frozen=True)
class Wanted:
    """What the daemon shall be told: TCP listeners as `HOST:PORT` (None: those that it has), and its TLS files."""

    listen: tuple[str, ...] | None
    tlscacert: str
    tlscert: str
    tlskey: str

    @property
    def files(self) -> dict[str, str]:
        """The TLS files by option."""
        return {"tlscacert": self.tlscacert, "tlscert": self.tlscert, "tlskey": self.tlskey}


@dataclass
class _Edits:
    """What is to be edited: keys of daemon.json (None: out with it), our drop-in, and words of variables, by name."""

    keys: dict[str, object] = field(default_factory=dict)
    drop_in: str = ""
    variables: dict[str, dict[int, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.keys or self.drop_in or self.variables)


def configure(control: str, scope: Scope, overlay: Overlay, configuration: DaemonConfiguration, wanted: Wanted) -> str:
    """Stage what gives the daemon `wanted` and has it verify its clients; nothing where it is told all that already.

    Returns a sentence that says why a person must do it, with nothing staged, or an empty text.
    """
    try:
        edits = _edits(configuration, wanted)
        obstacle = configuration.conflict or (_obstacle(scope, overlay, configuration, edits) if edits else "")
        if obstacle or not edits:
            return one_line(obstacle, 1000)
        # A copy first: what cannot be done in full is not begun.
        _stage(control, overlay.copy(), configuration, edits)
        _stage(control, overlay, configuration, edits)
    except ValueError as error:
        return one_line(str(error), 1000)
    return ""


def _edits(now: DaemonConfiguration, wanted: Wanted) -> _Edits:
    """What differs from `wanted`. Raises ValueError where a person must change it."""
    edits = _Edits()
    moving = wanted.listen is not None and set(wanted.listen) != set(now.tcp)
    verify = [flag for flag in now.flags if flag.name == "tlsverify"]
    taken = [flag for flag in now.flags if flag.name == "host"] if moving else []
    taken += [flag for flag in verify if not flag.is_on]
    flagged = any(flag.is_on for flag in verify)
    files_flagged = _file_keys(now, wanted, edits)
    switched = flagged or any(flag.is_on for flag in now.flags if flag.name == "tls")
    in_unit = any(not flag.variable for flag in taken)
    ours = now.line.path == DROP_IN and not now.verified
    # dockerd forgets flags that name TLS files unless a flag switches TLS on as well.
    if in_unit or ours or (files_flagged and not switched):
        added = () if flagged else ("--tlsverify",)
        edits.drop_in = now.line.edited(_taken(taken, ""), added)
        if "tlsverify" in now.document:
            edits.keys["tlsverify"] = None
    elif not flagged and now.document.get("tlsverify") is not True:
        edits.keys["tlsverify"] = True
    for name in dict.fromkeys(flag.variable for flag in taken if flag.variable):
        edits.variables[name] = _taken(taken, name)
    if moving or (not now.tls and any(given.place == "default" for given in now.given_hosts)):
        # With TLS on, dockerd's default is no longer the local socket but port 2376 of localhost.
        edits.keys["hosts"] = _hosts(now, wanted.listen if wanted.listen is not None else now.tcp)
    return edits


def _file_keys(now: DaemonConfiguration, wanted: Wanted, edits: _Edits) -> bool:
    """Stages the keys of TLS files that are not given yet; whether flags give one of them."""
    flagged = False
    for name, path in wanted.files.items():
        given = now.option(name)
        if given is not None and given.by_flag:
            flagged = True
            if given.value != path:
                raise ValueError(f"--{name} is {given.value} ({given.where}) in place of {path}: change it there")
        elif given is None or given.value != path:
            edits.keys[name] = path
    return flagged


def _taken(flags: list[Flag], variable: str) -> dict[int, str]:
    """The words of those flags that stand in ExecStart= or in `variable`, by index, and what stays of each."""
    found: dict[int, str] = {}
    for flag in flags:
        if flag.scattered:
            raise ValueError(f"the value of --{flag.name} comes from another place than the flag: write both in one")
        if flag.variable == variable:
            found.update(dict.fromkeys(flag.indexes, ""))
            found[flag.indexes[0]] = flag.kept
    return found


def _hosts(now: DaemonConfiguration, listen: tuple[str, ...]) -> list[str]:
    """The listeners for daemon.json: those that are not on TCP as they are, then `listen`."""
    systemds = {tcp_address(str(given.value)) for given in now.given_hosts if given.place == "socket"}
    beyond = sorted(str(address) for address in systemds.difference(listen))
    if beyond:
        raise ValueError(
            f"{SOCKET_UNIT} itself listens on {', '.join(beyond)}: take that ListenStream= away, then check again"
        )
    kept = [str(given.value) for given in now.given_hosts if given.place != "default"]
    kept = [host for host in dict.fromkeys(kept) if tcp_address(host) is None]
    if any(given.place == "default" for given in now.given_hosts):
        kept.append(default_host(tls=False))
    hosts = [*kept, *(f"tcp://{address}" for address in listen if address not in systemds)]
    if not hosts:
        raise ValueError("the daemon has no listener but those to be closed: give it a local socket first")
    return hosts


def _pending(scope: Scope, edits: _Edits) -> str:
    """Which units a reload, or a restart from what systemd knows, would activate in passing; empty for none."""
    stale = [name for name, facts in scope.seen.units.items() if facts.need_daemon_reload]
    stale = sorted(stale if edits.drop_in else {UNIT}.intersection(stale))
    if not stale:
        return ""
    rest = f" and {len(stale) - 3} more" if len(stale) > 3 else ""
    return (
        f"{', '.join(stale[:3])}{rest} changed on disk without a daemon-reload, and configuring dockerd would put "
        "those changes in force as well: run systemctl daemon-reload yourself, then check again"
    )


def _obstacle(scope: Scope, overlay: Overlay, now: DaemonConfiguration, edits: _Edits) -> str:
    """Why the edits cannot be made; empty when they can."""
    # The kinds import this package.
    from remediator.kinds.obstacle import edit_obstacle

    pending = _pending(scope, edits)
    if pending:
        return pending
    if edits.drop_in and comes_after_ours(now.line.path) and now.line.path in scope.seen.units[UNIT].drop_ins:
        return f"{now.line.path} sets ExecStart after any drop-in of ours ({DROP_IN}): give it a name that comes before"
    fixed = [name for name in edits.variables if not now.variables[name].own_line]
    if fixed:
        path = now.variables[fixed[0]].path
        return f"{fixed[0]}, set by Environment in {path}, gives listeners or tlsverify: take these out of it"
    facts = overlay.seen.files.get(DROP_IN)
    if edits.drop_in and facts is not None and facts.masked:
        return f"{DROP_IN} holds a secret, and it is not overwritten: put that into a drop-in of its own"
    paths = [now.variables[name].path for name in edits.variables]
    paths += ([now.config_file] if edits.keys else []) + ([DROP_IN] if edits.drop_in else [])
    found = (edit_obstacle(path, scope, overlay) for path in paths)
    return next(filter(None, found), "") or (_no_directory(now.config_file, overlay) if edits.keys else "")


def _no_directory(path: str, overlay: Overlay) -> str:
    """Why the directory of a missing daemon.json cannot be made; empty when it is there or can."""
    directory = path.rpartition("/")[0]
    if directory == _DEFAULT_DIRECTORY or overlay.content(path) is not None:
        return ""
    facts = overlay.seen.files.get(directory)
    there = facts is not None and facts.type == "directory"
    return "" if there else f"{directory}, where dockerd's configuration file should be, is no directory: make it"


def _stage(control: str, overlay: Overlay, now: DaemonConfiguration, edits: _Edits) -> None:
    """Stages all of it. Raises ValueError, with the path, where a file cannot be edited."""
    if edits.keys:
        _stage_keys(control, overlay, now.config_file, edits.keys)
    for name, taken in edits.variables.items():
        path = now.variables[name].path
        _edit(control, overlay, path, partial(without_words, name=name, taken=taken))
    if edits.drop_in:
        _make_directory(control, overlay, DROP_IN_DIRECTORY)
        overlay.write(control, GROUP, DROP_IN, drop_in_content(edits.drop_in, _COMMENT), 0o644)
        overlay.activate(GROUP, Step(do="daemon_reload", names=(UNIT,)))
    overlay.activate(GROUP, Step(do="restart", unit=UNIT))


def _stage_keys(control: str, overlay: Overlay, path: str, keys: dict[str, object]) -> None:
    if overlay.content(path) is None:
        _make_directory(control, overlay, path.rpartition("/")[0])
        overlay.write(control, GROUP, path, b"", 0o644)
    for key, value in keys.items():
        editor = partial(remove_key, key=key) if value is None else partial(set_key, key=key, value=value)
        _edit(control, overlay, path, editor)
    overlay.validate(GROUP, Step(do="json", path=path))
    overlay.validate(GROUP, Step(do="dockerd", path=path))


def _edit(control: str, overlay: Overlay, path: str, editor: Callable[[bytes], list[Splice]]) -> None:
    """Stages what `editor` makes of the content. Raises ValueError with the path; MaskedError is one."""
    try:
        overlay.edit(control, GROUP, path, editor(overlay.content(path) or b""))
    except ValueError as error:
        raise ValueError(f"{path}: {error}: edit it by hand") from None


def _make_directory(control: str, overlay: Overlay, directory: str) -> None:
    facts = overlay.seen.files.get(directory)
    if directory not in overlay.files and (facts is None or facts.type == "missing"):
        overlay.make_directory(control, GROUP, directory, 0o755)
