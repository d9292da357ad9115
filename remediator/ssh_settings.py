"""What OpenSSH's own configuration says about reaching hosts, asked from `ssh -G`, once per distinct setting.

`ssh -G` evaluates Host, Match and Include as a log-in would. Where the configuration files hold nothing that could tell
two hosts apart, one answer serves them all. Sources: ssh(1), ssh_config(5), ssh.c and sshconnect.c of OpenSSH 9.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

from remediator.connection import Connection
from remediator.errors import HostError, UsageError
from remediator.ssh_config import ConfigFiles, options_with_values, own_account, read_config_files
from remediator.text import one_line

_MAX_JUMPS = 8
_ASK_TIMEOUT = 30.0  # seconds; `Match exec` may run a program
# What the sweep leaves to Ansible, which runs the real ssh.
_ANSIBLE_ONLY = (
    "proxycommand",
    "knownhostscommand",
    "revokedhostkeys",
    "pkcs11provider",
    "bindaddress",
    "bindinterface",
)
# What paramiko can do, the fastest first: ssh's own lists say which of it may be used.
_CARRIED: dict[str, tuple[str, ...]] = {
    "kexalgorithms": (
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group-exchange-sha256",
    ),
    "ciphers": ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr", "aes192-ctr"),
    "macs": (
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
        "hmac-sha1",
    ),
    "hostkeyalgorithms": (
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "rsa-sha2-512",
        "rsa-sha2-256",
    ),
}
_ALSO_CALLED = {"curve25519-sha256": "curve25519-sha256@libssh.org"}
_Answer = dict[str, list[str]]  # keyword in lower case to its values, in order


@dataclass(frozen=True)
class SshSettings:
    """How ssh would reach one host. Files are absolute paths in ssh's order, whether or not they exist.

    `via` is the jump host before it. `refused` says why nobody may connect so, `ansible_only` why the sweep cannot.
    """

    alias: str  # what ssh was given as its host
    hostname: str
    port: int
    user: str
    host_key_alias: str | None = None
    identity_files: tuple[str, ...] = ()
    certificate_files: tuple[str, ...] = ()
    identities_only: bool = False
    agent: str | None = None  # path of the agent's socket
    known_hosts: tuple[str, ...] = ()
    algorithms: tuple[tuple[str, ...], ...] = ()  # key exchange, ciphers, MACs, host keys: those that the sweep may use
    address_family: str = "any"  # any, inet, inet6
    connect_timeout: int = 10  # seconds
    publickey: bool = True
    passwords: bool = True
    gssapi: bool = False
    via: SshSettings | None = None
    accepts_new_keys: bool = False  # ssh itself would take the key of a host that no file lists on trust
    refused: str | None = None
    ansible_only: str | None = None

    @property
    def key_address(self) -> tuple[str, int]:
        """Name and port under which known_hosts files list the host."""
        return (self.host_key_alias, 22) if self.host_key_alias else (self.hostname, self.port)


def host_key_refusal(host: str, why: str) -> HostError:
    """The error of a host whose settings let host keys be accepted unseen."""
    return HostError(
        host,
        "host_key",
        f"{host}: refused, because {why}. Host keys are always checked. Remove that StrictHostKeyChecking "
        "from ~/.ssh/config, ansible_ssh_common_args or ansible.cfg, and add the host's key to known_hosts after "
        "comparing its fingerprint on the host's console.",
    )


class _BrokenError(Exception):
    """ssh refuses these settings; the text is its own, harmless to show."""


class SshConfig:
    """Asks `ssh -G` for many hosts, and remembers what it was told."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, ...], ConfigFiles] = {}
        self._answers: dict[object, _Answer | _BrokenError] = {}
        self._alone: set[str] = set()

    def settle(self, connections: Mapping[str, Connection]) -> dict[str, SshSettings | HostError]:
        """The settings of each host by its inventory name, or why they could not be found out.

        Raises UsageError when there is no ssh program.
        """
        self._ask({self._key(connection): connection for connection in connections.values()})
        # A refusal may be about the one host that was asked for, and not about those that share its settings.
        broken = [one for one in connections.values() if isinstance(self._answers[self._key(one)], _BrokenError)]
        self._alone.update(connection.address for connection in broken)
        self._ask({self._key(connection): connection for connection in broken})
        settled: dict[str, SshSettings | HostError] = {}
        for name, connection in connections.items():
            try:
                settled[name] = self._settings(connection, self._answers[self._key(connection)], 0)
            except _BrokenError as error:
                settled[name] = HostError(
                    name,
                    "unsupported",
                    f"{name}: ssh does not accept its settings: {error}. Correct them in ~/.ssh/config, in ansible.cfg "
                    f"or in ansible_ssh_common_args, then see what `ssh -G {one_line(connection.address)}` says.",
                )
        return settled

    def _ask(self, wanted: Mapping[object, Connection]) -> None:
        """Ask for each of these connections, several at a time."""
        with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2)) as pool:
            answers = pool.map(lambda one: _answer(_arguments(one, self._needs_all(one)), one.address), wanted.values())
            self._answers.update(zip(wanted, answers, strict=True))

    def _config(self, connection: Connection) -> ConfigFiles:
        arguments = (*connection.ssh_arguments, *connection.ssh_more_arguments)
        if arguments not in self._files:
            self._files[arguments] = read_config_files(arguments)
        return self._files[arguments]

    def _needs_all(self, connection: Connection) -> bool:
        """Whether port and user change the answer beyond themselves, or might be outranked by an argument."""
        words = " ".join(connection.ssh_arguments).lower()
        options = {option for option, _ in options_with_values(connection.ssh_arguments)}
        return self._config(connection).per_host or "port" in words or "user" in words or bool(options & {"-p", "-l"})

    def _key(self, connection: Connection) -> object:
        address = connection.address
        signature = address if address in self._alone else self._config(connection).signature(address)
        return (_arguments(connection, self._needs_all(connection)), signature)

    def _settings(self, connection: Connection, answer: _Answer | _BrokenError, depth: int) -> SshSettings:
        """`answer` may be that of another host in the same Host blocks: its name is then replaced by this one's."""
        if isinstance(answer, _BrokenError):
            raise answer
        if not self._needs_all(connection):
            given = {"port": connection.port, "user": connection.user}
            answer = {**answer, **{name: [str(value)] for name, value in given.items() if value is not None}}
        asked = answer[_ASKED][0]
        if answer["hostname"] == [asked.lower()] or answer["hostname"] == [asked]:
            answer = {**answer, "hostname": [connection.address.lower()]}
        settings = _typed(connection.address, answer)
        jumps = _first(answer, "proxyjump")
        if jumps and jumps != "none":
            if "%" in jumps:
                return replace(settings, ansible_only="its ProxyJump has a % in it")
            config = [word for option, word in options_with_values(_arguments(connection, True)) if option == "-F"]
            settings = replace(settings, via=self._chain(jumps, tuple(config[-1:]), depth))
            inner = settings.via
            if inner is not None and (inner.refused or inner.ansible_only):
                settings = replace(
                    settings,
                    refused=inner.refused and f"jump host {inner.alias}: {inner.refused}",
                    ansible_only=inner.ansible_only and f"for its jump host {inner.alias}, {inner.ansible_only}",
                )
        return settings

    def _chain(self, jumps: str, config: tuple[str, ...], depth: int) -> SshSettings:
        """The last host of a ProxyJump list. ssh gives jump hosts the -F file and no other argument of the target's."""
        if depth >= _MAX_JUMPS:
            raise _BrokenError(f"its ProxyJump goes through more than {_MAX_JUMPS} hosts")
        first, *rest = [_jump(word) for word in jumps.split(",")]
        arguments = ("-F", config[0]) if config else ()
        previous: SshSettings | None = None
        for user, host, port in (first, *rest):
            hop = Connection("ssh", host, port=port, user=user, ssh_arguments=arguments)
            key = self._key(hop)
            if key not in self._answers:
                self._answers[key] = _answer(_arguments(hop, self._needs_all(hop)), host)
            answer = self._answers[key]
            if previous is not None and not isinstance(answer, _BrokenError):
                answer = {**answer, "proxyjump": ["none"]}
            settings = self._settings(hop, answer, depth + 1)
            previous = replace(settings, via=previous) if previous is not None else settings
        assert previous is not None  # noqa: S101 - a list has a first word
        return previous


