"""What clients call a host: the names and addresses that its certificate shall bear, from the inventory alone."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from remediator.errors import HostError, UsageError
from remediator.text import one_line

MAX_NAMES = 100
LONGEST_COMMON_NAME = 64  # bytes of UTF-8: X.520's upper bound for a common name, as it is commonly counted

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_NAME = 253
_VARIABLE = "docker_tls_names"


@dataclass(frozen=True)
class Names:
    """DNS names in lower case and IP addresses in their canonical form, each once."""

    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """DNS names first, then addresses."""
        return (*self.dns, *self.addresses)


def host_names(host: str, address: str, variables: Mapping[str, Any]) -> Names:
    """The names of `host`: its name in the inventory, `address` (ansible_host) and docker_tls_names.

    The first two are left out where they are no name that a certificate can bear, or lead back to whoever asks
    (localhost), unless nothing else is left. Raises UsageError when docker_tls_names is malformed, or no name is left.
    """
    given = _given(host, variables.get(_VARIABLE))
    found = [name for name in (_normal(host), _normal(address)) if name is not None]
    wanted = [name for name in found if not _is_loopback(name)] + given
    wanted = list(dict.fromkeys(wanted or found))
    if not wanted:
        raise UsageError(
            f"{one_line(host)}: neither this name nor its address {one_line(address)} can stand in a certificate. "
            f"Set {_VARIABLE} to the names and addresses that clients use for it."
        )
    return Names(
        tuple(name for name in wanted if _address(name) is None),
        tuple(name for name in wanted if _address(name) is not None),
    )


def inventory_names(host: str, address: str) -> Names:
    """The names that the inventory itself gives a host; none where neither can stand in a certificate."""
    try:
        return host_names(host, address, {})
    except UsageError:
        return Names()


def given_names(host: str, variables: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in docker_tls_names alone. Raises UsageError when that is malformed."""
    return tuple(dict.fromkeys(_given(host, variables.get(_VARIABLE))))


def checked_name(text: str) -> str | None:
    """`text` as a certificate bears it: a DNS name in lower case or an IP address; None when it is neither."""
    return _normal(text)


def common_name(host: str) -> str:
    """The common name in a host's certificate and signing request: its name in the inventory.

    One that is too long for a common name is cut and ends in `...`, which is no DNS name and so claims none; clients
    go by the alternative names, which are whole.
    """
    text = host.encode("utf-8", "backslashreplace")
    if len(text) <= LONGEST_COMMON_NAME:
        return text.decode("utf-8")
    return text[: LONGEST_COMMON_NAME - 3].decode("utf-8", "ignore") + "..."


def require_unique(fleet: Mapping[str, Names], held: Mapping[str, Names]) -> dict[str, HostError]:
    """Which hosts of `fleet` must get no certificate because another claims one of their names, each with why.

    `held` are the names in the certificates that the controller holds; those of hosts in `fleet` are about to be
    replaced and do not count.
    """
    claims: dict[str, list[str]] = {}
    for host, names in (*fleet.items(), *((host, names) for host, names in held.items() if host not in fleet)):
        for name in names.all:
            claims.setdefault(name, []).append(host)
    refused: dict[str, HostError] = {}
    for name, hosts in claims.items():
        for host in hosts:
            others = [other for other in hosts if other != host]
            if others and host in fleet and host not in refused:
                refused[host] = _refusal(host, name, others, fleet)
    return refused


def _refusal(host: str, name: str, others: Iterable[str], fleet: Mapping[str, Names]) -> HostError:
    words = ", ".join(
        one_line(other) if other in fleet else f"{one_line(other)} (which holds a certificate for it)"
        for other in others
    )
    return HostError(
        host,
        "request",
        f"{one_line(host)}: it shares the name {one_line(name)} with {words}. A name leads to one host only: correct "
        f"ansible_host or {_VARIABLE}, or, where the other host is gone, remove its certificate as `remediate tls "
        "show` names it.",
    )


def _given(host: str, value: Any) -> list[str]:
    """docker_tls_names, checked. Raises UsageError."""
    if value is None:
        return []
    if not isinstance(value, (list, tuple)) or len(value) > MAX_NAMES:
        raise UsageError(
            f"{one_line(host)}: {_VARIABLE} must be a list of at most {MAX_NAMES} names and addresses. Correct it in "
            "the inventory."
        )
    names = []
    for item in value:
        name = _normal(item) if isinstance(item, str) else None
        if name is None:
            raise UsageError(
                f"{one_line(host)}: {one_line(repr(item), 200)} in {_VARIABLE} is neither a DNS name (without "
                "wildcards) nor an IP address. Correct it in the inventory."
            )
        names.append(name)
    return names


def _normal(text: str) -> str | None:
    address = _address(text)
    if address is not None:
        return None if address.is_unspecified or address.is_multicast else str(address)
    name = text.lower().removesuffix(".") if text.isascii() else ""
    labels = name.split(".")
    if not name or len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return None if labels[-1].isdigit() else name  # 1.2.3 and 127.1 are addresses to some programs


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """`text` as an address, also in brackets; None for names, and for addresses that hold on one link only."""
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]") if text.startswith("[") else text)
    except ValueError:
        return None
    # Clients take an IPv4 address and its form in IPv6 for one.
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return name == "localhost" or name.endswith(".localhost") if address is None else address.is_loopback
