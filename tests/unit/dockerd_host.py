"""A recorded Debian host whose daemon is configured as a test says; its files are masked as observe masks them."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from remediator.dockerd import DaemonConfiguration, Wanted, configure, read_configuration
from remediator.host.common.mask import mask_content
from remediator.kinds.interface import Scope
from remediator.observation import Observation, parse_observation
from remediator.overlay import Overlay
from remediator.surroundings import Surroundings

RECORDED = Path(__file__).parents[1] / "kinds" / "observations" / "debian12.json"
UNIT = "/lib/systemd/system/docker.service"
DROP_INS = "/etc/systemd/system/docker.service.d"
ENVIRONMENT = "/etc/default/docker"
CONFIG = "/etc/docker/daemon.json"
DEBIAN_COMMAND = "/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS"
TLS = Wanted(None, "/etc/docker/tls/ca.pem", "/etc/docker/tls/cert.pem", "/etc/docker/tls/key.pem")
CONTROL = "docker.tls.mutual"


@dataclass(frozen=True)
class DockerHost:
    """`unit` is the unit's command, or its whole text; `drop_ins` and `files` are texts by name and by path.

    `loaded` is what systemctl shows of ExecStart; without it, it shows nothing.
    """

    unit: str = DEBIAN_COMMAND
    drop_ins: dict[str, str] = field(default_factory=dict)
    environment: str | None = None
    config: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    pending: tuple[str, ...] = ()
    socket: str = "/run/docker.sock (Stream)"
    loaded: str = ""

    def seen(self) -> Observation:
        """The observation of this host."""
        document = json.loads(RECORDED.read_text())
        texts = {UNIT: self.unit_text, **{f"{DROP_INS}/{name}": text for name, text in self.drop_ins.items()}}
        texts |= {ENVIRONMENT: self.environment} if self.environment is not None else {}
        texts |= {CONFIG: self.config} if self.config is not None else {}
        files = {path: {"type": "missing", "resolved": path} for path in (ENVIRONMENT, CONFIG)}
        files |= {path: directory_facts(path) for path in ("/etc/docker", "/etc/systemd/system")}
        files[DROP_INS] = directory_facts(DROP_INS) if self.drop_ins else {"type": "missing", "resolved": DROP_INS}
        files |= {path: file_facts(path, text) for path, text in (texts | self.files).items()}
        for path, facts in self.facts.items():
            files[path] = {**files.get(path, {}), **facts}
        document["files"] = files
        service, socket = document["units"]["docker.service"], document["units"]["docker.socket"]
        service["drop_ins"] = [f"{DROP_INS}/{name}" for name in sorted(self.drop_ins)]
        service["properties"]["ExecStart"] = self.loaded
        socket["properties"]["Listen"] = self.socket
        for name in self.pending:
            document["units"].setdefault(name, {"load": "loaded"})["need_daemon_reload"] = True
        return parse_observation("host", json.dumps(document).encode())

    @property
    def unit_text(self) -> str:
        """The unit's own file."""
        if "\n" in self.unit and "[Service]" in self.unit:
            return self.unit
        head = f"[Unit]\nDescription=x\n\n[Service]\nEnvironmentFile=-{ENVIRONMENT}\n"
        return f"{head}ExecStart={self.unit}\nRestart=always\n"

    def overlay(self) -> Overlay:
        """An overlay over this host."""
        return Overlay(self.seen())


def directory_facts(path: str) -> dict[str, Any]:
    """A directory of root's."""
    return {"type": "directory", "mode": 0o755, "user": "root", "group": "root", "resolved": path}


def file_facts(path: str, text: str) -> dict[str, Any]:
    """A file of root's as observe answers it."""
    content, masked = mask_content(text.encode())
    return {
        "type": "file",
        "mode": 0o644,
        "user": "root",
        "group": "root",
        "resolved": path,
        "content": base64.b64encode(content).decode(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "masked": masked,
    }


def scope_of(overlay: Overlay) -> Scope:
    """What a kind may look at there."""
    return Scope(overlay.seen, Surroundings(datetime(2026, 7, 1, tzinfo=UTC)))


def known(overlay: Overlay) -> DaemonConfiguration:
    """The configuration, which must be known."""
    found = read_configuration(overlay)
    assert isinstance(found, DaemonConfiguration), found
    return found


def configured(overlay: Overlay, wanted: Wanted = TLS) -> str:
    """Stage `wanted` there; the obstacle."""
    return configure(CONTROL, scope_of(overlay), overlay, known(overlay), wanted)


def text_at(overlay: Overlay, path: str) -> str:
    """The text of a file with the edits so far."""
    content = overlay.content(path)
    assert content is not None, f"{path} is missing"
    return content.decode()