_ASKED = "#asked"  # not a keyword of ssh's: the host that an answer was given for


def _arguments(connection: Connection, complete: bool) -> tuple[str, ...]:
    """The command line as Ansible's ssh connection builds it: of each option the first counts."""
    middle: list[str] = []
    if complete and connection.port is not None:
        middle += ["-o", f"Port={connection.port}"]
    if connection.private_key is not None:
        middle += ["-o", f'IdentityFile="{os.path.abspath(os.path.expanduser(connection.private_key))}"']
    if complete and connection.user is not None:
        middle += ["-o", f'User="{connection.user}"']
    middle += ["-o", f"ConnectTimeout={connection.timeout}"]
    return (*connection.ssh_arguments, *middle, *connection.ssh_more_arguments)


def _answer(arguments: tuple[str, ...], host: str) -> _Answer | _BrokenError:
    """What `ssh -G` prints for one host."""
    if host.startswith("-"):
        return _BrokenError(f"{one_line(host)} is no host name")
    try:
        run = subprocess.run(
            ["ssh", *arguments, "-G", "--", host],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_ASK_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise UsageError(
            "There is no ssh program on this machine, and connections mean what ssh says they mean. Install "
            "openssh-client."
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        return _BrokenError(one_line(str(error), 300))
    if run.returncode != 0:
        return _BrokenError(one_line(run.stderr.decode("utf-8", "replace").strip(), 300))
    answer: _Answer = {_ASKED: [host]}
    for line in run.stdout.decode("utf-8", "surrogateescape").splitlines():
        keyword, _, value = line.partition(" ")
        answer.setdefault(keyword, []).append(value)
    return answer


def _typed(alias: str, answer: _Answer) -> SshSettings:
    hostname, port, user = _first(answer, "hostname"), int(_first(answer, "port")), _first(answer, "user")
    key_alias = _first(answer, "hostkeyalias")
    expand = _expander(alias, hostname, port, user, key_alias)
    timeout = _first(answer, "connecttimeout")
    only = next((name for name in _ANSIBLE_ONLY if _first(answer, name) not in ("", "none")), None)
    algorithms = tuple(_allowed(_first(answer, name), carried) for name, carried in _CARRIED.items())
    if only is None and not all(algorithms):
        only = next(name for name, allowed in zip(_CARRIED, algorithms, strict=True) if not allowed)
    checking = _first(answer, "stricthostkeychecking")
    return SshSettings(
        alias=alias,
        hostname=hostname,
        port=port,
        user=user,
        host_key_alias=key_alias or None,
        identity_files=tuple(expand(file) for file in answer.get("identityfile", []) if file != "none"),
        certificate_files=tuple(expand(file) for file in answer.get("certificatefile", []) if file != "none"),
        identities_only=_yes(answer, "identitiesonly"),
        agent=_agent(_first(answer, "identityagent"), expand),
        known_hosts=tuple(
            expand(file)
            for name in ("userknownhostsfile", "globalknownhostsfile")
            for file in _first(answer, name).split()
            if file != "none"
        ),
        algorithms=algorithms,
        address_family=_first(answer, "addressfamily") or "any",
        connect_timeout=int(timeout) if timeout.isdigit() and int(timeout) else 10,
        publickey=_first(answer, "pubkeyauthentication") not in ("no", "false"),
        passwords=_yes(answer, "passwordauthentication") or _yes(answer, "kbdinteractiveauthentication"),
        gssapi=_yes(answer, "gssapiauthentication"),
        accepts_new_keys=checking == "accept-new",
        refused="StrictHostKeyChecking is off" if checking in ("no", "off", "false") else None,
        ansible_only=only and f"its ssh configuration sets {only}",
    )


def _first(answer: _Answer, keyword: str) -> str:
    return answer.get(keyword, [""])[0].strip()


def _yes(answer: _Answer, keyword: str) -> bool:
    return _first(answer, keyword) in ("yes", "true")


@lru_cache(maxsize=64)
def _allowed(value: str, carried: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `carried` that ssh's comma-separated list has, in our order."""
    listed = {_ALSO_CALLED.get(word, word) for word in value.split(",")}
    return tuple(name for name in carried if name in listed)


def _agent(value: str, expand: Callable[[str], str]) -> str | None:
    """The agent's socket; unset means SSH_AUTH_SOCK."""
    if value == "none":
        return None
    if value in ("", "SSH_AUTH_SOCK"):
        return os.environ.get("SSH_AUTH_SOCK") or None
    if re.fullmatch(r"\$[A-Za-z_][A-Za-z0-9_]*", value):
        return os.environ.get(value[1:]) or None
    return expand(value)


def _expander(alias: str, hostname: str, port: int, user: str, key_alias: str) -> Callable[[str], str]:
    """Replaces `~`, `${NAME}` and the tokens of ssh_config(5) in a file's name; unknown tokens stay as they are."""
    name, home = own_account()
    tokens = {
        "%": "%",
        "h": hostname,
        "n": alias,
        "p": str(port),
        "r": user,
        "u": name,
        "i": str(os.getuid()),
        "d": home,
        "k": key_alias or alias,
        "l": socket.gethostname(),
        "L": socket.gethostname().partition(".")[0],
    }

    def expand(file: str) -> str:
        file = re.sub(r"^~(?=/|$)", lambda _: home, file)
        file = re.sub(r"\$\{(\w+)\}", lambda match: os.environ.get(match.group(1), match.group()), file)
        file = re.sub(r"%(.)", lambda match: tokens.get(match.group(1), match.group()), file)
        return os.path.abspath(file)

    return expand


def _jump(word: str) -> tuple[str | None, str, int | None]:
    """User, host and port of one jump: `[user@]host[:port]` or `ssh://[user@]host[:port]`."""
    match = re.fullmatch(r"(?:ssh://)?(?:(.+)@)?(?:\[([^\]]+)\]|([^:@]+)|([0-9a-fA-F:]+))(?::(\d+))?/?", word.strip())
    if match is None:
        raise _BrokenError(f"{one_line(word)} is no jump host")
    user, bracketed, plain, address, port = match.groups()
    return user, bracketed or plain or address, int(port) if port else None
