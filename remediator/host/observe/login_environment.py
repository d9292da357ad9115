"""Where the environment of log-ins, user services and sudo comes from, as far as Docker's content trust is concerned.

Which files set or could set the variable, and who reads /etc/environment: that is read from the files of PAM, systemd
and sudo, whatever the distribution is called.
"""

import os

from remediator.host.common.mask import mask_text
from remediator.host.common.names import raw, shown, text_of
from remediator.host.common.patterns import pattern
from remediator.host.common.reading import UnreadableError, is_there, names_in, read_quietly, read_settings
from remediator.host.observe.command import find_program
from remediator.host.observe.references import HostReference, clean, resolved, unknown

MYPY = False
if MYPY:
    from typing import Any

CONTENT_TRUST = "@content_trust.settings"
TRUST_VARIABLE = pattern(rb"(?<![A-Za-z0-9_])DOCKER_CONTENT_TRUST(?![A-Za-z0-9_])")
ETC_ENVIRONMENT = "/etc/environment"
# What kind of text each is. The controller knows these words.
ASSIGNMENTS = "environment file"
SHELL_SCRIPT = "shell start-up file"
SYSTEM_MANAGER = "configuration of systemd's system manager"
USER_MANAGER = "configuration of systemd's user managers"
OTHER_SETTINGS = "configuration of log-ins"
TRUST_FILES = (
    ("/etc/profile", SHELL_SCRIPT),
    ("/etc/bash.bashrc", SHELL_SCRIPT),
    ("/etc/bashrc", SHELL_SCRIPT),
    ("/etc/kshrc", SHELL_SCRIPT),
    ("/etc/zshenv", SHELL_SCRIPT),
    ("/etc/zprofile", SHELL_SCRIPT),
    ("/etc/zshrc", SHELL_SCRIPT),
    ("/etc/zlogin", SHELL_SCRIPT),
    ("/etc/zsh/zshenv", SHELL_SCRIPT),
    ("/etc/zsh/zprofile", SHELL_SCRIPT),
    ("/etc/zsh/zshrc", SHELL_SCRIPT),
    ("/etc/zsh/zlogin", SHELL_SCRIPT),
    ("/etc/csh.cshrc", OTHER_SETTINGS),
    ("/etc/csh.login", OTHER_SETTINGS),
    ("/etc/fish/config.fish", OTHER_SETTINGS),
    ("/etc/login.defs", OTHER_SETTINGS),
    ("/etc/security/pam_env.conf", OTHER_SETTINGS),
    ("/etc/ssh/sshd_config", OTHER_SETTINGS),
    ("/etc/systemd/system.conf", SYSTEM_MANAGER),
    ("/etc/systemd/user.conf", USER_MANAGER),
)
TRUST_DIRECTORIES = (
    ("/etc/profile.d", ".sh", SHELL_SCRIPT),
    ("/etc/profile.d", ".csh", OTHER_SETTINGS),
    ("/etc/fish/conf.d", ".fish", OTHER_SETTINGS),
    ("/etc/ssh/sshd_config.d", ".conf", OTHER_SETTINGS),
    ("/etc/systemd/system.conf.d", ".conf", SYSTEM_MANAGER),
    ("/etc/systemd/user.conf.d", ".conf", USER_MANAGER),
)
# environment.d(5): a file hides those of its name in the directories after its own.
ENVIRONMENT_DIRECTORIES = (
    "/etc/environment.d",
    "/run/environment.d",
    "/usr/local/lib/environment.d",
    "/usr/lib/environment.d",
)
MAX_TRUST_FILES = 200  # in one directory
SYSTEMD_PROGRAMS = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
PAM_DIRECTORIES = ("/etc/pam.d", "/usr/lib/pam.d")
PAM_SERVICES = ("login", "sshd", "su-l", "sudo", "sudo-i", "systemd-user")
PAM_WORDS = pattern(r"\[[^\]]*\]|\S+")
SUDOERS = "/etc/sudoers"
MAX_PAM_DEPTH = 32
# For a line without blanks around it. No two neighbours match the same: a long line costs no more than its length.
SUDO_INCLUDE = pattern(r'[@#](include|includedir)\s+(?:"([^"]+)"?|([^"\s][^"]*)"?)$')
SUDO_ENVIRONMENT = pattern(r"\s*Defaults\b.*\benv_(?:keep|reset|delete)\b")
MAX_SUDO_LINES = 200
MAX_SUDO_LINE = 1000


