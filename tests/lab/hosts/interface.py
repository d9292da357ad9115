"""What a lab host is to a test: an address that answers SSH with a known host key."""

import json
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

SCRIPT_SHELL = ("sh", "-eu")
# A restarted service of the lab counts as well after two seconds, not fifteen: many tests restart one.
LAB_POLICY = {"healthy_seconds": 2}

# The new file is made beside its target, under a dotted name (a kubelet ignores those in its manifests directory),
# with its final mode and owner, and takes the target's place in one rename.
_PUT = """
umask 077
new=$(mktemp "$(dirname "$1")/.put.XXXXXX")
trap 'rm -f "$new"' EXIT
cat >"$new"
chown "$3" "$new"
chmod "$2" "$new"
mv -fT "$new" "$1"
trap - EXIT
"""


_SHOWN = 300


class LabError(Exception):
    """Something about the lab itself failed; the message says what, where and what to do next."""


class CommandError(LabError):
    """A command on a lab host ended with another code than 0; `result` holds its output."""

    def __init__(self, host: str, result: "subprocess.CompletedProcess[bytes]", command: str) -> None:
        errors = result.stderr.decode(errors="backslashreplace").strip()
        output = result.stdout.decode(errors="backslashreplace").strip()
        shown = command if len(command) < _SHOWN else f"{command[:_SHOWN]}..."
        super().__init__(f"{host}: `{shown}` ended {result.returncode}\n{errors}\n{output}".rstrip())
        self.result = result


@dataclass(frozen=True)
class LabHost:
    """One host and how to log in to it: `user` with the private key in `key`, the host key pinned in `known_hosts`."""

    name: str
    """The host's name in an inventory, and its key's name in `known_hosts`."""
    address: str
    port: int
    user: str
    key: Path
    known_hosts: Path
    """Lists `name`, and `address` (as `[address]:port` where the port is not 22)."""
    jump: "LabHost | None" = None
    """The host to go through where the machine has no route to `address`."""

    def ssh_options(self) -> list[str]:
        """Options of OpenSSH's `ssh` that reach this host; the user's own ssh files are neither read nor written."""
        options = [
            *("-F", "none", "-i", str(self.key), "-p", str(self.port)),
            *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"),
            *self._host_key_options(),
            *("-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "LogLevel=ERROR"),
        ]
        if self.jump is not None:
            options += ["-o", f"ProxyCommand={self._proxy_command(self.jump)}"]
        return options

    def run(
        self, *argv: str, check: bool = True, input: bytes | None = None, timeout: float = 120
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run `argv` on the host, each word taken literally, with `input` (by default nothing) on its standard input.

        Raises CommandError where `check` is set and the command (or ssh itself: 255) did not end 0, and
        LabError after `timeout` seconds.
        """
        command = shlex.join(argv)
        ssh = ["ssh", *self.ssh_options(), "--", f"{self.user}@{self.address}", command]
        try:
            result = subprocess.run(ssh, input=input or b"", capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as expired:
            raise LabError(f"{self.name}: `{command}` did not end within {timeout:.0f} s") from expired
        if check and result.returncode != 0:
            raise CommandError(self.name, result, command)
        return result

    def text(self, *argv: str, timeout: float = 120) -> str:
        """What `argv` prints on the host, without the white space around it."""
        return self.run(*argv, timeout=timeout).stdout.decode().strip()

    def script(self, text: str, check: bool = True, timeout: float = 120) -> "subprocess.CompletedProcess[bytes]":
        """Run a POSIX shell script, given to `sh -eu` on standard input: commands in it must not read that."""
        return self.run(*SCRIPT_SHELL, check=check, input=text.encode(), timeout=timeout)

    def put(self, path: str, content: bytes, mode: str = "0644", owner: str = "root:root") -> None:
        """Replace `path` (its directory exists) by a file of this content, mode and owner, in one rename."""
        self.run("sh", "-euc", _PUT, "put", path, mode, owner, input=content)

    def as_user(self, name: str) -> Self:
        """The same host, logging in as another user (with the same key)."""
        return replace(self, user=name)

    def inventory_vars(self) -> dict[str, str | int]:
        """The Ansible variables that reach this host as this user."""
        words = [*self._host_key_options(), "-o", "IdentitiesOnly=yes"]
        if self.jump is not None:
            words += ["-o", f"ProxyCommand={self._proxy_command(self.jump)}"]
        return {
            "ansible_host": self.address,
            "ansible_port": self.port,
            "ansible_user": self.user,
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": shlex.join(words),
        }

    def _host_key_options(self) -> list[str]:
        return [
            *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-o", "GlobalKnownHostsFile=/dev/null", "-o", "UpdateHostKeys=no"),
        ]

    @staticmethod
    def _proxy_command(jump: "LabHost") -> str:
        return shlex.join(["ssh", *jump.ssh_options(), "-W", "[%h]:%p", "--", f"{jump.user}@{jump.address}"])


def inventory(hosts: Iterable[LabHost], extra_vars: Mapping[str, Mapping[str, object]] | None = None) -> str:
    """An Ansible inventory in YAML that reaches these hosts; `extra_vars` adds variables to the host of that name.

    `remediator_policy` is LAB_POLICY where it is not among those.
    """
    given = extra_vars or {}
    return reaching({host: {"remediator_policy": LAB_POLICY, **given.get(host.name, {})} for host in hosts})


def reaching(hosts: Mapping[LabHost, Mapping[str, object]]) -> str:
    """An Ansible inventory in YAML that reaches these hosts, each with these variables besides."""
    lines = ["all:", "  hosts:"]
    for host, more in hosts.items():
        lines.append(f"    {host.name}:")
        # A JSON value is a YAML value.
        lines += [f"      {name}: {json.dumps(value)}" for name, value in {**host.inventory_vars(), **more}.items()]
    return "\n".join(lines) + "\n"


def ssh_config(hosts: Iterable[LabHost]) -> str:
    """An OpenSSH client configuration that reaches these hosts by their names, through their jump hosts' names."""
    lines = []
    for host in hosts:
        lines += [f"Host {host.name}", f"  HostName {host.address}", f"  Port {host.port}", f"  User {host.user}"]
        lines += [f'  IdentityFile "{host.key}"', "  IdentitiesOnly yes", "  StrictHostKeyChecking yes"]
        lines += [f'  UserKnownHostsFile "{host.known_hosts}"', "  GlobalKnownHostsFile /dev/null"]
        if host.jump is not None:
            lines.append(f"  ProxyJump {host.jump.name}")
    return "\n".join(lines) + "\n"
