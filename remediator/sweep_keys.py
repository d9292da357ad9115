"""The keys that a log-in offers: the agent's and those in files, each read once for a whole sweep."""

from __future__ import annotations

import copy
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from paramiko.agent import AgentSSH

from remediator.ssh_settings import SshSettings
from remediator.text import one_line

_AGENT_TIMEOUT = 30.0  # seconds; a key may want a touch


@dataclass(frozen=True)
class Offers:
    """Keys in the order in which they are offered, and for an error message what kept others from it."""

    keys: tuple[paramiko.PKey, ...]
    problems: tuple[str, ...]


class Identities:
    """Loads keys on demand. May be used from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, tuple[paramiko.PKey | None, str]] = {}
        self._agents: dict[str, tuple[paramiko.PKey, ...]] = {}
        self._offers: dict[object, Offers] = {}

    def offers(self, settings: SshSettings, chosen: str | None) -> Offers:
        """What to offer for `settings`; `chosen` is the key file that the inventory or command line named.

        Order: the chosen key, then as in ssh the agent's keys, those of configured files first, then the files.
        """
        asked = (settings.identity_files, settings.certificate_files, settings.identities_only, settings.agent, chosen)
        with self._lock:
            if asked not in self._offers:
                self._offers[asked] = self._collect(settings, chosen) if settings.publickey else Offers((), ())
            return self._offers[asked]

    def _collect(self, settings: SshSettings, chosen: str | None) -> Offers:
        named = os.path.abspath(os.path.expanduser(chosen)) if chosen else None
        files = list(dict.fromkeys([*([named] if named else []), *settings.identity_files]))
        loaded = {file: self._file(file) for file in files}
        keys = [key for key, _ in loaded.values() if key is not None]
        problems = [f"{one_line(file)}: {why}" for file, (_, why) in loaded.items() if why]
        if named is not None and not Path(named).exists():
            problems.insert(0, f"{one_line(named)}: there is no such key file")
        agent = self._agent(settings.agent) if settings.agent else ()
        publics = {_public(file) for file in files} | {key.get_base64() for key in keys}
        listed = [key for key in agent if key.get_base64() in publics]
        others = [key for key in agent if key not in listed and not settings.identities_only]
        first = [key for file, (key, _) in loaded.items() if key is not None and file == named]
        ordered = [*first, *listed, *others, *(key for key in keys if key not in first)]
        unique = {key.get_base64(): key for key in reversed(ordered)}
        beside = [f"{file}-cert.pub" for file in files]
        certificates = [file for file in (*settings.certificate_files, *beside) if os.path.exists(file)]
        offered = [one for key in reversed(unique.values()) for one in (*_certified(key, certificates), key)]
        return Offers(tuple(offered), tuple(problems))

    def _file(self, path: str) -> tuple[paramiko.PKey | None, str]:
        """The key in a file, or why there is none (empty when there is no file)."""
        if path not in self._files:
            self._files[path] = _load(path)
        return self._files[path]

    def _agent(self, path: str) -> tuple[paramiko.PKey, ...]:
        if path not in self._agents:
            agent = _Agent()
            try:
                agent.open(path)
            except (OSError, paramiko.SSHException):
                self._agents[path] = ()
            else:
                self._agents[path] = tuple(agent.get_keys())
        return self._agents[path]


class _Agent(AgentSSH):
    """One connection to an agent, for signing only: nothing of it is ever offered to a host."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Lock()

    def open(self, path: str) -> None:
        """Connect to the agent's socket and ask for its keys. Raises OSError, SSHException."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_AGENT_TIMEOUT)
        connection.connect(path)
        self._connect(connection)  # type: ignore[attr-defined] # paramiko has no public way to name the socket

    def _send_message(self, msg: object) -> tuple[int, paramiko.Message]:
        # Every transport thread signs over this one connection.
        with self._turn:
            answer: tuple[int, paramiko.Message] = super()._send_message(msg)  # type: ignore[misc]
            return answer


def _load(path: str) -> tuple[paramiko.PKey | None, str]:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, one_line(str(error.strerror))
    try:
        # Checking an RSA key's primes costs 0.2 s and would tell us nothing: a wrong key is refused by the host.
        try:
            key = serialization.load_ssh_private_key(data, None, unsafe_skip_rsa_key_validation=True)
        except ValueError:
            key = serialization.load_pem_private_key(data, None, unsafe_skip_rsa_key_validation=True)  # type: ignore[assignment]
        if isinstance(key, RSAPrivateKey):
            return paramiko.RSAKey(key=key), ""
        if isinstance(key, EllipticCurvePrivateKey):
            return paramiko.ECDSAKey(vals=(key, key.public_key())), ""
        if isinstance(key, Ed25519PrivateKey):
            return paramiko.Ed25519Key.from_private_key_file(path), ""
    except TypeError:
        return None, "it has a passphrase (add it to ssh-agent)"
    except (ValueError, UnsupportedAlgorithm, paramiko.SSHException) as error:
        return None, f"it could not be read as a private key ({one_line(str(error), 100)})"
    return None, "its kind of key is not supported"


def _certified(key: paramiko.PKey, certificates: list[str]) -> list[paramiko.PKey]:
    """`key` once more for each certificate file that is about it. A host may know the bare key only, so both go."""
    found = []
    for file in certificates:
        try:
            certificate = paramiko.Message(paramiko.pkey.PublicBlob.from_file(file).key_blob)
            # A certificate: its type, a nonce, then what a public key has after its type. Source: PROTOCOL.certkeys.
            certificate.get_string()
            certificate.get_string()
            public = paramiko.Message(key.asbytes())
            public.get_string()
            if not certificate.get_remainder().startswith(public.get_remainder()):
                continue
            twin = paramiko.AgentKey(key.agent, key.blob) if isinstance(key, paramiko.AgentKey) else copy.copy(key)
            twin.load_certificate(file)
        except (ValueError, OSError, paramiko.SSHException):
            continue
        found.append(twin)
    return found


def _public(path: str) -> str:
    """The base64 text of the public key beside a private one: with IdentitiesOnly it picks the agent's key."""
    for file in (path, f"{path}.pub"):
        try:
            words = Path(file).read_text(encoding="utf-8", errors="replace").split()
        except OSError:
            continue
        if len(words) > 1 and words[0].startswith(("ssh-", "ecdsa-", "sk-")):
            return words[1]
    return ""