def content_trust_references(names: "list[str]") -> "dict[str, HostReference]":
    """The files that could set the variable and mention it, /etc/environment always; nothing where nobody asks."""
    if CONTENT_TRUST not in names:
        return {}
    places, crowded = trust_places()
    if crowded:
        return {CONTENT_TRUST: unknown("%s holds more than %d files: remove some" % (shown(crowded), MAX_TRUST_FILES))}
    known = {ETC_ENVIRONMENT} | {path for path, _ in places}
    found = [(ETC_ENVIRONMENT, ASSIGNMENTS)]
    for path, kind in places:
        real = text_of(os.path.realpath(raw(path)))
        another_name = real != path and real in known
        if not another_name and may_mention_trust(path):
            found.append((path, kind))
    return {CONTENT_TRUST: resolved(*found)}


def trust_places() -> "tuple[list[tuple[str, str]], str]":
    """Every (path, kind) that could set the variable, there or not; and a directory that holds too many to look at."""
    places = list(TRUST_FILES)
    crowded = ""
    for directory, ending, kind in TRUST_DIRECTORIES:
        names = [name for name in names_in(directory) if name.endswith(ending)]
        crowded = directory if len(names) > MAX_TRUST_FILES else crowded
        places += [(directory + "/" + name, kind) for name in names[:MAX_TRUST_FILES]]
    files = environment_files()
    crowded = ENVIRONMENT_DIRECTORIES[0] if len(files) > MAX_TRUST_FILES else crowded
    places += [(path, ASSIGNMENTS) for path in files[:MAX_TRUST_FILES]]
    for service in PAM_SERVICES:
        places += [(path, ASSIGNMENTS) for path in pam_environment_files(service) if path.startswith("/")]
    return places, crowded


def may_mention_trust(path: "str") -> "bool":
    """Whether a file speaks of the variable; one that cannot be read may. A link to /dev/null hides others' files."""
    if not is_there(path) or os.path.isdir(raw(path)) or os.path.realpath(raw(path)) == b"/dev/null":
        return False
    try:
        return TRUST_VARIABLE.search(read_settings(path)) is not None
    except UnreadableError:
        return True


def environment_files() -> "list[str]":
    """The files of environment.d(5) that are read, in their order."""
    files: "dict[str, str]" = {}
    for directory in ENVIRONMENT_DIRECTORIES:
        for name in names_in(directory):
            if name.endswith(".conf"):
                files.setdefault(name, directory + "/" + name)
    return [files[name] for name in sorted(files)]


def login_environment() -> "dict[str, Any]":
    """The login_environment section: which programs hand /etc/environment on, and what sudo keeps."""
    reads = {}
    for service in PAM_SERVICES:
        if pam_file(service):
            reads[service] = ETC_ENVIRONMENT in pam_environment_files(service)
    user_managers = None
    if any(is_there(path) for path in SYSTEMD_PROGRAMS):
        carrier = os.path.realpath(raw(ETC_ENVIRONMENT))
        user_managers = any(os.path.realpath(raw(path)) == carrier for path in environment_files())
    facts: "dict[str, Any]" = {"pam": reads, "environment_d": user_managers, "sudo": "absent", "sudo_lines": []}
    if find_program("sudo") is not None and is_there(SUDOERS):
        try:
            facts["sudo_lines"] = sudo_lines(SUDOERS, set())
            if len(facts["sudo_lines"]) > MAX_SUDO_LINES:
                raise UnreadableError("%s: more than %d lines on the environment" % (SUDOERS, MAX_SUDO_LINES))
            facts["sudo"] = "read"
        except UnreadableError as error:
            facts.update(sudo="unreadable", sudo_problem=str(error), sudo_lines=[])
    return facts


