"""Things on a Docker host that look like a daemon and are not the host's: whoever goes by names is fooled."""

import time

from .interface import LabError, LabHost
from .workload import IMAGE

NESTED_CONFIG = "/opt/decoy/nested/daemon.json"
"""The configuration, writable by all, of the real daemon that runs in the container `nested`."""

FALSE_DOCKERD = "/opt/decoy/dockerd"
"""The program of a process that is called dockerd, run by a user who is not root, with a configuration of its own."""

DATA_DIRECTORIES = ("/opt/decoy/etcd-process", "/opt/decoy/etcd-container")
"""Data directories, open to all, of a process and of a container that are called etcd."""

# Python ignores what follows its program: the command lines are the real ones, word for word.
_START = f"""
install -d -m 0777 /opt/decoy /opt/decoy/nested {" ".join(DATA_DIRECTORIES)}
cp "$(readlink -f "$(command -v python3)")" {FALSE_DOCKERD}
cp {FALSE_DOCKERD} /opt/decoy/etcd
printf '{{"icc": true}}' >/opt/decoy/daemon.json
printf '{{"storage-driver": "vfs", "bridge": "none", "iptables": false, "ip-forward": false}}' >{NESTED_CONFIG}
chmod 0666 /opt/decoy/daemon.json {NESTED_CONFIG}
printf '#!/bin/sh\\nwhile :; do sleep 3600; done\\n' >/opt/decoy/etcd.sh
chmod 0755 /opt/decoy/etcd.sh

systemd-run --quiet --unit=lab-decoy-dockerd --uid=plain --setenv=PYTHONHOME=/usr \\
    {FALSE_DOCKERD} -c 'import time; time.sleep(1e9)' --config-file=/opt/decoy/daemon.json --host=tcp://0.0.0.0:2375
systemd-run --quiet --unit=lab-decoy-etcd --setenv=PYTHONHOME=/usr \\
    /opt/decoy/etcd -c 'import time; time.sleep(1e9)' --data-dir=/opt/decoy/etcd-process
docker run --detach --stop-signal SIGKILL --name etcd --volume /opt/decoy/etcd.sh:/usr/bin/etcd:ro \\
    --volume /opt/decoy/etcd-container:/var/lib/etcd {IMAGE} /usr/bin/etcd --data-dir=/var/lib/etcd >/dev/null
docker run --detach --stop-signal SIGKILL --name nested --cap-add SYS_ADMIN --cap-add NET_ADMIN --network none \\
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined \\
    --volume /usr:/usr:ro --volume /usr/lib:/lib:ro --volume /usr/lib64:/lib64:ro --volume /etc/ssl:/etc/ssl:ro \\
    --volume {NESTED_CONFIG}:/etc/docker/daemon.json --volume /var/lib/docker --env PATH=/usr/sbin:/usr/bin:/bin \\
    {IMAGE} /usr/sbin/dockerd --host=unix:///tmp/docker.sock >/dev/null
"""

_NESTED_SECONDS = 60


def start_decoys(host: LabHost) -> None:
    """Start them all on a Docker host, as root, and wait until the nested daemon answers. Raises LabError."""
    host.script(_START)
    deadline = time.monotonic() + _NESTED_SECONDS
    ask = ("docker", "exec", "nested", "docker", "--host=unix:///tmp/docker.sock", "version")
    while host.run(*ask, check=False).returncode != 0:
        if time.monotonic() > deadline:
            log = host.run("docker", "logs", "--tail", "30", "nested", check=False)
            raise LabError(f"{host.name}: its nested daemon did not start\n{(log.stdout + log.stderr).decode()}")
        time.sleep(0.5)
