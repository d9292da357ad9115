"""Lab hosts that are containers: systemd, sshd and (on Docker hosts) a Docker daemon of their own. Ready in seconds."""

import io
import json
import tarfile
import time
from dataclasses import dataclass

from .engine import OWNER_LABEL, Engine, owner
from .interface import LabError, LabHost
from .keys import HostKey, Keys
from .recipe import Recipe, recipe
from .workload import start_workload

OPSPW_PASSWORD = next(each.password for each in recipe("accounts").accounts if each.name == "opspw")
"""The password of the user `opspw`, for sudo and for logging in."""

AUTHORIZED_KEYS = "/etc/ssh/lab_authorized_keys"
"""Where recipes/files/sshd-lab.conf has every user's lab key."""

_READY_SECONDS = 120

# Docker mounts these read-only in a container that is not privileged. A nested Docker makes cgroups, below the host's
# own: its cgroup namespace shows the host that as the root, so hosts (and their kubelets) never meet. Docker 26 changes
# network settings for a container; what else is below /proc/sys is the machine's, and not a host's to change.
_INIT = (
    "/bin/sh",
    "-euc",
    "mount --bind /proc/sys/net /proc/sys/net\n"
    "for each in /proc/sys/net /sys/fs/cgroup /sys/fs/cgroup/*/; do\n"
    '  ! mountpoint -q "$each" || mount -o remount,bind,rw "$each"\n'
    "done\n"
    "exec /sbin/init",
)
_RUN = (
    *("--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt", "seccomp=unconfined"),
    *("--security-opt", "apparmor=unconfined", "--device-cgroup-rule=a *:* rwm", "--cgroupns=private"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp"),
    *("--stop-signal", "SIGRTMIN+3", "--env", "container=docker"),
)


@dataclass(frozen=True, kw_only=True)
class ContainerHost(LabHost):
    """A lab host that is a container of the lab's engine."""

    engine: Engine
    keys: Keys
    container: str
    """Its id."""

    def remove(self) -> None:
        """Kill it and remove everything it had; nothing where it is gone already."""
        self.engine.remove(self.container)
        self.keys.unpin(self.name)


def start_host(
    engine: Engine,
    keys: Keys,
    wanted: Recipe,
    name: str,
    *,
    volumes: tuple[str, ...] = ("/var/lib/docker",),
    jump: LabHost | None = None,
    keeper: str | None = None,
) -> ContainerHost:
    """Start a host of this recipe and wait until systemd has come up and root can log in.

    `volumes` are directories on a file system of their own (a nested Docker wants one); a host with a `jump` is on
    the inner network only. `keeper` names whom it is left running for; by default it is removed once
    this process is gone. Raises LabError, with the
    host's own words, where it does not come up.
    """
    host_key = keys.make_host_key(name)
    container = _create(
        engine, engine.image(wanted), name, volumes, engine.inner_network if jump else engine.network, keeper
    )
    try:
        engine.docker("cp", "-", f"{container}:/", input=_own_files(host_key, keys.public))
        engine.docker("start", container)
        address = _address(engine, container, engine.inner_network if jump else engine.network)
        keys.pin(name, address, 22, host_key.public)
        host = ContainerHost(
            name,
            address,
            22,
            "root",
            keys.private,
            keys.known_hosts,
            jump,
            engine=engine,
            keys=keys,
            container=container,
        )
        _await_boot(host)
    except BaseException:  # an interrupted start leaves no host behind either
        engine.remove(container)
        keys.unpin(name)
        raise
    return host


def start_docker_host(engine: Engine, keys: Keys, image: str, name: str, *, keeper: str | None = None) -> ContainerHost:
    """Start a host of recipes/IMAGE.toml whose Docker runs the containers `web` and `job`. Raises LabError."""
    host = start_host(engine, keys, recipe(image), name, keeper=keeper)
    try:
        if host.run("systemctl", "is-active", "--quiet", "docker.service", check=False).returncode != 0:
            raise LabError(f"{name}: its Docker did not start\n{_journal(host, '--unit', 'docker.service')}")
        start_workload(host)
    except BaseException:
        host.remove()
        raise
    return host


def start_jump_pair(
    engine: Engine, keys: Keys, image: str, name: str, *, keeper: str | None = None
) -> tuple[ContainerHost, ContainerHost]:
    """A jump host, and a Docker host of recipes/IMAGE.toml that the machine reaches through it only."""
    jump = start_host(engine, keys, recipe("minimal"), f"{name}-jump", volumes=(), keeper=keeper)
    try:
        engine.docker("network", "connect", engine.inner_network, jump.container)
        inner = start_host(engine, keys, recipe(image), f"{name}-inner", jump=jump, keeper=keeper)
        start_workload(inner)
    except BaseException:
        jump.remove()
        raise
    return jump, inner


def _create(engine: Engine, image: str, name: str, volumes: tuple[str, ...], network: str, keeper: str | None) -> str:
    mine = owner()
    arguments = [
        *("create", "--name", f"{name}-{keeper or mine}", "--hostname", name, "--network", network),
        *("--label", f"{OWNER_LABEL}={keeper or mine}", *_RUN),
    ]
    for volume in volumes:
        arguments += ["--volume", volume]
    return engine.text(*arguments, image, *_INIT)


def _own_files(host_key: HostKey, authorized: str) -> bytes:
    """What makes this host itself, as a tar archive: no image carries a private key."""
    files = {
        "etc/ssh/ssh_host_ed25519_key": (host_key.private, 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (host_key.public, 0o644),
        AUTHORIZED_KEYS.lstrip("/"): (authorized, 0o644),
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, (content, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), mode, int(time.time())
            tar.addfile(member, io.BytesIO(content.encode()))
    return archive.getvalue()


def _address(engine: Engine, container: str, network: str) -> str:
    networks = json.loads(engine.text("inspect", "--format", "{{json .NetworkSettings.Networks}}", container))
    address = networks[network]["IPAddress"]
    if not isinstance(address, str) or not address:
        _check_running(engine, container)
        raise LabError(f"container {container} has no address on {network}")
    return address


def _check_running(engine: Engine, container: str) -> None:
    state = json.loads(engine.text("inspect", "--format", "{{json .State}}", container))
    if not state["Running"]:
        said = engine.docker("logs", "--tail", "30", container, check=False)
        words = (said.stdout + said.stderr).decode(errors="backslashreplace")
        raise LabError(f"container {container} ended by itself with code {state['ExitCode']}\n{words}")


def _await_boot(host: ContainerHost) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while host.run("true", check=False, timeout=30).returncode != 0:
        _check_running(host.engine, host.container)
        if time.monotonic() > deadline:
            raise LabError(f"{host.name}: no log-in over SSH after {_READY_SECONDS} s\n{_journal(host)}")
        time.sleep(0.1)
    # Ends when the boot has; a unit that failed (auditd, without the kernel's audit) is degraded.
    state = (
        host.run("systemctl", "is-system-running", "--wait", check=False, timeout=_READY_SECONDS)
        .stdout.decode()
        .strip()
    )
    if state not in ("running", "degraded"):
        raise LabError(f"{host.name}: systemd is {state!r} after its start\n{_journal(host)}")


def _journal(host: ContainerHost, *arguments: str) -> str:
    command = ("journalctl", "--no-pager", "--lines", "60", *arguments)
    result = host.engine.docker("exec", host.container, *command, check=False)
    return (result.stdout + result.stderr).decode(errors="backslashreplace")
