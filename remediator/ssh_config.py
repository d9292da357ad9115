"""Which hosts ssh's configuration files could treat differently, without evaluating them: ssh itself does that."""

from __future__ import annotations

import glob
import os
import pwd
import re
import shlex
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

_SYSTEM = "/etc/ssh/ssh_config"
_MAX_DEPTH = 16  # readconf.c


@dataclass(frozen=True)
class ConfigFiles:
    """What may tell hosts apart: the patterns of each Host line, and whether only ssh itself can say.

    `hostnames` are the literal HostName values: a host of that name must be asked for alone, or its answer would look
    as if no HostName had been set.
    """

    host_lines: tuple[tuple[str, ...], ...] = ()
    hostnames: frozenset[str] = frozenset()
    per_host: bool = False

    def signature(self, host: str) -> object:
        """Equal for two hosts only if every Host block applies to both or to neither."""
        if self.per_host or host.lower() in self.hostnames:
            return host
        return tuple(matches(patterns, host) for patterns in self.host_lines)


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether a list of ssh patterns (`*`, `?`, `!` for exclusion) matches `name`. Source: ssh_config(5), PATTERNS."""
    found = False
    for pattern in patterns:
        if _pattern(pattern.removeprefix("!")).fullmatch(name) is None:
            continue
        if pattern.startswith("!"):
            return False
        found = True
    return found


@lru_cache(maxsize=4096)
def _pattern(pattern: str) -> re.Pattern[str]:
    translated = {"*": ".*", "?": "."}
    return re.compile("".join(translated.get(character, re.escape(character)) for character in pattern), re.DOTALL)


def read_config_files(arguments: tuple[str, ...]) -> ConfigFiles:
    """What the files that ssh would read with these command-line arguments could tell hosts apart by."""
    chosen = [word for option, word in options_with_values(arguments) if option == "-F"]
    files = [str(Path(own_home(), ".ssh", "config")), _SYSTEM]
    if chosen:
        files = [] if chosen[-1].lower() == "none" else [chosen[-1]]
    found = _Found()
    for option, word in options_with_values(arguments):
        if option == "-o":
            found.note(*_split(word))
    for file in files:
        _read(file, found, 0)
    return ConfigFiles(tuple(found.hosts), frozenset(found.hostnames), found.per_host)


@dataclass
class _Found:
    """What the files said so far."""

    hosts: list[tuple[str, ...]] = field(default_factory=list)
    hostnames: set[str] = field(default_factory=set)
    per_host: bool = False

    def note(self, keyword: str, value: str) -> None:
        """Take one option of a file or of the command line."""
        if keyword == "host" and tuple(_words(value)) != ("*",):
            self.hosts.append(tuple(_words(value)))
        elif keyword == "hostname":
            self.hostnames.add(value.lower().strip('"'))
        self.per_host = self.per_host or (
            (keyword == "match" and value.lower() != "all")
            or (keyword == "canonicalizehostname" and value.lower() != "no")
            or (keyword in ("hostname", "proxyjump", "proxycommand", "hostkeyalias") and "%" in value)
        )


def options_with_values(arguments: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each option of an ssh command line that takes a value, with its value. Source: the getopt string of ssh.c."""
    found: list[tuple[str, str]] = []
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            continue
        for index, letter in enumerate(word[1:], 2):
            if letter in "BDEFIJLOQRSWbceilmopw":
                found.append((f"-{letter}", word[index:] or next(words, "")))
                break
    return found


def own_home() -> str:
    """The home directory that ssh uses: the account's, whatever HOME says."""
    return own_account()[1]


def own_account() -> tuple[str, str]:
    """Name and home directory of the account that runs this; what the environment says where there is none."""
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError:
        return os.environ.get("USER", ""), os.path.expanduser("~")
    return account.pw_name, account.pw_dir


def _read(file: str, found: _Found, depth: int) -> None:
    """Take every line of `file` and of what it includes."""
    try:
        lines = Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    except OSError:
        found.per_host = True
        return
    for line in lines:
        keyword, value = _split(line)
        if keyword != "include":
            found.note(keyword, value)
            continue
        for pattern in _words(value):
            if depth >= _MAX_DEPTH or "%" in pattern or "$" in pattern:
                found.per_host = True
                continue
            for included in _included(pattern, file):
                _read(included, found, depth + 1)


def _included(pattern: str, file: str) -> list[str]:
    base = os.path.dirname(_SYSTEM) if file.startswith(os.path.dirname(_SYSTEM) + "/") else f"{own_home()}/.ssh"
    path = pattern.replace("~", own_home(), 1) if pattern.startswith("~/") else pattern
    return sorted(glob.glob(os.path.join(base, path)))


def _split(line: str) -> tuple[str, str]:
    """Keyword in lower case and value of a line, which may be joined by blanks or `=`."""
    match = re.match(r'\s*"?([A-Za-z]+)"?\s*[=\s]\s*(.*?)\s*$', line)
    return (match.group(1).lower(), match.group(2)) if match else ("", "")


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value, comments=True)
    except ValueError:
        return value.split()
