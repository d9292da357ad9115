"""Addresses that a daemon listens on, as dockerd reads them and as a person writes them in an inventory."""

from __future__ import annotations

import ipaddress
import re

from remediator.errors import UsageError
from remediator.text import one_line

# What dockerd takes for what is left out of an address, with TLS and without.
_DEFAULT_NAME = "localhost"
_DEFAULT_PORT = 2375
# The registered port of a daemon that speaks TLS.
_TLS_PORT = 2376
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]/]+)\]|(?P<name>[^:\[\]/@]*))(?::(?P<port>[0-9]*))?\Z")
_ZONE = re.compile(r"[A-Za-z0-9_.-]+\Z")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z")


def default_host(tls: bool) -> str:
    """Where dockerd listens when it is told nothing."""
    return f"tcp://{_DEFAULT_NAME}:{_TLS_PORT}" if tls else "unix:///var/run/docker.sock"


def tcp_address(host: str) -> str | None:
    """`HOST:PORT` of a TCP listener given as -H or in `hosts`; None for another kind of listener.

    An IPv6 address is in brackets. Raises ValueError for what dockerd does not take.
    """
    scheme, joined, rest = host.strip().partition("://")
    if joined and scheme in ("unix", "fd", "npipe"):
        return None
    if joined and scheme != "tcp":
        raise ValueError(f"{one_line(host, 200)} is no address that dockerd can listen on")
    address = (rest if joined else scheme).partition("/")[0]
    try:
        return _normal(address, _DEFAULT_NAME, _DEFAULT_PORT)
    except ValueError:
        raise ValueError(f"{one_line(host, 200)} is no address that dockerd can listen on") from None


def normalise_listen(text: object) -> str:
    """`HOST:PORT` of an address in an inventory: `192.0.2.7`, `tcp://192.0.2.7:2376` or `[2001:db8::7]:2376`.

    Raises UsageError for what names no address.
    """
    try:
        if not isinstance(text, str):
            raise ValueError
        address = _normal(text.strip().removeprefix("tcp://"), "", _TLS_PORT)
        # An address that holds on one interface only: callers elsewhere have no such name for it.
        if "%" in address:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"docker_tls_listen: {one_line(str(text), 200)} is no address to listen on. Write an address of the host "
            "and a port, such as 192.0.2.7:2376 or [2001:db8::7]:2376, or 0.0.0.0:2376 for all of its addresses."
        ) from None
    return address


def _normal(address: str, name: str, port: int) -> str:
    """`HOST:PORT` with `name` and `port` for what is left out. Raises ValueError."""
    found = _ADDRESS.match(address)
    if found is None:
        raise ValueError
    number = int(found["port"]) if found["port"] else port
    if not 1 <= number <= 65535:
        raise ValueError
    if found["six"] is not None:
        six = ipaddress.IPv6Address(found["six"])
        if six.scope_id is not None and not _ZONE.match(six.scope_id):
            raise ValueError
        return f"[{six}]:{number}"
    host = found["name"] or name
    if re.fullmatch(r"[0-9.]+", host):
        host = str(ipaddress.IPv4Address(host))
    elif not _NAME.match(host):
        raise ValueError
    return f"{host.lower()}:{number}"
