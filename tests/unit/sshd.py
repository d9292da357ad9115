"""A real OpenSSH server of the test's own: its own keys, port and files, on loopback, stopped by its process id."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from remediator.connection import Connection

KEY_TYPES = ("ed25519", "ecdsa", "rsa")


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A key pair at `path`, made unless it is there."""
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)], check=True)
    return path


def public(path: Path) -> str:
    """Type and base64 text of the public half of the key at `path`."""
    return " ".join(Path(f"{path}.pub").read_text().split()[:2])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


class Sshd:
    """The server. It answers on every address of 127/8, so that one server stands for many hosts."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.user = getpass.getuser()
        self.host_keys = {kind: make_key(directory / f"host_{kind}", kind) for kind in KEY_TYPES}
        self.key = make_key(directory / "id")
        self.authorized = directory / "authorized_keys"
        self.authorized.write_text(public(self.key) + "\n")
        self.known_hosts = directory / "known_hosts"
        self.log = directory / "log"
        program = shutil.which("sshd", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}")
        assert program is not None, "these tests need an OpenSSH server: apt-get install openssh-server"
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for _ in range(5):  # somebody else may take the free port before the server does
            self.port = _free_port()
            self._process = subprocess.Popen([program, "-D", "-f", str(self._config(options)), "-E", str(self.log)])
            if self._listens():
                break
        else:
            raise AssertionError(self.log.read_text())
        self.trust("127.0.0.1", "127.0.0.2", "127.0.0.3")

    def _config(self, options: tuple[str, ...]) -> Path:
        lines = [
            f"Port {self.port}",
            "ListenAddress 0.0.0.0",
            *(f"HostKey {path}" for path in self.host_keys.values()),
            f"AuthorizedKeysFile {self.authorized}",
            f"PidFile {self.directory / 'pid'}",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "MaxStartups 500",
            *options,
        ]
        config = self.directory / "sshd_config"
        config.write_text("\n".join(lines) + "\n")
        return config

    def _listens(self) -> bool:
        """Whether the server came up; false when it ended."""
        for _ in range(400):
            if self._process.poll() is not None:
                return False
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            time.sleep(0.05)
        return False

    def trust(self, *addresses: str, kind: str = "ed25519") -> None:
        """Have the known_hosts file list this server's key of one type for these addresses, and nothing else."""
        key = public(self.host_keys[kind])
        self.known_hosts.write_text("".join(f"[{address}]:{self.port} {key}\n" for address in addresses))

    def connection(self, address: str = "127.0.0.1", *arguments: str, **changed: Any) -> Connection:
        """A connection to this server as the inventory would say it."""
        given: dict[str, Any] = {
            "port": self.port,
            "user": self.user,
            "private_key": str(self.key),
            "ssh_more_arguments": ("-F", "none", "-o", f"UserKnownHostsFile={self.known_hosts}", *arguments),
            **changed,
        }
        return Connection("ssh", address, **given)

    def stop(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait(timeout=10)
