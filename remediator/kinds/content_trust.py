"""content_trust: DOCKER_CONTENT_TRUST=1, exactly once, for log-ins, user services and what sudo starts.

One line of /etc/environment carries it: pam_env hands that to log-ins and systemd to user managers. sudo gives its
command a new environment, so a sudoers file of ours has it keep the variable, unless sudo's own PAM stack reads
/etc/environment; where systemd's user managers do not read that, a file of environment.d carries it for them. Other
lines that set the variable go, since one that is read later would win. Sources: docker-bench-security 4.5, pam_env(8),
environment.d(5), sudoers(5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remediator import content_trust_words as words
from remediator.content_trust_lines import (
    RIGHT_LINE,
    VARIABLE,
    Setting,
    Syntax,
    can_append,
    settings_in,
    settled,
    without,
)
from remediator.host.commit.roots import OWN_SUDOERS
from remediator.kinds.interface import Decision, Kind, Parameters, Scope
from remediator.kinds.obstacle import edit_obstacle
from remediator.observation import FileFacts, LoginEnvironment, Observation, SudoLine
from remediator.overlay import Overlay
from remediator.plan import Impact, Step
from remediator.request import Needs
from remediator.splices import MaskedError, Splice
from remediator.sudo_environment import DIRECTORY as SUDOERS_DIRECTORY
from remediator.sudo_environment import keeps, taken_back, with_own

GROUP = "environment"
SETTINGS = "@content_trust.settings"
ENVIRONMENT = "/etc/environment"
ENVIRONMENT_DIRECTORY = "/etc/environment.d"
OWN_ENVIRONMENT = f"{ENVIRONMENT_DIRECTORY}/90-remediator-docker-content-trust.conf"
_SUDO_DEFAULT = f'Defaults env_keep += "{VARIABLE}"'
_SUDO_CONTENT = f"# Written by remediator: sudo keeps its caller's Docker content trust.\n{_SUDO_DEFAULT}\n".encode()
_ENVIRONMENT_CONTENT = b"# Written by remediator: Docker content trust for user services.\n" + RIGHT_LINE + b"\n"
# Far more than such files hold; what their reading costs here grows with it.
_MAX_CONTENT = 256 * 1024
_MODES = {OWN_SUDOERS: 0o440}
_LOG_INS = ("login", "sshd", "su-l")
_IMPACT = Impact(level="login", text="in force at the next log-in: sessions that are open keep their environment")

# What a file becomes: edited, written anew, or (None) removed.
_Wanted = dict[str, list[Splice] | bytes | None]


class ContentTrustParameters(Parameters):
    """None: there is one way to be right."""


@dataclass(frozen=True)
class _Place:
    """One file that could set the variable, and its lines that do; empty where the file is missing."""

    path: str
    syntax: Syntax
    content: bytes
    settings: tuple[Setting, ...]

    @property
    def is_right(self) -> bool:
        """Whether one of its lines sets the variable to 1 for everybody who reads it."""
        return any(setting.right for setting in self.settings)

    def at(self, settings: Sequence[Setting]) -> str:
        """`/etc/profile:3,9`."""
        numbers = ",".join(str(setting.number) for setting in settings[:3])
        return f"{self.path}:{numbers}" + (",..." if len(settings) > 3 else "")


class ContentTrust(Kind):
    """Decides docker-bench's 4.5, as far as the CLI that is there heeds the variable."""

    name = "content_trust"
    parameters = ContentTrustParameters

    def needs(self, parameters: Parameters) -> Needs:
        """Every file that could set it, our own, what stands in for it, who reads what, and the CLI's version."""
        places = ["/etc", SUDOERS_DIRECTORY, ENVIRONMENT_DIRECTORY, *words.CLI_PLACES, *words.TOOL_PLACES]
        own = [SETTINGS, OWN_SUDOERS, OWN_ENVIRONMENT]
        return Needs.of(places, "docker_cli", "login_environment", contents=own)

    def decide(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision:
        """Compliant when it is set once and reaches everybody, drifted with staged edits; manual with CLI 29."""
        seen = scope.seen
        version = _heeding_cli(seen)
        if isinstance(version, Decision):
            return version
        login = seen.login_environment
        if login is None:
            return Decision("unknown", "the host did not answer where its log-ins' environment comes from")
        places = _places(overlay)
        if isinstance(places, Decision):
            return places
        obstacle = _tangled(places) or _deaf(login)
        if obstacle:
            return Decision("manual", obstacle)
        if login.sudo == "unreadable":
            return Decision("unknown", f"sudo's policy cannot be read ({login.sudo_problem}): check with --become")
        effects = words.effects(version, seen)
        wanted, reasons = _wanted(places, login, overlay)
        taken = _sudo(login, overlay, wanted, reasons)
        obstacle = taken or _stage(control, wanted, scope, overlay, effects)
        if obstacle:
            return Decision("manual", obstacle)
        if not wanted:
            return Decision("compliant", f"set to 1 once for log-ins, user services and sudo; {'; '.join(effects)}")
        return Decision("drifted", "; ".join([_several(reasons), *effects]))


def _heeding_cli(seen: Observation) -> str | Decision:
    """The version of a CLI that heeds the variable; the decision where none does, or where nobody can tell."""
    version = seen.docker_cli
    if version is None and not words.has(seen, *words.CLI_PLACES):
        return Decision("not_applicable", "no Docker CLI is installed on this host")
    major = words.major_version(version or "")
    if version is None or major is None:
        return Decision("unknown", "the docker command on this host does not say its version: run docker --version")
    return Decision("manual", words.ignored(version, seen)) if major >= words.IGNORED_SINCE else version


def _places(overlay: Overlay) -> list[_Place] | Decision:
    """Every file that could set the variable, as it is with the edits so far; or why that is not known."""
    reference = overlay.seen.references.get(SETTINGS)
    if reference is None or reference.status != "resolved":
        why = reference.reason if reference is not None else "the host did not answer which files set it"
        return Decision("unknown", why)
    places = []
    left = _MAX_CONTENT
    for item in reference.paths:
        facts = overlay.seen.files.get(item.path, FileFacts(type="unreadable"))
        content = _content(item.path, facts, overlay)
        if content is None:
            why = facts.error or f"it is a {facts.type}"
            return Decision("unknown", f"{item.path} could set {VARIABLE} and cannot be read: {why}")
        try:
            syntax = Syntax(item.source)
        except ValueError:
            return Decision("unknown", f"this remediator does not know how to read {item.path} ({item.source})")
        left -= len(content)
        if left < 0:
            return Decision(
                "unknown", f"the files that could set {VARIABLE} hold more than {_MAX_CONTENT} bytes in all"
            )
        places.append(_Place(item.path, syntax, content, settings_in(syntax, content)))
    return places


def _content(path: str, facts: FileFacts, overlay: Overlay) -> bytes | None:
    """What the file's reader finds there, through a symlink too; None where that is not known."""
    if facts.type == "symlink" and facts.resolved is not None:
        return overlay.content(facts.resolved)
    content = overlay.content(path)
    return b"" if facts.type == "missing" and content is None else content


def _tangled(places: Sequence[_Place]) -> str:
    """Where only a person should change what sets the variable; empty where nothing is in the way."""
    found = []
    for place in places:
        settings = [setting for setting in place.settings if setting.active and not setting.whole]
        if settings:
            found.append(place.at(settings))
        elif place.path == ENVIRONMENT and not place.settings and not can_append(place.content):
            return f"{ENVIRONMENT} ends within a line that goes on (a backslash, or an open quote): correct it"
    if not found:
        return ""
    return (
        f"{_several(found)}: {VARIABLE} stands there in more than a plain line of its own, or where remediator edits "
        "nothing, so a person must see to it: take it out, then check again"
    )


def _deaf(login: LoginEnvironment) -> str:
    """Which log-ins do not read /etc/environment; empty where all do."""
    deaf = [service for service in _LOG_INS if login.pam.get(service) is False]
    if not deaf:
        return ""
    return (
        f"log-ins through {', '.join(deaf)} do not read {ENVIRONMENT}: add `session required pam_env.so` to "
        f"{', '.join(f'/etc/pam.d/{service}' for service in deaf)}, then check again"
    )


def _wanted(places: Sequence[_Place], login: LoginEnvironment, overlay: Overlay) -> tuple[_Wanted, list[str]]:
    """What the files that could set the variable shall become, and why."""
    wanted: _Wanted = {}
    reasons: list[str] = []
    carriers = {ENVIRONMENT, _user_carrier(places, login)}
    for place in places:
        carries = place.path in carriers
        splices = settled(place.content, place.settings) if carries else without(place.settings)
        if splices:
            there = overlay.seen.files[place.path].type != "missing"
            wanted[place.path] = splices if there else RIGHT_LINE + b"\n"
            reasons.append(_what_is_wrong(place, carries))
    ours = overlay.content(OWN_ENVIRONMENT) == _ENVIRONMENT_CONTENT
    if OWN_ENVIRONMENT in carriers:
        if not ours and all(place.path != OWN_ENVIRONMENT for place in places):
            wanted[OWN_ENVIRONMENT] = _ENVIRONMENT_CONTENT
            reasons.append("user services do not get it")
    elif ours and OWN_ENVIRONMENT in wanted:
        wanted[OWN_ENVIRONMENT] = None
    return wanted, reasons


def _what_is_wrong(place: _Place, carries: bool) -> str:
    """Why a file must be edited: one that carries the variable, or one that has nothing to say of it."""
    if carries:
        return f"{place.path} {'sets it more than once' if place.is_right else 'does not set it to 1'}"
    active = [setting for setting in place.settings if setting.active]
    return f"{place.at(active or place.settings)} {'sets it as well' if active else 'has it in a comment'}"


def _user_carrier(places: Sequence[_Place], login: LoginEnvironment) -> str:
    """The file that carries the variable to user services besides /etc/environment; empty where that one does."""
    if login.environment_d is not False or login.pam.get("systemd-user"):
        return ""
    theirs = [place.path for place in places if place.path.startswith(f"{ENVIRONMENT_DIRECTORY}/") and place.is_right]
    return theirs[0] if theirs else OWN_ENVIRONMENT


def _sudo(login: LoginEnvironment, overlay: Overlay, wanted: _Wanted, reasons: list[str]) -> str:
    """Adds our sudoers file to `wanted` where sudo would lose the variable. Returns what makes that useless."""
    by_pam = login.pam.get("sudo", False) and login.pam.get("sudo-i", True)
    own = SudoLine(path=OWN_SUDOERS, line=2, text=_SUDO_DEFAULT)
    lines = with_own(login.sudo_lines, own)
    present = _sudo_lines_now(login, overlay, lines)
    if login.sudo == "absent" or by_pam or keeps(present, VARIABLE):
        return ""
    if lines is None:
        return f"sudo reads no {SUDOERS_DIRECTORY} (no @includedir in /etc/sudoers): have it keep {VARIABLE} by hand"
    if not keeps(lines, VARIABLE):
        culprit = taken_back(lines, own, VARIABLE)
        where = f"{culprit.path}:{culprit.line}" if culprit is not None else "another line"
        return f"{where} makes sudo drop {VARIABLE} again, whatever is set before it: correct that one"
    wanted[OWN_SUDOERS] = _SUDO_CONTENT
    reasons.append("sudo does not keep it")
    return ""


def _sudo_lines_now(
    login: LoginEnvironment, overlay: Overlay, with_ours: Sequence[SudoLine] | None
) -> Sequence[SudoLine]:
    """The lines that sudo heeds today: it passes over a file that another than root could have written."""
    ours = overlay.seen.files.get(OWN_SUDOERS, FileFacts(type="missing"))
    if ours.uid != 0 or ours.mode & 0o022:
        return [line for line in login.sudo_lines if line.path != OWN_SUDOERS]
    return with_ours if with_ours and overlay.content(OWN_SUDOERS) == _SUDO_CONTENT else login.sudo_lines


def _stage(control: str, wanted: _Wanted, scope: Scope, overlay: Overlay, effects: tuple[str, ...]) -> str:
    """Stages what is wanted; the first change carries the effects. Returns why one cannot be made."""
    for path, value in wanted.items():
        obstacle = edit_obstacle(path, scope, overlay)
        if obstacle:
            return obstacle
        try:
            _stage_one(control, path, value, overlay, effects)
        except MaskedError as error:
            return f"{path}: {error}, so {VARIABLE} must be corrected there by hand"
        effects = ()
    if wanted:
        overlay.impacts[GROUP] = _IMPACT
    return ""


def _stage_one(
    control: str, path: str, value: list[Splice] | bytes | None, overlay: Overlay, details: tuple[str, ...]
) -> None:
    if value is None:
        overlay.remove(control, GROUP, path)
    elif isinstance(value, list):
        overlay.edit(control, GROUP, path, value, details)
    else:
        directory = overlay.seen.files.get(path.rpartition("/")[0])
        if path == OWN_ENVIRONMENT and (directory is None or directory.type == "missing"):
            overlay.make_directory(control, GROUP, ENVIRONMENT_DIRECTORY, 0o755)
        mode = _MODES.get(path, 0o644)
        overlay.write(control, GROUP, path, value, mode, details)
        overlay.set_access(control, GROUP, path, mode=mode, owner=("root", 0), group_owner=("root", 0))
    if path == OWN_SUDOERS:
        overlay.validate(GROUP, Step(do="sudoers", path=path))


def _several(items: Sequence[str]) -> str:
    rest = f" (and {len(items) - 3} more)" if len(items) > 3 else ""
    return ", ".join(items[:3]) + rest
