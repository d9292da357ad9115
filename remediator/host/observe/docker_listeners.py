"""Where the running daemon serves its API over TCP, and how each of those addresses answers a caller of this host's."""

import binascii
import os
import time

from remediator.host.common.handshake import accepted_authorities, how_it_speaks
from remediator.host.common.kernel_sockets import (
    KernelSocket,
    holds_socket,
    is_loopback,
    is_own_address,
    listening_sockets,
    without_mapping,
)
from remediator.host.common.patterns import pattern
from remediator.host.common.reading import reason_of
from remediator.host.observe.docker import DOCKER_SOCKET_UNIT, DOCKER_UNIT, DockerHost
from remediator.host.observe.state import HostState
from remediator.host.observe.words import flag_values

MYPY = False
if MYPY:
    from typing import Any

MAX_LISTENERS = 8
LISTENER_SECONDS = 10.0
# Where an address has no port: without and with TLS.
API_PORTS = (2375, 2376)
ADDRESS = pattern(r"(\[[^\]]*\]|[^:/@\[\]]*)(?::([0-9]{1,5}))?(?:/.*)?$")
PORT = pattern(r"^[^/@]*:[0-9]+$")


def docker_listeners(state: "HostState", docker: "DockerHost") -> "list[dict[str, Any]] | None":
    """The TCP addresses of the daemon's API, sorted; none while it does not run as the host's own.

    After those that it is told to serve come those that it was told when it started and that still answer as an open
    API. None where it could not be seen, which is then told among the problems.
    """
    process = state.processes.get(DOCKER_UNIT)
    if process is None:
        return []
    if not shares_network(process.pid):
        state.files.problem("dockerd has a network namespace of its own: what it listens on was not looked at")
        return None
    found = listening_sockets(process.pid)
    if not found:
        return []
    try:
        held = holds_socket(process.pid, {item.inode for item in found})
    except OSError as error:
        state.files.problem("what dockerd listens on cannot be seen: %s (is this root?)" % reason_of(error))
        return None
    found = sorted((item for item in found if item.inode in held), key=lambda item: (item.port, item.address))
    if len(found) > MAX_LISTENERS:
        state.files.problem("dockerd listens on more than %d addresses: the rest was left out" % MAX_LISTENERS)
    deadline = time.monotonic() + LISTENER_SECONDS
    addresses = api_addresses(docker)
    told = [item for item in found if any(is_told(address, item) for address in addresses)][:MAX_LISTENERS]
    others = [item for item in found if item not in told]
    others.sort(key=lambda item: item.port not in API_PORTS)
    answer = [listener_facts(state, item, deadline) for item in told]
    return answer + untold_listeners(state, others[: MAX_LISTENERS - len(told)], deadline)


def untold_listeners(state: "HostState", others: "list[KernelSocket]", deadline: "float") -> "list[dict[str, Any]]":
    """Those of dockerd's other sockets that answer as an open Docker API: swarm's and those of metrics do not."""
    answer = []
    for item in others:
        if time.monotonic() > deadline:
            state.files.problem("not everything that dockerd listens on was asked in time: check with `ss -ltnp`")
            break
        facts = listener_facts(state, item, deadline, only_docker=True)
        if facts["speaks"] in ("plain", "tls"):
            answer.append(facts)
    return answer


def shares_network(pid: "int") -> "bool":
    """Whether a process has the network namespace that observe is in; where that cannot be seen, it is taken for so."""
    try:
        return os.readlink("/proc/%d/ns/net" % pid) == os.readlink("/proc/self/ns/net")
    except OSError:
        return True


def api_addresses(docker: "DockerHost") -> "list[tuple[str, int]]":
    """(host, port) of every TCP address that the daemon was told to serve its API on, as dockerd reads them.

    Without any it may serve localhost with TLS. Its other ports (swarm, metrics) are not among them.
    """
    hosts = flag_values(docker.words, "host", "H")
    listed = docker.settings.get("hosts")
    hosts += [value for value in listed if isinstance(value, str)] if isinstance(listed, list) else []
    found: "list[tuple[str, int]]" = []
    for value in hosts or ["tcp://"]:
        scheme, joined, rest = value.strip().partition("://")
        if scheme == "fd":
            listens = docker.state.units[DOCKER_SOCKET_UNIT].listen
            found += [pair for text in listens if PORT.search(text) for pair in hosts_and_ports(text)]
        elif scheme == "tcp" or not joined:
            found += hosts_and_ports(rest if joined else scheme)
    return found


def hosts_and_ports(text: "str") -> "list[tuple[str, int]]":
    """`host:port`, `:port`, `host` or nothing at all as (host, port), one for each port that it can mean."""
    found = ADDRESS.match(text)
    if found is None:
        return []
    host = found.group(1).strip("[]").partition("%")[0] or "localhost"
    return [(host, int(found.group(2)))] if found.group(2) else [(host, port) for port in API_PORTS]


def is_told(address: "tuple[str, int]", item: "KernelSocket") -> "bool":
    """Whether a configured address is that of this socket. A name that is not a number may be any address."""
    import socket

    host, port = address
    if port != item.port:
        return False
    if host == "localhost":
        return is_loopback(without_mapping(item.address))
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            wanted = socket.inet_pton(family, host)
        except OSError:
            continue
        if not wanted.strip(b"\0"):
            return item.is_wildcard()
        return without_mapping(wanted) == without_mapping(item.address)
    return True


def listener_facts(
    state: "HostState", item: "KernelSocket", deadline: "float", only_docker: "bool" = False
) -> "dict[str, Any]":
    """One address and how it answers. Every address that is called is this host's own."""
    import socket

    family = socket.AF_INET6 if len(item.address) == 16 else socket.AF_INET
    address = socket.inet_ntop(family, item.address)
    facts: "dict[str, Any]" = {"address": address, "port": item.port, "speaks": "nothing"}
    plain = without_mapping(item.address)
    if item.is_wildcard():
        # A host may have no IPv6 on its loopback.
        callable_hosts = ["::1", "127.0.0.1"] if len(item.address) == 16 else ["127.0.0.1"]
    elif is_own_address(plain):
        callable_hosts = [socket.inet_ntop(socket.AF_INET if len(plain) == 4 else socket.AF_INET6, plain)]
    else:
        state.files.problem("dockerd listens on %s, which is not an address of this host now" % address)
        return facts
    for host in callable_hosts:
        try:
            facts["speaks"], certificate = how_it_speaks(host, item.port, deadline, only_docker)
        except OSError:
            continue
        if certificate is not None:
            facts["certificate"] = binascii.b2a_base64(certificate, newline=False).decode("ascii")
        if facts["speaks"] == "mutual_tls":
            facts["authorities"] = authority_facts(host, item.port, deadline)
        break
    return facts


def authority_facts(host: "str", port: "int", deadline: "float") -> "list[str] | None":
    """The names of the CAs whose clients are taken there; None where that was not said."""
    try:
        names = accepted_authorities(host, port, deadline)
    except OSError:
        return None
    return None if names is None else [binascii.b2a_base64(name, newline=False).decode("ascii") for name in names]
