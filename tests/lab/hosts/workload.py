"""What runs on a Docker host of the lab: two containers that a restart of its daemon treats differently."""

from .interface import LabHost

IMAGE = "lab/busybox:1"

# One layer with Debian's static busybox, made on the host itself; nothing is fetched from anywhere.
_START = f"""
root=$(mktemp -d)
mkdir -p "$root/bin" "$root/etc" "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
for name in sh sleep cat ls httpd id; do ln -s busybox "$root/bin/$name"; done
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
tar -C "$root" -c . | docker import - {IMAGE} >/dev/null
rm -rf "$root"
"""

# A program that runs as PID 1 without a handler would make every stop wait for Docker's ten seconds.
_RUN = "docker run --detach --stop-signal SIGKILL"


def start_workload(host: LabHost) -> None:
    """Start `web` (restart policy unless-stopped) and `job` (none) on a Docker host, as root; idempotent."""
    web = f"{_RUN} --name web --restart unless-stopped {IMAGE} httpd -f -p 80"
    job = f"{_RUN} --name job {IMAGE} sleep 1000000000"
    host.script(
        f"docker image inspect {IMAGE} >/dev/null 2>&1 || {{ {_START} }}\n"
        f"docker inspect web >/dev/null 2>&1 || {web} >/dev/null\n"
        f"docker inspect job >/dev/null 2>&1 || {job} >/dev/null\n"
    )


def running_containers(host: LabHost) -> list[str]:
    """The names of the containers that run on a Docker host, sorted."""
    return sorted(host.text("docker", "ps", "--format", "{{.Names}}").split())
