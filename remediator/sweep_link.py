"""An authenticated SSH connection to one host, through its jump hosts, with every host key checked.

Algorithms are ordered for speed within what ssh's configuration allows. Nothing is forwarded, compressed or accepted on
trust, and a failure of a host key or of authentication is never tried in another way.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import socket
import threading
import time
from dataclasses import dataclass, field

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from remediator.access import Secret
from remediator.errors import HostError
from remediator.ssh_settings import SshSettings
from remediator.sweep_deadline import Deadline, Deadlines
from remediator.sweep_keys import Identities
from remediator.sweep_known_hosts import Known, KnownHosts
from remediator.sweep_passwords import GivenUpError, PasswordGates
from remediator.text import one_line

# sshd hangs up after six tries by default: the last is for the password.
_MAX_KEYS = 5
# Seconds for the answer to a password, and for all of a log-in once connected; PAM delays a refusal.
_PASSWORD_WAIT = 15.0
_LOGIN_WAIT = 20.0
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}


@dataclass(frozen=True)
class Login:
    """What to log in with besides what the settings say: key file and password of inventory or command line."""

    private_key: str | None = None
    password: Secret | None = None


class LinkError(Exception):
    """Why there is no connection: a kind of HostError, and a message without the host's name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def of(self, host: str) -> HostError:
        """The error of `host`."""
        return HostError(host, self.kind, f"{host}: {self}")


@dataclass
class _Hop:
    turn: threading.Lock = field(default_factory=threading.Lock)
    transport: paramiko.Transport | None = None
    error: LinkError | None = None


