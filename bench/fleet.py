"""A fleet of SSH hosts on this machine: one sshd that answers on every loopback address, each an inventory host."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Root under another name, with an empty home: root's own shell profile can cost more than all the rest.
USER = "remediator-bench"

_SSHD = """\
Port {port}
ListenAddress 0.0.0.0
HostKey {home}/host_key
AuthorizedKeysFile {home}/client.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PasswordAuthentication no
MaxStartups 500:30:1000
MaxSessions 10
UseDNS no
PidFile {home}/sshd.pid
LogLevel ERROR
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Fleet:
    """`size` hosts; `hosts` their addresses in 127.0.0.0/8, `home` the folder with keys and inventory."""

    home: Path
    port: int
    hosts: tuple[str, ...]

    @property
    def key(self) -> Path:
        """The private key that logs in."""
        return self.home / "client"

    @property
    def ssh_options(self) -> list[str]:
        """OpenSSH's options that reach every host with its key checked."""
        known = f"UserKnownHostsFile={self.home}/known_hosts"
        settings = (known, "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes", "BatchMode=yes")
        options = [word for setting in (*settings, "IdentitiesOnly=yes") for word in ("-o", setting)]
        return ["-F", "none", "-i", str(self.key), "-p", str(self.port), *options]

    def inventory(self, size: int) -> Path:
        """An inventory of the first `size` hosts."""
        path = self.home / f"hosts-{size}.yml"
        common = f"-F none -o UserKnownHostsFile={self.home}/known_hosts -o GlobalKnownHostsFile=/dev/null"
        lines = ["all:", "  vars:", f"    ansible_port: {self.port}", f"    ansible_user: {USER}"]
        lines += [f"    ansible_ssh_private_key_file: {self.key}", f'    ansible_ssh_common_args: "{common}"']
        lines += ["    ansible_python_interpreter: /usr/bin/python3", "  hosts:"]
        lines += [f"    {host}: {{}}" for host in self.hosts[:size]]
        path.write_text("\n".join(lines) + "\n")
        return path


@contextlib.contextmanager
def fleet(size: int) -> Iterator[Fleet]:
    """`size` hosts until the block ends; then the sshd, its user and its files are gone."""
    home = Path(tempfile.mkdtemp(prefix="remediator-bench-"))
    made_run = not Path("/run/sshd").exists()
    account = ["-p", "*", "-o", "-u", "0", "-g", "0", "-M", "-d", str(home / "empty"), "-s", "/bin/sh"]
    subprocess.run(["useradd", *account, USER], check=True)
    server = None
    try:
        (home / "empty").mkdir()
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        port = _free_port()
        for name in ("host_key", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)], check=True)
        hosts = tuple(f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(size))
        public = (home / "host_key.pub").read_text().split()[:2]
        (home / "known_hosts").write_text("".join(f"[{host}]:{port} {' '.join(public)}\n" for host in hosts))
        (home / "sshd_config").write_text(_SSHD.format(port=port, home=home))
        server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(home / "sshd_config")])
        _await(port)
        yield Fleet(home, port, hosts)
    finally:
        if server is not None:
            server.terminate()
            server.wait(timeout=20)
        subprocess.run(["userdel", "-f", USER], check=False, capture_output=True)
        if made_run:
            with contextlib.suppress(OSError):
                os.rmdir("/run/sshd")
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"bench: the sshd on port {port} did not start within 5 s; is openssh-server installed?")
