"""The keys of one run: the pair that tests log in with, the hosts' own, and the file that pins them."""

import fcntl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .interface import LabError


@dataclass(frozen=True)
class HostKey:
    """One host's key: the text of `ssh_host_ed25519_key` and of its .pub."""

    private: str
    public: str


@dataclass(frozen=True)
class Keys:
    """A run's keys, in a directory of its own (0700); get them from make_keys()."""

    directory: Path

    @property
    def private(self) -> Path:
        """The private key that every user of every host accepts."""
        return self.directory / "id_ed25519"

    @property
    def public(self) -> str:
        """Its public half, as a line of authorized_keys."""
        return (self.directory / "id_ed25519.pub").read_text()

    @property
    def known_hosts(self) -> Path:
        """Pins the key of every host of this run that is there."""
        return self.directory / "known_hosts"

    def make_host_key(self, name: str) -> HostKey:
        """A new key for the host `name`."""
        place = self.directory / f"host-{name}"
        _keygen(place)
        public = place.with_suffix(".pub")
        key = HostKey(place.read_text(), public.read_text())
        place.unlink()
        public.unlink()
        return key

    def pin(self, name: str, address: str, port: int, public: str) -> None:
        """Let `known_hosts` know this host, by its name and its address."""
        where = address if port == 22 else f"[{address}]:{port}"
        kind, blob = public.split()[:2]
        self._rewrite(name, [f"{where},{name} {kind} {blob}"])

    def unpin(self, name: str) -> None:
        """Forget a host: its address may be another's next."""
        self._rewrite(name, [])

    def _rewrite(self, name: str, added: list[str]) -> None:
        with (self.directory / "known_hosts.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lines = self.known_hosts.read_text().splitlines()
            kept = [line for line in lines if not line.split()[0].endswith(f",{name}")]
            new = self.directory / "known_hosts.new"
            new.write_text("".join(f"{line}\n" for line in [*kept, *added]))
            new.rename(self.known_hosts)


def make_keys(directory: Path) -> Keys:
    """The keys in `directory`, made where it has none."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    keys = Keys(directory)
    if not keys.private.exists():
        _keygen(keys.private)
    keys.known_hosts.touch(mode=0o600)
    return keys


def _keygen(place: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "remediator-lab", "-f", str(place)]
    result = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        raise LabError(f"{place}: ssh-keygen failed: {result.stderr.decode(errors='backslashreplace').strip()}")
