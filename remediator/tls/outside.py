"""The controller's own handshakes with the daemons that an apply opened: from outside, with a certificate it holds.

The commit's probes speak from the host itself; only from outside does it show what a client will meet: a firewall, a
name that is not in the certificate, another machine behind the address. What is found becomes notes, no outcome; where
it contradicts what the host said of itself, the result says so, and the call fails.
"""

from __future__ import annotations

import hashlib
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from remediator.inventory import Inventory
from remediator.plan import HostPlan, HostResult, Step
from remediator.text import one_line
from remediator.tls.holdings import Client, client_of

PATIENCE = 5.0  # seconds for one attempt, from the connection to the answer
_FROM = "from the controller"
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")
_LONGEST = 4096
_ANYBODY = "ANSWERED WITHOUT A CERTIFICATE"
_IN_THE_CLEAR = "ANSWERED PLAIN HTTP"
_ANOTHER = "shows another certificate"
_ANOTHER_CA = (18, 19, 20, 21)  # X509_V_ERR_: self-signed, or no issuer among those that are trusted


@dataclass(frozen=True)
class Listener:
    """A daemon's address as clients name it, and the sha256 of the certificate (DER) that was installed there."""

    host: str
    address: str
    port: int
    fingerprint: str

    @property
    def place(self) -> str:
        """`web1:2376`."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class _Met:
    """What was met at one listener, in words; `wrong` where it is not what the host's own probe said."""

    words: str
    wrong: bool = False


def look_from_outside(
    inventory: Inventory, hosts: Iterable[HostPlan], results: Mapping[str, HostResult], store: Path, forks: int
) -> dict[str, HostResult]:
    """`results` with what the controller met at every listener that an applied transaction of `hosts` probed.

    A host for which the controller holds no client certificate gets none. Raises nothing; Ctrl-C ends it at once.
    """
    reached = {host.name: host for host in inventory.hosts}
    attempts = []
    for plan in hosts:
        host = reached[plan.host]
        applied = {answer.group for answer in results[plan.host].results if answer.outcome == "applied"}
        probes = [step for each in plan.transactions if each.group in applied for step in each.probe]
        listeners = _listeners(host.name, host.connection.address, probes)
        client = client_of(host.variables, store) if listeners else None
        attempts += [(listener, client) for listener in listeners if client is not None]
    met = _attempt(attempts, forks)
    found = {}
    for name, result in results.items():
        own = met.get(name, [])
        notes = (*result.notes, *(each.words for each in own))
        contradicted = result.contradicted or any(each.wrong for each in own)
        found[name] = result.model_copy(update={"notes": notes, "contradicted": contradicted})
    return found


def _listeners(host: str, address: str, probes: Iterable[Step]) -> list[Listener]:
    """What can be tried from outside: a listener on the loopback interface is for the host alone."""
    found = {}
    for step in probes:
        if step.do != "mutual_tls" or not step.address:
            continue
        bound, _, port = step.address.rpartition(":")
        if port.isdigit() and not _is_loopback(bound.strip("[]")):
            found[int(port)] = Listener(host, address, int(port), step.sha256 or "")
    return list(found.values())


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _attempt(attempts: Sequence[tuple[Listener, Client]], forks: int) -> dict[str, list[_Met]]:
    """What came of each attempt by its host, `forks` attempts at a time."""
    waiting: queue.SimpleQueue[tuple[int, Listener, Client]] = queue.SimpleQueue()
    for number, (listener, client) in enumerate(attempts):
        waiting.put((number, listener, client))
    done: queue.SimpleQueue[tuple[int, _Met]] = queue.SimpleQueue()
    stopping = threading.Event()

    def work() -> None:
        while not stopping.is_set():
            try:
                number, listener, client = waiting.get_nowait()
            except queue.Empty:
                return
            done.put((number, _note(listener, client)))

    for number in range(min(forks, len(attempts))):
        # Daemons: a name server that does not answer must not hold up the end of the command.
        threading.Thread(target=work, name=f"outside-{number}", daemon=True).start()
    try:
        said = dict(done.get() for _ in attempts)
    finally:
        stopping.set()
    notes: dict[str, list[_Met]] = {}
    for number, (listener, _) in enumerate(attempts):
        notes.setdefault(listener.host, []).append(said[number])
    return notes