class Links:
    """Opens connections for one sweep. Files, keys, passwords' fates and jump hosts are shared by all its hosts."""

    def __init__(self, deadlines: Deadlines, known_hosts: KnownHosts, gates: PasswordGates) -> None:
        self._deadlines = deadlines
        self._known_hosts = known_hosts
        self._gates = gates
        self._identities = Identities()
        self._hops: dict[SshSettings, _Hop] = {}
        self._hops_turn = threading.Lock()
        # What paramiko logs is what we report as the host's error.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)

    def close(self) -> None:
        """Close the connections to jump hosts."""
        for hop in self._hops.values():
            if hop.transport is not None:
                hop.transport.close()

    def open(self, host: str, settings: SshSettings, login: Login, deadline: Deadline) -> paramiko.Transport:
        """An authenticated transport to `host`; the caller closes it. Raises LinkError."""
        stream = self._stream(settings, deadline)
        deadline.closes(lambda: _hang_up(stream))
        transport: paramiko.Transport | None = None
        try:
            known = self._known_hosts.lookup(settings.known_hosts, *settings.key_address)
            transport = self._handshake(stream, settings, known, deadline)
            _check_host_key(transport.get_remote_server_key(), settings, known)
            self._log_in(transport, host, settings, login, deadline)
        except (paramiko.SSHException, EOFError, OSError) as error:
            _hang_up(stream)
            raise LinkError("unreachable", _trouble(settings, error)) from None
        except LinkError:
            _hang_up(stream)
            raise
        return transport

    def _stream(self, settings: SshSettings, deadline: Deadline) -> socket.socket | paramiko.Channel:
        timeout = min(settings.connect_timeout, deadline.left)
        if settings.via is None:
            return _connect(settings, timeout)
        with self._deadlines.paused(deadline):
            hop = self._hop(settings.via)
        try:
            return hop.open_channel(
                "direct-tcpip", (settings.hostname, settings.port), ("127.0.0.1", 0), timeout=timeout
            )
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise LinkError(
                "unreachable",
                f"jump host {one_line(settings.via.alias)} cannot reach {one_line(settings.hostname)} port "
                f"{settings.port} ({_said(error)}). Check the address, and that the jump host may forward to it.",
            ) from None

    def _hop(self, settings: SshSettings) -> paramiko.Transport:
        """The shared connection to a jump host. One failure is the failure of every host behind it."""
        with self._hops_turn:
            hop = self._hops.setdefault(settings, _Hop())
        with hop.turn:
            if hop.transport is None and hop.error is None:
                deadline = self._deadlines.start(settings.connect_timeout + _LOGIN_WAIT)
                try:
                    # A target's key and password are not the jump host's: ssh gives it neither.
                    hop.transport = self.open(settings.alias, settings, Login(), deadline)
                except LinkError as error:
                    hop.error = LinkError(error.kind, f"through jump host {one_line(settings.alias)}: {error}")
                finally:
                    self._deadlines.stop(deadline)
            if hop.error is not None:
                raise hop.error
            assert hop.transport is not None  # noqa: S101 - without an error it was opened
            return hop.transport

    def _handshake(
        self, stream: socket.socket | paramiko.Channel, settings: SshSettings, known: Known, deadline: Deadline
    ) -> paramiko.Transport:
        kex, ciphers, macs, keys = settings.algorithms
        transport = paramiko.Transport(stream)
        transport.daemon = True
        options = transport.get_security_options()
        options.kex, options.ciphers, options.digests = kex, ciphers, macs
        options.key_types = tuple(sorted(keys, key=lambda name: not _is_known_type(name, known)))
        timeout = min(settings.connect_timeout, deadline.left)
        transport.banner_timeout = transport.handshake_timeout = timeout
        transport.start_client(timeout=timeout)
        if not transport.initial_kex_done:
            raise paramiko.SSHException(f"no SSH handshake within {timeout:.0f} seconds")
        return transport

    def _log_in(
        self, transport: paramiko.Transport, host: str, settings: SshSettings, login: Login, deadline: Deadline
    ) -> None:
        offers = self._identities.offers(settings, login.private_key)
        password = login.password if settings.passwords else None
        keys = offers.keys[:_MAX_KEYS] if password is not None else offers.keys
        transport.auth_timeout = min(_LOGIN_WAIT, deadline.left)
        said = ""
        for key in keys:
            try:
                if not transport.auth_publickey(settings.user, key):
                    return
                said = "the key was accepted, and something else is asked for as well"
                break
            except paramiko.BadAuthenticationType as error:
                said = f"it offers only {one_line(', '.join(error.allowed_types))}"
                break
            except paramiko.AuthenticationException:
                if not transport.is_active():
                    said = f"it hung up after {len(keys)} keys or fewer"
                    break
        if password is not None and transport.is_active():
            self._send_password(transport, host, settings, password, deadline)
            return
        raise LinkError("authentication", _no_login(settings, login, len(keys), said, offers.problems))

    def _send_password(
        self, transport: paramiko.Transport, host: str, settings: SshSettings, password: Secret, deadline: Deadline
    ) -> None:
        user = one_line(settings.user)
        try:
            with self._deadlines.paused(deadline):
                attempt = self._gates.begin("ssh", settings.user, password, host)
        except GivenUpError as error:
            raise LinkError(
                "authentication",
                f"the password for {user} was not tried: {error} refused it already, and more failures could lock "
                "the account. Correct the password and run this again.",
            ) from None
        try:
            transport.auth_timeout = min(_PASSWORD_WAIT, deadline.left)
            more = transport.auth_password(settings.user, password.reveal())
            attempt.accepted = True
        except paramiko.BadAuthenticationType as error:
            raise LinkError(
                "authentication",
                f"log-in as {user} refused: it takes no passwords, only {one_line(', '.join(error.allowed_types))}. "
                "Use a key (--private-key).",
            ) from None
        except paramiko.AuthenticationException:
            attempt.refused = True
            raise LinkError(
                "authentication",
                f"the password for {user} was refused. Check the user and the password (ansible_password in the "
                "inventory, else -k).",
            ) from None
        finally:
            self._gates.end(attempt)
        if more:
            raise LinkError(
                "authentication",
                f"log-in as {user}: the password was accepted, but it also asks for {one_line(', '.join(more))}. "
                "Use an account that one key or password opens.",
            )


