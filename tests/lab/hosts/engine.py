"""The lab's own Docker engine: beside, and never in the way of, one that the machine has already.

It has its own containerd, socket, data, networks and cgroup, changes no firewall rule that it did not add, and is
shared by every process of this user: the last one to leave stops it, unless containers were left running on purpose.
"""

import fcntl
import hashlib
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import cache
from .interface import LabError
from .isolation import end_orphans, in_all_hierarchies, remove_cgroup
from .recipe import Recipe
from .rootfs import rootfs

OWNER_LABEL = "remediator.lab.owner"
"""Says who removes a host: a process (owner()), or a name for hosts that are left running until somebody asks."""

_RUNTIME = Path("/run/remediator-lab")
_ADDRESSES = "base=10.213.0.0/16,size=24"
# Every systemd takes a few: with the kernel's 128 the fifteenth host ends at once, without a word. The machine's own
# value is kept beside the sockets, and put back when the engine stops.
_INOTIFY, _INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances"), 8192
_START_SECONDS, _STOP_SECONDS = 60, 60

# The machine's containerd, if it has one, is not ours to use.
_CONTAINERD = """\
version = 2
root = "{data}/containerd"
state = "{runtime}/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{runtime}/containerd.sock"
[ttrpc]
  address = "{runtime}/containerd.sock.ttrpc"
"""


