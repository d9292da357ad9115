"""What the kernel says of TCP: who listens where, and which addresses are this host's own."""

import binascii
import os
import sys

from remediator.host.common.names import text_of
from remediator.host.common.reading import read_proc

# The tables list what listens before what is connected, so a busy host costs no more.
MAX_TABLE = 1048576
LISTENING = b"0A"
MAPPED = b"\0" * 10 + b"\xff\xff"
LOOPBACK_6 = b"\0" * 15 + b"\x01"


class KernelSocket:
    """One listening socket: its inode, and its address (4 or 16 bytes) and port."""

    def __init__(self, inode: "str", address: "bytes", port: "int") -> None:
        self.inode = inode
        self.address = address
        self.port = port

    def is_wildcard(self) -> "bool":
        """Whether it takes callers on every address."""
        return not self.address.strip(b"\0")


def listening_sockets(pid: "int") -> "list[KernelSocket]":
    """Every TCP socket that listens in the network namespace of a process, its own or not."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in read_proc("/proc/%d/net/%s" % (pid, table), MAX_TABLE).split(b"\n"):
            fields = line.split()
            if len(fields) > 9 and fields[3] == LISTENING:
                address, _, port = fields[1].partition(b":")
                found.append(KernelSocket(text_of(fields[9]), socket_address(address), int(port, 16)))
    return found


def socket_address(digits: "bytes") -> "bytes":
    """The address in a kernel table: words of 32 bits, each printed as a number of this machine's byte order."""
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    return b"".join(word.to_bytes(4, sys.byteorder) for word in words)


def without_mapping(address: "bytes") -> "bytes":
    """An IPv4 address that is written as an IPv6 one (::ffff:192.0.2.7) as itself; any other as it is."""
    return address[12:] if address.startswith(MAPPED) and len(address) == 16 else address


def is_loopback(address: "bytes") -> "bool":
    """Whether only this host can call there."""
    return address == LOOPBACK_6 or (len(address) == 4 and address[:1] == b"\x7f")


def is_own_address(address: "bytes") -> "bool":
    """Whether packets to this address stay on this host: a socket may be bound to one that another host has now."""
    if is_loopback(address):
        return True
    if len(address) == 4:
        return "%d.%d.%d.%d" % tuple(address) in own_ipv4_addresses()
    lines = read_proc("/proc/self/net/if_inet6", MAX_TABLE).split(b"\n")
    return binascii.hexlify(address) in [line.split(b" ")[0] for line in lines]


def own_ipv4_addresses() -> "set[str]":
    """The addresses that the routing table calls local: a `|-- ADDRESS` line, then `/32 host LOCAL`."""
    own = set()
    address = ""
    for line in text_of(read_proc("/proc/self/net/fib_trie", 4 * MAX_TABLE)).split("\n"):
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[-1]
        elif words == ["/32", "host", "LOCAL"]:
            own.add(address)
    return own


def holds_socket(pid: "int", inodes: "set[str]") -> "set[str]":
    """Those of the socket `inodes` that a process has open. Raises OSError where that cannot be seen."""
    held = set()
    directory = "/proc/%d/fd" % pid
    for name in os.listdir(directory):
        try:
            target = os.readlink(directory + "/" + name)
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:[") and target[8:-1] in inodes:
            held.add(target[8:-1])
    return held
