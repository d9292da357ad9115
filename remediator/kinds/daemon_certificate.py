"""daemon_certificate: whether the certificate that the Docker daemon serves is one that its clients can trust."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from remediator.kinds.interface import Decision, Kind, Parameters, Scope
from remediator.kinds.tls_daemon import IN_PERSON, Daemon, daemon_needs, look, stage
from remediator.kinds.tls_files import WAITS_FOR, TlsParameters, close_authority, is_due, own_directory_needs
from remediator.overlay import Overlay
from remediator.request import Needs
from remediator.text import one_line

_SHOWN_AUTHORITIES = 5


class DaemonCertificate(Kind):
    """Decides what no benchmark looks at: lifetime, chain, names, key, who may swap the CA, what is still served."""

    name = "daemon_certificate"
    parameters = TlsParameters

    def needs(self, parameters: Parameters) -> Needs:
        """The daemon's configuration, its TLS files, its listeners and its containers."""
        return daemon_needs()

    def host_needs(self, parameters: Parameters, variables: Mapping[str, object]) -> Needs:
        """The directory for certificates that the host's variables name."""
        return own_directory_needs(parameters, variables)

    def decide(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision:
        """Drifted, with the renewal or the restart staged, where the files or the process are not as they should be."""
        assert isinstance(parameters, TlsParameters)  # noqa: S101 - narrows for mypy: the catalogue made it
        daemon = look(parameters, scope)
        if isinstance(daemon, Decision):
            return daemon
        if not daemon.configuration.tls:
            return Decision("not_applicable", "the daemon has no TLS")
        if not daemon.configuration.tcp and not scope.seen.docker_listeners:
            return Decision("not_applicable", "the daemon serves no TCP address, so nobody is shown its certificate")
        present = daemon.present
        old = [*_old_certificate(daemon, scope), *_old_authorities(daemon, scope)]
        due = is_due(present, daemon.offered)
        faults = [*present.wrong, *present.ending, *present.loose, *old]
        if due and not present.wrong:
            faults.append(_renewal(daemon))
        if not faults:
            return Decision("unknown", "; ".join(present.unknown)) if present.unknown else _right(daemon)
        reason = "; ".join([*faults, *present.unknown])
        if (present.wrong or present.ending) and not due:
            said = f"; {daemon.offered.why_not}" if daemon.offered.why_not else ""
            return Decision("drifted", reason + said, waits_for=daemon.offered.waits_for or WAITS_FOR)
        return _staged(control, daemon, reason, bool(due or old), scope, overlay)


def _staged(control: str, daemon: Daemon, reason: str, restart: bool, scope: Scope, overlay: Overlay) -> Decision:
    """The drifted decision, with everything staged or, where one part is in the way, nothing."""
    trial = overlay.copy()
    for each in (trial, overlay):
        obstacle = close_authority(control, daemon.paths.authority, scope, each) if daemon.present.loose else ""
        if obstacle:
            return Decision("drifted", f"{reason}; {obstacle}", waits_for=IN_PERSON)
        hindrance = stage(control, daemon, scope, each, reason, tell=False) if restart else None
        if hindrance is not None:
            said = f"{reason}; {hindrance.reason}" if hindrance.reason else reason
            return Decision("drifted", said, waits_for=hindrance.waits_for or IN_PERSON)
    return Decision("drifted", reason)


def _old_certificate(daemon: Daemon, scope: Scope) -> list[str]:
    """Where the running process still serves another certificate than the one in its file."""
    if not daemon.present.fingerprint:
        return []
    file = one_line(daemon.paths.certificate, 300)
    listeners = scope.seen.docker_listeners or ()
    served = {one.port: hashlib.sha256(one.certificate).hexdigest() for one in listeners if one.certificate}
    return [
        f"port {port} still serves another certificate (sha256 {found}) than the one in {file}"
        for port, found in served.items()
        if found != daemon.present.fingerprint
    ]


def _old_authorities(daemon: Daemon, scope: Scope) -> list[str]:
    """Where the running process still takes clients of a CA that was taken out of its file."""
    if not daemon.present.authorities:
        return []
    from remediator.tls.authority_names import in_words, not_among

    file = one_line(daemon.paths.authority, 300)
    gone = {
        one.port: not_among(one.authorities, daemon.present.authorities)
        for one in scope.seen.docker_listeners or ()
        if one.authorities
    }
    return [
        f"port {port} still lets in clients of the CA {in_words(name)}, which {file} no longer holds"
        for port, names in gone.items()
        for name in names[:_SHOWN_AUTHORITIES]
    ]


def _renewal(daemon: Daemon) -> str:
    """Why what the controller holds goes before a certificate that nothing is wrong with."""
    from remediator.tls.certificates import moment, read_chain

    material = daemon.offered.material
    assert material is not None  # noqa: S101 - narrows for mypy: what is due has material
    if set(read_chain(material.authority)) != set(daemon.present.authorities):
        return f"{one_line(daemon.paths.authority, 300)} is another CA than the one that the controller holds"
    if material.source == "controller":
        return f"{one_line(daemon.paths.certificate, 300)} is another certificate than the one in docker_tls_cert_file"
    return f"the controller holds a certificate that ends later, on {moment(material.expires)}"


def _right(daemon: Daemon) -> Decision:
    from remediator.tls.certificates import moment

    end = moment(daemon.present.chain[0].not_valid_after_utc)
    return Decision("compliant", f"the certificate, its key and its CA fit each other; it ends on {end}")