def _note(listener: Listener, client: Client) -> _Met:
    """What the controller met at this listener, harmless to show."""
    try:
        met = _met(listener, client)
    except Exception as error:  # noqa: BLE001 - whatever it was, the apply has come through and must be reported
        met = _Met(f"{listener.place} could not be tried ({type(error).__name__})")
    return _Met(one_line(f"{_FROM}: {met.words}", 1000), met.wrong)


def _met(listener: Listener, client: Client) -> _Met:
    try:
        anonymous = _context(client)
        known = _context(client)
        # An encrypted key must not make OpenSSL ask for its passphrase at the terminal.
        known.load_cert_chain(client.certificate, client.key, password=lambda: b"")
    except (OSError, ValueError) as error:
        return _Met(
            f"{listener.place} was not tried: the client certificate {client.certificate} cannot be used ({error}); it "
            "and its key must be readable, belong together and not be encrypted"
        )
    try:
        line = _connect(listener)
    except OSError as error:
        return _Met(
            f"{listener.place} could not be reached ({_why(error)}); look at the firewalls on the way, and whether the "
            "name leads to this host"
        )
    said = (_tried_with(line, listener, client, known), _tried_without(listener, anonymous), _tried_plain(listener))
    words = "; ".join(each for each in said if each)
    return _Met(words, any(sign in words for sign in (_ANYBODY, _IN_THE_CLEAR, _ANOTHER)))


def _context(client: Client) -> ssl.SSLContext:
    """Trusts the daemon's CA alone, and asks for the name in the certificate as Docker's client does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it trusts an intermediate CA that is alone in the file
    context.load_verify_locations(client.authority)
    return context


def _tried_with(line: socket.socket, listener: Listener, client: Client, context: ssl.SSLContext) -> str:
    """What comes of a call with the client certificate."""
    until = time.monotonic() + PATIENCE
    try:
        with line, context.wrap_socket(line, server_hostname=listener.address) as wrapped:
            served = hashlib.sha256(wrapped.getpeercert(binary_form=True) or b"").hexdigest()
            answer = _ping(wrapped, until)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _ANOTHER_CA:
            return f"{listener.place} shows a certificate of another CA than {client.authority}"
        return f"{listener.place} shows a certificate that clients will not accept ({error.verify_message.rstrip('.')})"
    except OSError as error:
        return f"{listener.place} did not let the controller in with its client certificate ({_why(error)})"
    if listener.fingerprint and served != listener.fingerprint:
        return f"{listener.place} {_ANOTHER} (sha256 {served}) than the one that was installed"
    status = _STATUS.match(answer)
    if status is None or status.group(1) != b"200":
        return f"{listener.place} took the client certificate, but its answer is not a Docker daemon's"
    return f"mutual TLS accepted ({listener.place}, certificate sha256 {served})"


def _tried_without(listener: Listener, context: ssl.SSLContext) -> str:
    """What comes of a call over TLS without a client certificate; nothing where that could not be found out."""
    until = time.monotonic() + PATIENCE
    try:
        with _connect(listener) as line, context.wrap_socket(line, server_hostname=listener.address) as wrapped:
            answer = _ping(wrapped, until)
    except ssl.SSLCertVerificationError:
        return ""
    except TimeoutError:
        return "without a certificate no answer in time"
    except OSError:
        answer = b""
    return _ANYBODY if answer else "without a certificate refused"


def _tried_plain(listener: Listener) -> str:
    """What comes of a call without TLS: a TLS server answers it with 400, with an alert or not at all."""
    until = time.monotonic() + PATIENCE
    try:
        with _connect(listener) as line:
            status = _STATUS.match(_ping(line, until))
    except TimeoutError:
        return "to plain HTTP no answer in time"
    except OSError:
        status = None
    return "plain HTTP refused" if status is None or status.group(1) == b"400" else _IN_THE_CLEAR


def _connect(listener: Listener) -> socket.socket:
    return socket.create_connection((listener.address, listener.port), timeout=PATIENCE)


def _ping(line: socket.socket, until: float) -> bytes:
    """The beginning of the answer to GET /_ping; empty where the other side closed. Raises OSError."""
    line.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
    answer = b""
    while b"\r\n" not in answer and len(answer) < _LONGEST:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        line.settimeout(left)
        data = line.recv(_LONGEST)
        if not data:
            break
        answer += data
    return answer


def _why(error: OSError) -> str:
    """The reason in an error of a connection, in OpenSSL's words or the system's."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS failed").lower().replace("_", " ")
    if isinstance(error, TimeoutError):
        return f"no answer in {PATIENCE:.0f} s"
    return error.strerror or str(error) or type(error).__name__
