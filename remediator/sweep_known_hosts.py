"""The host keys that known_hosts files list, as OpenSSH reads them. Source: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT."""

from __future__ import annotations

import base64
import binascii
import hmac
import threading
from dataclasses import dataclass, field
from pathlib import Path

from remediator.ssh_config import matches


@dataclass(frozen=True)
class KnownKey:
    """One listed host key: its type, its base64 text, and where it stands."""

    type: str
    text: str
    file: str
    line: int


@dataclass(frozen=True)
class Known:
    """What the files say about one host. `marked` names a matching @cert-authority or @revoked line: for ssh only."""

    keys: tuple[KnownKey, ...]
    marked: str | None = None


@dataclass
class _File:
    plain: dict[str, list[KnownKey]] = field(default_factory=dict)
    hashed: list[tuple[bytes, bytes, KnownKey]] = field(default_factory=list)
    patterns: list[tuple[tuple[str, ...], KnownKey]] = field(default_factory=list)
    marked: list[tuple[str, KnownKey]] = field(default_factory=list)


class KnownHosts:
    """Reads each known_hosts file once, and looks hosts up in them. May be used from many threads."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._reading = threading.Lock()

    def lookup(self, files: tuple[str, ...], name: str, port: int) -> Known:
        """The keys of host `name` at `port`. As in ssh, a key listed without the port counts when there is no other."""
        if port == 22:
            return self._find(files, name)
        known = self._find(files, f"[{name}]:{port}")
        return known if known.keys or known.marked else self._find(files, name)

    def _find(self, files: tuple[str, ...], name: str) -> Known:
        name = name.lower()
        keys: list[KnownKey] = []
        for path in files:
            with self._reading:
                file = self._files.get(path)
                if file is None:
                    file = self._files[path] = _read(path)
            for hosts, key in file.marked:
                if _names(hosts, name):
                    return Known((), f"{key.file} line {key.line} has a {key.type} line")
            keys += file.plain.get(name, [])
            keys += [key for patterns, key in file.patterns if matches(patterns, name)]
            keys += [key for salt, digest, key in file.hashed if _is_digest(salt, digest, name)]
        return Known(tuple(keys))


def _read(path: str) -> _File:
    """A file's lines; one that cannot be read lists nothing, and a host that is listed nowhere is refused."""
    file = _File()
    try:
        lines = Path(path).read_bytes().decode("utf-8", "replace").splitlines()
    except OSError:
        return file
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith("@"):
            if len(words) > 1:
                file.marked.append((words[1], KnownKey(words[0], "", path, number)))
        elif len(words) >= 3:
            _add(file, words[0], KnownKey(words[1], words[2], path, number))
    return file


def _add(file: _File, hosts: str, key: KnownKey) -> None:
    if hosts.startswith("|1|"):
        parts = _hash_parts(hosts)
        if parts is not None:
            file.hashed.append((*parts, key))
    elif any(character in hosts for character in "*?!"):
        file.patterns.append((tuple(hosts.lower().split(",")), key))
    else:
        for host in hosts.lower().split(","):
            file.plain.setdefault(host, []).append(key)


def _names(hosts: str, name: str) -> bool:
    """Whether the first field of a marked line means `name`."""
    parts = _hash_parts(hosts) if hosts.startswith("|1|") else None
    return _is_digest(*parts, name) if parts is not None else matches(tuple(hosts.lower().split(",")), name)


def _hash_parts(hosts: str) -> tuple[bytes, bytes] | None:
    """Salt and digest of a hashed name, `|1|SALT|HMAC-SHA1` in base64."""
    _, _, salt, digest = (hosts + "||").split("|")[:4]
    try:
        return base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    except binascii.Error:
        return None


def _is_digest(salt: bytes, digest: bytes, name: str) -> bool:
    return hmac.digest(salt, name.encode("utf-8", "replace"), "sha1") == digest
