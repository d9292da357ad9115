"""The kinds by name. Each is one file; `interface.py` says what a kind is."""

from __future__ import annotations

from remediator.kinds.audit_watch import AuditWatch
from remediator.kinds.content_trust import ContentTrust
from remediator.kinds.daemon_certificate import DaemonCertificate
from remediator.kinds.daemon_tls import DaemonTls
from remediator.kinds.docker_client import DockerClientSetup
from remediator.kinds.file_access import FileAccess
from remediator.kinds.interface import Kind
from remediator.kinds.process_current import ProcessCurrent
from remediator.kinds.socket_access import SocketAccess

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        AuditWatch(),
        ContentTrust(),
        DaemonCertificate(),
        DaemonTls(),
        DockerClientSetup(),
        FileAccess(),
        ProcessCurrent(),
        SocketAccess(),
    )
}