@dataclass(frozen=True)
class Engine:
    """A running engine; get one from engine()."""

    data: Path
    """Images and containers: kept between runs."""
    runtime: Path
    """Sockets, pid files and logs: gone when the engine has stopped."""

    @property
    def socket(self) -> Path:
        """The API's socket."""
        return self.runtime / "docker.sock"

    @property
    def network(self) -> str:
        """The network that hosts are on, and the machine too; its bridge has the same name."""
        return f"rl{self.tag}"

    @property
    def inner_network(self) -> str:
        """A network on which the machine has no address: only a host that is on both reaches it from `network`."""
        return f"ri{self.tag}"

    @property
    def tag(self) -> str:
        """Tells the networks and cgroups of one engine from those of another (interface names are short)."""
        return hashlib.sha256(str(self.data).encode()).hexdigest()[:8]

    @property
    def cgroup(self) -> str:
        """The cgroup, in every hierarchy, below which hosts are."""
        return f"remediator-lab-{self.tag}"

    def docker(
        self, *arguments: str, check: bool = True, input: bytes | IO[bytes] = b"", timeout: float = 300
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run the docker client against this engine; raises LabError where `check` is set and it fails."""
        environment = {"PATH": os.environ["PATH"], "DOCKER_CONFIG": str(self.runtime / "client")}
        command = ["docker", "--host", f"unix://{self.socket}", *arguments]
        stdin, content = (subprocess.PIPE, input) if isinstance(input, bytes) else (input, None)
        with subprocess.Popen(
            command, env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                output, errors = process.communicate(content, timeout)
            except BaseException:
                process.kill()
                raise
        if check and process.returncode != 0:
            raise LabError(f"docker {' '.join(arguments)}: {errors.decode(errors='backslashreplace').strip()}")
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def answers(self) -> bool:
        """Whether it runs."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(str(self.socket))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(64)
        except OSError:
            return False

    def text(self, *arguments: str) -> str:
        """What the docker client prints."""
        return self.docker(*arguments).stdout.decode().strip()

    def image(self, wanted: Recipe) -> str:
        """The name of the image of this recipe, imported first where it is not there. Raises LabError."""
        repository = f"remediator-lab/{wanted.name}"
        name = f"{repository}:{wanted.digest[:16]}"
        archive = rootfs(wanted)
        with _exclusively(self.data / "images.lock"):
            if self.docker("image", "inspect", name, check=False).returncode != 0:
                with archive.open("rb") as content:
                    self.docker("import", "-", name, input=content)
                for old in self.text("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository).splitlines():
                    if old != name:  # refused while a container uses it
                        self.docker("image", "rm", old, check=False)
        return name

    def remove(self, container: str) -> None:
        """Kill and remove a host, with its volumes; nothing where it is gone already."""
        self.docker("rm", "--force", "--volumes", container, check=False)

    def remove_owned_by(self, owner: str) -> None:
        """Remove every host of that owner."""
        for container in self.text("ps", "-aq", "--filter", f"label={OWNER_LABEL}={owner}").split():
            self.remove(container)


@contextmanager
def engine(data: Path | None = None) -> Iterator[Engine]:
    """The lab's engine, started where it does not run; `data` is where it keeps its images (by default, the cache).

    On the way out, the last process to leave stops it, unless a container still runs. Needs root. Raises LabError.
    """
    if os.geteuid() != 0:
        raise LabError("the lab's hosts are containers with systemd: run this as root")
    data = (data or cache.cache_root() / "engine").resolve()
    runtime = _RUNTIME / hashlib.sha256(str(data).encode()).hexdigest()[:12]
    for directory in (data, _RUNTIME, runtime):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    this = Engine(data, runtime)
    with (data / "users.lock").open("a") as users:
        with _exclusively(data / "switch.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            _start(this)
        try:
            yield this
        finally:
            with _exclusively(data / "switch.lock"):
                _leave(this, users)


def owner() -> str:
    """This process's name as an owner of hosts: what is left of it is removed once it is gone."""
    return f"{os.getpid()}.{_birth(os.getpid())}"


def _birth(pid: int) -> str:
    """When a process was started, in the kernel's ticks; tells it from a later one with the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "gone"
    return "gone" if fields[0] in "ZX" else fields[19]


def _start(this: Engine) -> None:
    if _running(this.runtime / "dockerd.lab-pid"):
        _await_answer(this)
    else:
        _stop(this)  # what a crash may have left
        try:
            _start_processes(this)
        except BaseException:
            _stop(this)
            raise
    _raise_inotify_limit(this)
    for line in this.text("ps", "-a", "--format", f'{{{{.ID}}}} {{{{.Label "{OWNER_LABEL}"}}}}').splitlines():
        container, _, name = line.partition(" ")
        pid, _, born = name.partition(".")
        if pid.isdigit() and _birth(int(pid)) != born:
            this.remove(container)


def _raise_inotify_limit(this: Engine) -> None:
    found = int(_INOTIFY.read_text())
    if found < _INOTIFY_INSTANCES:
        (this.runtime / "inotify").write_text(str(found))
        _INOTIFY.write_text(str(_INOTIFY_INSTANCES))


def _restore_inotify_limit(this: Engine) -> None:
    with suppress(FileNotFoundError):
        _INOTIFY.write_text((this.runtime / "inotify").read_text())


def _start_processes(this: Engine) -> None:
    for name in ("client", "cgroups"):
        (this.runtime / name).mkdir(mode=0o700, parents=True)
    _spawn(this, "containerd", _containerd_command(this), this.runtime / "containerd.sock")
    _spawn(this, "dockerd", _dockerd_command(this), this.socket)
    _await_answer(this)
    _make_networks(this)


def _leave(this: Engine, users: IO[str]) -> None:
    fcntl.flock(users, fcntl.LOCK_UN)
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # others still use it
    if not this.answers() or not this.text("ps", "-q"):
        _stop(this)


def _containerd_command(this: Engine) -> list[str]:
    configuration = this.runtime / "containerd.toml"
    configuration.write_text(_CONTAINERD.format(data=this.data, runtime=this.runtime))
    command = ("containerd", "--config", str(configuration), "--log-level", "warn")
    return in_all_hierarchies(this.runtime / "cgroups", *command)


def _dockerd_command(this: Engine) -> list[str]:
    configuration = this.runtime / "daemon.json"
    configuration.write_text("{}")  # not the one in /etc/docker
    return [
        *_beside(this, "containerd"),
        *("dockerd", "--config-file", str(configuration), "--host", f"unix://{this.socket}", "--log-level", "warn"),
        *("--data-root", str(this.data / "docker"), "--exec-root", str(this.runtime / "docker")),
        *("--pidfile", str(this.runtime / "docker.pid"), "--containerd", str(this.runtime / "containerd.sock")),
        *("--bridge", "none", "--default-address-pool", _ADDRESSES, "--userland-proxy=false"),
        *("--iptables=false", "--ip-forward=false", "--ip-masq=false"),
        *("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{this.cgroup}"),
    ]


def _beside(this: Engine, name: str) -> list[str]:
    """How to run something in the mount namespace of the process that was started under that name."""
    pid = (this.runtime / f"{name}.lab-pid").read_text().partition(".")[0]
    return ["nsenter", "--target", pid, "--mount", "--"]


def _spawn(this: Engine, name: str, command: Sequence[str], ready: Path) -> None:
    if shutil.which(name) is None:
        raise LabError(f"{name} is missing on this machine: apt-get install docker.io")
    with (this.runtime / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    (this.runtime / f"{name}.lab-pid").write_text(f"{process.pid}.{_birth(process.pid)}")
    deadline = time.monotonic() + _START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"{name} did not start:\n{_log_tail(this, name)}")
        time.sleep(0.05)


def _await_answer(this: Engine) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not this.answers():
        if time.monotonic() > deadline:
            raise LabError(f"dockerd does not answer:\n{_log_tail(this, 'dockerd')}")
        time.sleep(0.05)


def _log_tail(this: Engine, name: str) -> str:
    return (this.runtime / f"{name}.log").read_text(errors="backslashreplace")[-3000:]


def _make_networks(this: Engine) -> None:
    known = this.text("network", "ls", "--format", "{{.Name}}").split()
    bridge = "com.docker.network.bridge"
    for name, options in ((this.network, []), (this.inner_network, ["-o", f"{bridge}.inhibit_ipv4=true"])):
        if name not in known:
            this.docker("network", "create", "-o", f"{bridge}.name={name}", *options, name)
    # Where the machine's own Docker or firewall drops what is forwarded, hosts could not reach each other.
    forward = subprocess.run(["iptables", "-w", "-S", "FORWARD"], capture_output=True, check=False).stdout.decode()
    if "-P FORWARD ACCEPT" not in forward:
        for rule in _forward_rules(this):
            subprocess.run(["iptables", "-w", "-I", "FORWARD", *rule], capture_output=True, check=False)


def _forward_rules(this: Engine) -> list[list[str]]:
    return [["-i", name, "-o", name, "-j", "ACCEPT"] for name in (this.network, this.inner_network)]


def _stop(this: Engine) -> None:
    """Stop what runs of this engine and remove what it left outside its data; idempotent."""
    if this.answers():
        for name in (this.network, this.inner_network):
            this.docker("network", "rm", name, check=False)
    _terminate(this.runtime / "dockerd.lab-pid")
    _terminate(this.runtime / "containerd.lab-pid")
    end_orphans(this.runtime / "containerd.sock", this.cgroup)
    (this.runtime / "cgroups").mkdir(exist_ok=True)
    remove_cgroup(this.runtime / "cgroups", this.cgroup)
    for rule in _forward_rules(this):
        subprocess.run(["iptables", "-w", "-D", "FORWARD", *rule], capture_output=True, check=False)
    for name in (this.network, this.inner_network):  # where the engine died before it could
        subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)
    _restore_inotify_limit(this)
    shutil.rmtree(this.runtime, ignore_errors=True)
    with suppress(OSError):  # in use by another engine
        _RUNTIME.rmdir()


def _running(pid_file: Path) -> bool:
    with suppress(FileNotFoundError):
        pid, _, born = pid_file.read_text().partition(".")
        return _birth(int(pid)) == born
    return False


def _terminate(pid_file: Path) -> None:
    """End the process that we started, if it still is that one: SIGTERM, and SIGKILL where that does not do."""
    with suppress(FileNotFoundError, ProcessLookupError):
        pid, _, born = pid_file.read_text().partition(".")
        handle = os.pidfd_open(int(pid))
        try:
            if _birth(int(pid)) != born:
                return
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(handle, number)
                if _ended(handle, int(pid)):
                    return
        finally:
            os.close(handle)


def _ended(handle: int, pid: int) -> bool:
    """Wait for a process's end, and reap it where it is our own child."""
    ready, _, _ = select.select([handle], [], [], _STOP_SECONDS)
    if ready:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return bool(ready)


@contextmanager
def _exclusively(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
