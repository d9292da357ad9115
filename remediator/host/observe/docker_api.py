"""What the daemon answers on its socket. GET only, and only while docker.service is active: connecting to a socket
that systemd holds for a stopped daemon would start it.
"""

import json
import time

from remediator.host.observe.daemon_answers import daemon_settings

MYPY = False
if MYPY:
    from typing import Any

MAX_BODY = 16777216
MAX_CONTAINERS = 1000
DOCKER_SECONDS = 10.0


class DaemonError(Exception):
    """The daemon did not answer as it should; str() says how."""


def ask_daemon(path: "str", resource: "str", deadline: "float") -> "Any":
    """The JSON that the daemon gives for GET `resource`. Raises DaemonError."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise DaemonError("the daemon took longer than %d seconds to answer" % DOCKER_SECONDS)
    # Not needed where no daemon runs, and not cheap.
    import socket

    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    pieces = []
    try:
        line.settimeout(left)
        line.connect(path.encode("utf-8", "surrogateescape"))
        # HTTP/1.0: the answer ends with the connection, in one piece.
        line.sendall(b"GET " + resource.encode("ascii") + b" HTTP/1.0\r\nHost: docker\r\n\r\n")
        size = 0
        while size <= MAX_BODY:
            line.settimeout(max(0.001, deadline - time.monotonic()))
            piece = line.recv(262144)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
    except OSError as error:
        raise DaemonError("the daemon does not answer on %s: %s" % (path, error.strerror or error))
    finally:
        line.close()
    return daemon_json(resource, b"".join(pieces))


def daemon_json(resource: "str", answer: "bytes") -> "Any":
    """The body of a whole HTTP answer. Raises DaemonError for anything but 200 with JSON."""
    head, found, body = answer.partition(b"\r\n\r\n")
    words = head.split(b"\r\n")[0].split()
    if not found or len(words) < 2 or not words[0].startswith(b"HTTP/1."):
        raise DaemonError("what listens on the daemon's socket does not speak HTTP")
    if words[1] != b"200":
        raise DaemonError("the daemon answered %s to GET %s" % (words[1].decode("ascii", "replace")[:20], resource))
    if len(answer) > MAX_BODY:
        raise DaemonError("the daemon's answer to GET %s is larger than %d bytes" % (resource, MAX_BODY))
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise DaemonError("the daemon's answer to GET %s is no JSON" % resource)


def docker_facts(path: "str", with_containers: "bool") -> "dict[str, Any]":
    """The daemon's own view of itself. Of containers only name, state and what brings them back are kept: their
    environment, command and arguments stay on the host. A daemon that answers of itself and then no more leaves that.
    """
    deadline = time.monotonic() + DOCKER_SECONDS
    facts: "dict[str, Any]" = {}
    try:
        info = ask_daemon(path, "/info", deadline)
        swarm = info.get("Swarm") or {}
        facts = {
            "data_root": info.get("DockerRootDir"),
            "server_version": info.get("ServerVersion"),
            "live_restore": bool(info.get("LiveRestoreEnabled")),
            "swarm": str(swarm.get("LocalNodeState") or "inactive"),
            "settings": daemon_settings(info),
            "containers": [],
        }
        if with_containers:
            listed = ask_daemon(path, "/containers/json?all=1", deadline)
            order = {"running": 0, "restarting": 1, "paused": 2}
            listed = sorted(listed, key=lambda item: order.get(str(item.get("State")), 3))
            facts["containers"] = [container_facts(path, item, deadline) for item in listed[:MAX_CONTAINERS]]
            if len(listed) > MAX_CONTAINERS:
                facts["error"] = "only %d of %d containers were looked at" % (MAX_CONTAINERS, len(listed))
        return facts
    except DaemonError as error:
        told = ("data_root", "server_version", "settings")
        return dict([(name, facts[name]) for name in told if name in facts], error=str(error))
    except (AttributeError, TypeError, KeyError):
        return {"error": "the daemon's answer has a shape that is not Docker's"}


def container_facts(path: "str", item: "dict[str, Any]", deadline: "float") -> "dict[str, Any]":
    """Name, state and restart policy of one container."""
    identity = str(item["Id"])
    if not identity.isalnum():
        raise DaemonError("the daemon lists a container whose id is not hexadecimal")
    names = [str(name).lstrip("/") for name in item.get("Names") or [] if str(name).count("/") == 1]
    facts: "dict[str, Any]" = {"id": identity, "name": (names or [identity[:12]])[0], "state": str(item.get("State"))}
    try:
        settings = ask_daemon(path, "/containers/%s/json" % identity, deadline).get("HostConfig") or {}
    except DaemonError as error:
        # It may just have been removed. Unknown is told as such: nobody may rely on its coming back.
        facts["restart_policy"] = "unknown"
        if time.monotonic() >= deadline:
            raise error
        return facts
    policy = settings.get("RestartPolicy") or {}
    facts["restart_policy"] = str(policy.get("Name") or "no")
    facts["auto_remove"] = bool(settings.get("AutoRemove"))
    return facts