def _connect(settings: SshSettings, timeout: float) -> socket.socket:
    where = f"{one_line(settings.hostname)} port {settings.port}"
    family = _FAMILIES.get(settings.address_family, socket.AF_UNSPEC)
    ends = time.monotonic() + timeout
    failure: OSError | None = None
    try:
        addresses = socket.getaddrinfo(settings.hostname, settings.port, family, socket.SOCK_STREAM)
        for kind, _, protocol, _, address in addresses:
            stream = socket.socket(kind, socket.SOCK_STREAM, protocol)
            try:
                stream.settimeout(max(0.1, ends - time.monotonic()))
                stream.connect(address)
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return stream
            except OSError as error:
                stream.close()
                failure = error
    except (OSError, UnicodeError) as error:
        raise LinkError(
            "unreachable",
            f"the name {one_line(settings.hostname)} could not be resolved ({_said(error)}). Check ansible_host and "
            "the controller's DNS.",
        ) from None
    reason = f"no connection within {timeout:.0f} seconds" if isinstance(failure, TimeoutError) else _said(failure)
    raise LinkError(
        "unreachable",
        f"{where} cannot be reached ({reason}). Check that the host is up, its address, port and firewall.",
    )


def _hang_up(stream: socket.socket | paramiko.Channel) -> None:
    """Close at once, without waiting for the other end or for paramiko's reading thread."""
    try:
        if isinstance(stream, socket.socket):
            stream.shutdown(socket.SHUT_RDWR)
        stream.close()
    except (OSError, EOFError, paramiko.SSHException):
        # It was closed already.
        return


def _is_known_type(algorithm: str, known: Known) -> bool:
    family = "ssh-rsa" if algorithm.startswith("rsa-") else algorithm
    return any(key.type == family for key in known.keys)


def _check_host_key(shown: paramiko.PKey, settings: SshSettings, known: Known) -> None:
    """Raises LinkError unless a known_hosts file lists exactly this key for this host."""
    kind, text = shown.get_name(), shown.get_base64()
    if any(key.type == kind and key.text == text for key in known.keys):
        return
    digest = base64.b64encode(hashlib.sha256(shown.asbytes()).digest()).rstrip(b"=").decode()
    name, port = settings.key_address
    name = name if port == 22 else f"[{name}]:{port}"
    compare = (
        f"Compare it with what `ssh-keygen -lf /etc/ssh/ssh_host_{kind.removeprefix('ssh-').split('-')[0]}_key.pub` "
        "prints on the host's own console"
    )
    same = next((key for key in known.keys if key.type == kind), None)
    if same is not None:
        raise LinkError(
            "host_key",
            f"the host key is not the known one: {one_line(name)} shows {kind} SHA256:{digest}, but {same.file} line "
            f"{same.line} lists another {kind} key. Somebody may be in between. {compare}; only if they are equal, "
            f"remove the old key with `ssh-keygen -R '{one_line(name)}' -f {same.file}` and add this one.",
        )
    listed = f", which lists only {', '.join(sorted({key.type for key in known.keys}))}" if known.keys else ""
    first = settings.known_hosts[0] if settings.known_hosts else "~/.ssh/known_hosts"
    raise LinkError(
        "host_key",
        f"the host key is not known: {one_line(name)} shows {kind} SHA256:{digest}, and it is not in "
        f"{one_line(' or '.join(settings.known_hosts) or first)}{listed}. {compare}; if they are equal, add the key to "
        f"{one_line(first)} (log in once with `ssh {one_line(settings.alias)}` and confirm it). It is never accepted "
        "silently.",
    )


def _no_login(settings: SshSettings, login: Login, keys: int, said: str, problems: tuple[str, ...]) -> str:
    tried = f"{keys} key{'s' if keys != 1 else ''} offered, none accepted" if keys else "there was no key to offer"
    detail = "; ".join([tried, *([said] if said else []), *problems])
    hint = " It is set to use Kerberos: --transport ansible can." if settings.gssapi and keys == 0 else ""
    if login.password is not None and not settings.passwords:
        hint += " ssh's configuration forbids passwords for it."
    return (
        f"log-in as {one_line(settings.user)} refused ({detail}). Check the user (-u, ansible_user) and give a key "
        f"(--private-key, or ssh-add) or a password (-k).{hint}"
    )


def _trouble(settings: SshSettings, error: BaseException) -> str:
    where = f"{one_line(settings.hostname)} port {settings.port}"
    if isinstance(error, IncompatiblePeer):
        return f"{where} has no SSH algorithm in common with ssh's configuration ({_said(error)})."
    return (
        f"{where} gave no SSH connection ({_said(error)}). Check that an SSH server listens there; a busy one drops "
        "connections above its MaxStartups: lower --forks."
    )


def _said(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror, 200)
    return one_line(str(error), 200) or "it closed the connection"