def pam_file(service: "str") -> "str":
    """Where a PAM service is configured; empty where it is not."""
    for directory in PAM_DIRECTORIES:
        path = directory + "/" + service
        if "/" not in service and "\0" not in service and is_there(path):
            return path
    return ""


def pam_environment_files(
    service: "str", only: "str" = "", read: "set[tuple[str, str]] | None" = None, depth: "int" = 0
) -> "list[str]":
    """The files of assignments that pam_env reads for a service, of its `only` lines (auth, session) or of both.

    What is included twice is read once; (path, only) of what was read is in `read`.
    """
    found: "list[str]" = []
    read = set() if read is None else read
    path = pam_file(service)
    if not path or (path, only) in read or depth > MAX_PAM_DEPTH:
        return found
    read.add((path, only))
    for line in text_of(read_quietly(path, 65536)).replace("\\\n", " ").split("\n"):
        words = PAM_WORDS.findall(line.partition("#")[0])
        if len(words) == 2 and words[0] == "@include":
            found += pam_environment_files(words[1], only, read, depth + 1)
            continue
        kind = words[0].lstrip("-").lower() if words else ""
        if len(words) < 3 or kind not in ("auth", "session") or only not in ("", kind):
            continue
        if words[1] in ("include", "substack"):
            found += pam_environment_files(words[2], kind, read, depth + 1)
        elif os.path.basename(words[2]) == "pam_env.so":
            options = dict(word.partition("=")[::2] for word in words[3:])
            if options.get("readenv", "1") != "0":
                found.append(options.get("envfile", ETC_ENVIRONMENT))
    return found


def sudo_lines(path: "str", read: "set[str]") -> "list[dict[str, Any]]":
    """The lines of a sudoers policy that say which variables sudo keeps, and those that read in a directory, in the
    order in which sudo takes them. Files in `read` are not read again. Raises UnreadableError, with the path.
    """
    found: "list[dict[str, Any]]" = []
    number, begun = 0, ""
    for physical in sudoers_text(path, read).split("\n"):
        number += 1
        if physical.endswith("\\"):
            begun += physical[:-1] + " "
            continue
        line, begun = (begun + physical).strip(), ""
        included = SUDO_INCLUDE.match(line[:MAX_SUDO_LINE])
        if included is None and SUDO_ENVIRONMENT.match(line) is None:
            continue
        if len(line) > MAX_SUDO_LINE:
            problem = "line %d is longer than %d characters: make several of it" % (number, MAX_SUDO_LINE)
            raise UnreadableError("%s: %s" % (shown(path), problem))
        entry = {"path": shown(path), "line": number, "text": shown(mask_text(" ".join(line.split())))}
        if included is None:
            found.append(entry)
            continue
        place = clean(os.path.join(os.path.dirname(path), included.group(2) or included.group(3)))
        names = [place]
        if included.group(1) == "includedir":
            found.append(dict(entry, text="@includedir " + shown(place)))
            names = [place + "/" + name for name in names_in(place)]
            names = [name for name in names if "." not in os.path.basename(name) and not name.endswith("~")]
        for name in names:
            if is_there(name) and not os.path.isdir(raw(name)):
                found += sudo_lines(name, read)
    return found


def sudoers_text(path: "str", read: "set[str]") -> "str":
    """What is in a file of the policy; nothing where it was read before. Raises UnreadableError, with the path."""
    if path in read:
        return ""
    read.add(path)
    try:
        return text_of(read_settings(path))
    except (UnreadableError, ValueError) as error:
        raise UnreadableError("%s: %s" % (shown(path), error))
