"""Whether a daemon speaks mutual TLS: real handshakes and requests from the host itself, as any client makes them."""

import os
import time
from typing import Any, List, Tuple

from remediator.host.commit.outcomes import StepError, plain_line
from remediator.host.commit.places import real_path
from remediator.host.commit.reading import read_file
from remediator.host.commit.request import Step
from remediator.host.commit.units import POLL_SECONDS
from remediator.host.common.digest import sha256
from remediator.host.common.handshake import Caller, Tunnel, ask_in_the_clear, how_it_speaks, is_refusal
from remediator.host.common.kernel_sockets import is_own_address, listening_sockets, without_mapping
from remediator.host.common.patterns import pattern

CALL_SECONDS = 10.0
PLAIN_SUCCESS = pattern(rb"HTTP/1\.[01] 2[0-9][0-9]\b")
# Who listens on every address is called on the loopback one. A host may have no IPv6 there.
ANY_ADDRESS = {4: ["127.0.0.1"], 16: ["::1", "127.0.0.1"]}
LOCALHOST = ["127.0.0.1", "::1"]
# ssl.VERIFY_X509_PARTIAL_CHAIN, which Python names from 3.10 on. Go trusts each certificate of a CA file, an
# intermediate one too, and so must this.
PARTIAL_CHAIN = 0x80000


class TrustingTunnel(Tunnel):
    """A TLS client that takes the server's certificate only where `context` verifies it."""

    def __init__(self, caller: Caller, context: Any) -> None:
        Tunnel.__init__(self, caller)
        self.inner = context.wrap_bio(self.incoming, self.outgoing)


def probe_mutual_tls(step: Step, path: str, patience: float) -> None:
    """Raises StepError unless `step.address` serves the certificate, proves its chain and refuses everybody else.

    Nothing but this host is ever called, and no name is looked up (see call_targets). `path` is the CA's file. Who
    gives no answer yet is asked again for `patience` seconds; a wrong answer is final.
    """
    authority = read_file(real_path(path)).decode("ascii", "ignore")
    context = trusting_context(authority, step.path or path)
    hosts, port = call_targets(step.address or "")
    shown = plain_line(step.address or "")
    end = time.monotonic() + patience
    while True:
        try:
            if not hosts:
                check_listening(port)
                return
            target = answering_target(hosts, port)
            check_callers(target, shown, step.sha256 or "")
            check_plain(target, shown)
            check_chain(target, shown, context)
            return
        except OSError as error:
            failure = StepError("%s gives no answer: %s" % (shown, plain_line(error.strerror or str(error), 200)))
        if time.monotonic() >= end:
            raise failure
        time.sleep(POLL_SECONDS)


def call_targets(address: str) -> Tuple[List[str], int]:
    """The addresses of this host, in order, at which whoever listens on `HOST:PORT` may be called, and the port.

    None for the name of a host and for an address with a zone: what these lead to somebody else decides (a name server,
    a file), and may be another machine. Raises StepError for a number that is not this host's own.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if host in ("", "localhost"):
        return LOCALHOST, int(port)
    packed = packed_address(host)
    if not packed:
        return [], int(port)
    plain = without_mapping(packed)
    if not plain.strip(b"\0"):
        return ANY_ADDRESS[len(plain)], int(port)
    if not is_own_address(plain):
        raise StepError(plain_line(host) + " is not an address of this host now, so nobody was called there")
    return [text_address(plain)], int(port)


def packed_address(host: str) -> bytes:
    """The 4 or 16 bytes of a literal address; empty for anything else."""
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
    return b""


def text_address(packed: bytes) -> str:
    """A packed address in words."""
    import socket

    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def answering_target(hosts: List[str], port: int) -> Tuple[str, int]:
    """The first of `hosts` that takes a connection at `port`. Raises OSError where none does."""
    failure = OSError("nobody listens there")
    for host in hosts:
        try:
            Caller(host, port, deadline()).line.close()
            return host, port
        except OSError as error:
            failure = error
    raise failure


def check_listening(port: int) -> None:
    """Raises OSError where the kernel knows of nobody who listens at `port`: all that is proved of a host's name.

    A daemon may listen on a name that is not to be called. To roll its transaction back each time would be wrong too.
    """
    if not any(item.port == port for item in listening_sockets(os.getpid())):
        raise OSError("nobody listens there")


def deadline() -> float:
    """When a call that begins now is given up."""
    return time.monotonic() + CALL_SECONDS


def check_callers(target: Tuple[str, int], shown: str, wanted: str) -> None:
    """Raises StepError unless the certificate of sha256 `wanted` is served, and to nobody without a certificate.

    Raises OSError where that is not to be found out now.
    """
    speaks, certificate = how_it_speaks(target[0], target[1], deadline())
    if speaks == "plain":
        raise StepError("%s serves plain HTTP to everybody" % shown)
    if certificate is None:
        raise OSError("it speaks no TLS")
    served = sha256(certificate).hexdigest()
    if served != wanted:
        words = "%s serves another certificate (sha256 %s) than the one that was to be installed (sha256 %s)"
        raise StepError(words % (shown, served, wanted))
    if speaks == "tls":
        raise StepError("%s serves callers who have no client certificate" % shown)
    if speaks != "mutual_tls":
        raise OSError("a caller without a client certificate is neither served nor refused")


def check_plain(target: Tuple[str, int], shown: str) -> None:
    """Raises StepError where plain HTTP is served beside TLS, OSError where nobody listens."""
    caller = Caller(target[0], target[1], deadline())
    try:
        ask_in_the_clear(caller, only_docker=False)
    finally:
        caller.line.close()
    if PLAIN_SUCCESS.match(caller.heard) is not None:
        raise StepError("%s serves plain HTTP beside TLS" % shown)


def check_chain(target: Tuple[str, int], shown: str, context: Any) -> None:
    """Raises StepError where the served certificate does not verify, OSError where the handshake fails otherwise."""
    import ssl

    caller = Caller(target[0], target[1], deadline())
    try:
        TrustingTunnel(caller, context).shake_hands()
    except ssl.SSLError as error:
        if error.reason == "CERTIFICATE_VERIFY_FAILED":
            why = getattr(error, "verify_message", "") or "certificate verify failed"  # Python 3.6 has no such words
            raise StepError("the certificate that %s serves does not verify: %s" % (shown, plain_line(why, 200)))
        # Until TLS 1.2 a caller without certificate is refused here, after it was satisfied itself.
        if not is_refusal(error):
            raise
    finally:
        caller.line.close()


def trusting_context(authority: str, path: str) -> Any:
    """A client that trusts the certificates in `authority` (PEM) alone. Raises StepError where there is none."""
    # Loading ssl costs a commit more than all the rest of its start; only this probe pays.
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=authority)
    except (ssl.SSLError, ValueError):
        raise StepError(plain_line(path) + " holds no certificate of a CA")
    return context
