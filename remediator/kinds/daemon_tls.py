"""daemon_tls: whether every TCP listener of the Docker daemon demands client certificates, on disk and as it runs."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from remediator.kinds.interface import Decision, Kind, Parameters, Scope
from remediator.kinds.tls_daemon import IN_PERSON, Daemon, daemon_needs, look, stage
from remediator.kinds.tls_files import TlsParameters, own_directory_needs
from remediator.observation import Listener
from remediator.overlay import Overlay
from remediator.request import Needs
from remediator.text import one_line

# observe looks at no more listeners than this: one that is not among them may be there all the same.
_MOST_LISTENERS = 8


@dataclass(frozen=True)
class _Faults:
    """What is wrong, in sentences: with what the daemon is told on disk, and with what its process does.

    `told_open` and `served_open` are addresses that let in callers without a certificate.
    """

    told_open: tuple[str, ...] = ()
    served_open: tuple[str, ...] = ()
    told_elsewhere: tuple[str, ...] = ()
    served_elsewhere: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def told(self) -> bool:
        """Whether what stands on disk is wrong."""
        return bool(self.told_open or self.told_elsewhere)

    @property
    def open(self) -> bool:
        """Whether anybody is let in, or will be after the next start."""
        return bool(self.told_open or self.served_open)

    @property
    def all(self) -> str:
        """One sentence; of what is wrong on disk and therefore in the process too, once."""
        return "; ".join((*(self.served_open or self.told_open), *(self.told_elsewhere or self.served_elsewhere)))


class DaemonTls(Kind):
    """Decides docker-bench's 2.7 by what the daemon is told and by how it answers, not by how a file is laid out."""

    name = "daemon_tls"
    parameters = TlsParameters

    def needs(self, parameters: Parameters) -> Needs:
        """The daemon's configuration, its TLS files, its listeners and its containers."""
        return daemon_needs()

    def host_needs(self, parameters: Parameters, variables: Mapping[str, object]) -> Needs:
        """The directory for certificates that the host's variables name."""
        return own_directory_needs(parameters, variables)

    def decide(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision:
        """Drifted, with the whole change staged, where anybody is let in or a wanted address is not served as wanted.

        Without a certificate that could be used nothing is staged, and the decision says what it waits for.
        """
        assert isinstance(parameters, TlsParameters)  # noqa: S101 - narrows for mypy: the catalogue made it
        daemon = look(parameters, scope)
        if isinstance(daemon, Decision):
            open_now = _open(scope)
            if not open_now:
                return daemon
            return Decision("drifted", "; ".join((*open_now, daemon.reason)), waits_for=IN_PERSON)
        if scope.seen.host.uid != 0 and daemon.running:
            return Decision("unknown", "only root can see what dockerd listens on: give -b (--become)")
        if scope.seen.docker_listeners is None and daemon.running:
            return Decision("unknown", "what dockerd listens on could not be seen: -v shows why, among the notes")
        faults = _faults(daemon, scope)
        if not faults.all:
            return _right(daemon, faults)
        hindrance = stage(control, daemon, scope, overlay, faults.all, tell=faults.told)
        if hindrance is None:
            old = "" if faults.told else "; its process is older than its configuration"
            return Decision("drifted", faults.all + old)
        more = hindrance.reason if hindrance.reason not in faults.all else ""
        reason = f"{faults.all}; {more}" if more else faults.all
        if hindrance.waits_for or faults.open:
            return Decision("drifted", reason, waits_for=hindrance.waits_for or IN_PERSON)
        return Decision("manual", reason)


def _right(daemon: Daemon, faults: _Faults) -> Decision:
    if faults.silent:
        return Decision("unknown", f"{', '.join(faults.silent)} answered neither in TLS nor in HTTP: check again")
    addresses = daemon.configuration.tcp
    if not addresses:
        return Decision("compliant", "the daemon listens on no TCP address")
    return Decision("compliant", f"{one_line(', '.join(addresses), 400)} demand client certificates")


def _open(scope: Scope) -> tuple[str, ...]:
    """The addresses on which the running daemon obeys callers without a certificate."""
    words = {
        "plain": "serves plain HTTP: whoever reaches it is root here",
        "tls": "serves TLS to callers without a certificate: whoever reaches it is root here",
    }
    listeners = scope.seen.docker_listeners or ()
    return tuple(f"{_named(one)} {words[one.speaks]}" for one in listeners if one.speaks in words)


def _faults(daemon: Daemon, scope: Scope) -> _Faults:
    told, wanted = daemon.configuration, daemon.listen
    target = wanted or told.tcp
    listeners = scope.seen.docker_listeners or ()
    told_open = []
    if told.tcp and not told.verified:
        how = "TLS, and to callers without a certificate" if told.tls else "plain HTTP"
        told_open = [f"after its next start the daemon serves {one_line(', '.join(told.tcp), 400)} in {how}"]
    told_elsewhere = [one_line(told.conflict, 1000)] if told.conflict else []
    told_elsewhere += [
        f"the daemon is not told to listen on {address}" for address in target if address not in told.tcp
    ]
    told_elsewhere += [
        f"it is told to listen on {one_line(address, 200)} too" for address in told.tcp if address not in target
    ]
    served_elsewhere = []
    if daemon.running:
        found = [address for address in target if any(_is_at(one, address) for one in listeners)]
        if len(listeners) < _MOST_LISTENERS:
            served_elsewhere = [f"the daemon does not listen on {one}" for one in target if one not in found]
        others = [one for one in listeners if not any(_is_at(one, address) for address in target)]
        served_elsewhere += [f"it still listens on {_named(one)}" for one in others]
    return _Faults(
        told_open=tuple(told_open),
        served_open=_open(scope),
        told_elsewhere=tuple(told_elsewhere),
        served_elsewhere=tuple(served_elsewhere),
        silent=tuple(_named(one) for one in listeners if one.speaks == "nothing"),
    )


def _named(listener: Listener) -> str:
    host = f"[{listener.address}]" if ":" in listener.address else listener.address
    return f"{host}:{listener.port}"


def _is_at(listener: Listener, address: str) -> bool:
    """Whether the socket is the one that `address` (HOST:PORT) makes. A name may stand for any address."""
    host, _, port = address.rpartition(":")
    if str(listener.port) != port:
        return False
    try:
        wanted, found = (ipaddress.ip_address(text.strip("[]")) for text in (host, listener.address))
    except ValueError:
        return True
    # dockerd opens one socket for IPv4 and IPv6 whichever of the two unspecified addresses it is given.
    if wanted.is_unspecified or found.is_unspecified:
        return wanted.is_unspecified and found.is_unspecified
    return _unmapped(wanted) == _unmapped(found)


def _unmapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IPv4 address that a socket for IPv6 listens on as what it is."""
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address
