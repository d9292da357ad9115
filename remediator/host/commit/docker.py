"""The Docker daemon's own answers, over its socket, with GET only."""

import json
import socket
import time
from typing import Dict, Sequence, Set

from remediator.host.commit.outcomes import StepError, plain_line
from remediator.host.commit.units import unit_state

DOCKER_SOCKET = "/run/docker.sock"
DOCKER_UNIT = "docker.service"
MAX_DOCKER_ANSWER = 32 * 1024 * 1024
DOCKER_SECONDS = 10.0


def docker_get(path: str, address: str) -> bytes:
    """The body of a GET. Raises StepError where the daemon does not answer with 200.

    It connects only while docker.service is active: systemd would start a stopped daemon for a connection.
    """
    if not unit_state(DOCKER_UNIT).startswith("active "):
        raise StepError("docker.service is not active")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(DOCKER_SECONDS)
    answer = bytearray()
    end = time.monotonic() + DOCKER_SECONDS
    try:
        connection.connect(address.encode("utf-8", "surrogateescape"))
        # HTTP/1.0: the answer comes in one piece and ends with the connection.
        connection.sendall(("GET %s HTTP/1.0\r\nHost: docker\r\n\r\n" % path).encode("ascii"))
        while len(answer) < MAX_DOCKER_ANSWER and time.monotonic() < end:
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
    except OSError as error:
        raise StepError("the Docker daemon does not answer: " + plain_line(str(error), 200))
    finally:
        connection.close()
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] != [b"200"]:
        raise StepError(
            "the Docker daemon answers " + plain_line(head.split(b"\r\n")[0].decode("utf-8", "replace"), 100)
        )
    return body


def docker_ping(address: str) -> None:
    """Raises StepError unless the daemon answers."""
    docker_get("/_ping", address)


def running_containers(address: str) -> Set[str]:
    """Names of the containers that run. Raises StepError."""
    try:
        listed = json.loads(docker_get("/containers/json", address).decode("utf-8", "replace"))
        return {name.lstrip("/") for container in listed for name in names_of(container)}
    except (ValueError, TypeError, AttributeError):
        raise StepError("the Docker daemon's list of containers cannot be read")


def names_of(container: Dict[str, Sequence[str]]) -> Sequence[str]:
    """A listed container's names, unless it only keeps being restarted."""
    return () if container.get("State") == "restarting" else container["Names"]
