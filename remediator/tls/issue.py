"""`remediate tls issue`: hosts make keys, and the private CA signs their requests. Nothing is activated on a host.

A key never leaves its host. What comes back is the signing request, and of that only the key counts: the names in a
certificate are the inventory's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from remediator.access import Access
from remediator.errors import HostError, RemediatorError
from remediator.exit_codes import ExitCode, first_that_applies
from remediator.fleet import observe_fleet
from remediator.inventory import Host, Inventory
from remediator.observation import Observation, parse_observation
from remediator.request import Needs, compile_request
from remediator.restart_holds import recover_first
from remediator.text import one_line
from remediator.tls.authority import Authority
from remediator.tls.certificates import faults, fingerprint, names_of, public_sha256, read_chain
from remediator.tls.clients import ensure_controller
from remediator.tls.listing import held_names
from remediator.tls.names import Names, host_names, inventory_names, require_unique
from remediator.tls.store import Store
from remediator.views.interface import View

KEY = "/var/lib/remediator/tls/key.pem"
REQUEST = "/var/lib/remediator/tls/request.pem"
CONFIGURED_KEY = "@docker.tlskey"
NEEDS = Needs.of([KEY, CONFIGURED_KEY], "docker_tls", contents=[REQUEST])

_OWN_CERTIFICATES = ("docker_tls_ca_file", "docker_tls_cert_file", "docker_tls_key_file")


@dataclass(frozen=True)
class IssuedHost:
    """How one host ended, and the certificate that the controller now holds for it.

    `reason` says why it was issued, renewed, skipped or failed, harmless to show; `kind` is that of the failure.
    """

    host: str
    result: Literal["issued", "renewed", "valid", "skipped", "failed"]
    reason: str = ""
    kind: str = ""
    names: tuple[str, ...] = ()
    expires: datetime | None = None
    fingerprint: str = ""


@dataclass(frozen=True)
class Desk:
    """What one call issues with: the CA, open, where certificates are kept, the time, and whether all are renewed."""

    authority: Authority
    store: Store
    now: datetime
    renew: bool = False

    def held(self, host: str) -> bytes | None:
        """The certificate (PEM) that is held for `host`. Raises UsageError."""
        return self.store.read(self.store.host_certificate(host))

    def faults(self, pem: bytes, names: Names) -> tuple[str, ...]:
        """Why a host's certificate is no longer good enough to be kept."""
        authority = self.authority.certificate.public_bytes(Encoding.PEM)
        return faults(pem, authority, names.all, self.now, "server")


def issue_certificates(
    inventory: Inventory, access: Access, desk: Desk, view: View, run: str, who: str
) -> tuple[IssuedHost, ...]:
    """Give every host that runs Docker a certificate that is good for 30 days and more, and the controller its own.

    The results are in inventory order; what fails on one host is that host's result. `run` is the ULID that the hosts'
    journals get, `who` the person. Raises UsageError when nothing can be issued at all.
    """
    ensure_controller(desk.authority, desk.store, desk.now)
    names, results = _names(inventory.hosts, desk)
    due: dict[str, str] = {}
    asked = tuple(host for host in inventory.hosts if host.name in names)
    if asked:
        with view.sweeping(len(asked)) as seen:
            for host, answer in observe_fleet(replace(inventory, hosts=asked), NEEDS, access):
                found = _settled(host.name, names[host.name], answer, desk)
                if isinstance(found, str) and (refusal := _interrupted(host.name, answer)):
                    found = _failed(host.name, refusal)
                if isinstance(found, IssuedHost):
                    results[host.name] = found
                else:
                    due[host.name] = found
                seen(host.name)
    if due:
        for name, answered in _keys_made(inventory, list(due), access, view, run, who).items():
            results[name] = _issued(name, names[name], answered, due[name], desk)
    return tuple(results[host.name] for host in inventory.hosts)


def exit_code(hosts: Iterable[IssuedHost]) -> ExitCode:
    """What the call ends with."""
    kinds = [host.kind for host in hosts if host.result == "failed"]
    return first_that_applies(ExitCode.LOCKED if kind == "locked" else ExitCode.FAILED for kind in kinds)


def _names(hosts: Iterable[Host], desk: Desk) -> tuple[dict[str, Names], dict[str, IssuedHost]]:
    """The names of each host that may get a certificate, and the result of each that gets none.

    A host that gets none has its name and address all the same: nobody else is certified for them.
    """
    names: dict[str, Names] = {}
    results: dict[str, IssuedHost] = {}
    claimed: dict[str, Names] = {}
    for host in hosts:
        claimed[host.name] = inventory_names(host.name, host.connection.address)
        own = next((name for name in _OWN_CERTIFICATES if host.variables.get(name)), None)
        if own is not None:
            results[host.name] = IssuedHost(host.name, "skipped", f"it has certificates of your own ({own})")
            continue
        try:
            names[host.name] = host_names(host.name, host.connection.address, host.variables)
        except RemediatorError as error:
            results[host.name] = _failed(host.name, error)
    held = {**{name: claimed[name] for name in results}, **held_names(desk.store, desk.now)}
    for name, refusal in require_unique(names, held).items():
        results[name] = _failed(name, refusal)
        del names[name]
    return names, results


def _settled(host: str, names: Names, seen: Observation | HostError, desk: Desk) -> IssuedHost | str:
    """The result of a host that needs no new certificate or can get none; else why it needs one."""
    if isinstance(seen, HostError):
        return _failed(host, seen)
    docker = seen.systems.get("docker")
    if docker is None:
        return _failed(host, HostError(host, "answer", f"{host}: it did not answer whether it runs Docker."))
    if not docker.present:
        return IssuedHost(host, "skipped", docker.reason)
    if seen.host.uid != 0:
        message = (
            f"{host}: making a key there needs root, and this host was reached without. Give -b (--become), or set "
            "ansible_become for it."
        )
        return _failed(host, HostError(host, "become", message))
    try:
        pem = desk.held(host)
    except RemediatorError as error:
        return _failed(host, error)
    if pem is None:
        return "none was issued yet"
    why = desk.faults(pem, names)
    if why:
        return f"the certificate {why[0]}"
    certificate = read_chain(pem)[0]
    if set(names_of(certificate).all) != set(names.all):
        return f"the certificate bears names that are the host's no longer ({_shown(names_of(certificate))})"
    if public_sha256(certificate) not in _keys_there(seen):
        return "its key is no longer on the host"
    if desk.renew:
        return "it was asked for"
    return _described(host, "valid", "", certificate)


def _interrupted(host: str, seen: Observation | HostError) -> HostError | None:
    """Why no key is made there: that would roll back in passing what was interrupted, and restart something."""
    if isinstance(seen, HostError) or seen.state is None or not seen.state.restarts:
        return None
    return HostError(host, "open", f"{host}: no key is made there before {recover_first(host, seen.state.restarts)}.")


def _keys_there(seen: Observation) -> set[str | None]:
    """The public digests of the keys that wait on the host or that its daemon is set up with."""
    reference = seen.references.get(CONFIGURED_KEY)
    paths = [KEY, *(each.path for each in (reference.paths if reference is not None else ()))]
    return {seen.files[path].public_sha256 for path in paths if path in seen.files}


def _keys_made(
    inventory: Inventory, names: list[str], access: Access, view: View, run: str, who: str
) -> Mapping[str, bytes | HostError]:
    from remediator.ansible import make_keys

    with view.applying(names) as on_event:
        return make_keys(
            inventory,
            names,
            access,
            compile_request(NEEDS),
            run,
            who,
            lambda name: on_event(name, "was asked for a key"),
        )


def _issued(host: str, names: Names, answer: bytes | HostError, why: str, desk: Desk) -> IssuedHost:
    """Sign the request that the host made, and keep the certificate."""
    try:
        if isinstance(answer, HostError):
            raise answer
        seen = parse_observation(host, answer)
        result: Literal["issued", "renewed"] = "issued" if desk.held(host) is None else "renewed"
        pem = desk.authority.sign_host(_request(host, seen), host, names, desk.now)
        certificate = read_chain(pem)[0]
        key = seen.files.get(KEY)
        if key is None or key.public_sha256 != public_sha256(certificate):
            found = key.key_problem or "another" if key is not None else "none"
            message = f"{host}: its signing request is not one of the key in {KEY} ({found}). Run this again."
            raise HostError(host, "request", message)
        desk.store.save_host(host, pem)
    except RemediatorError as error:
        return _failed(host, error)
    return _described(host, result, why, certificate)


def _request(host: str, seen: Observation) -> bytes:
    """The signing request that was seen on the host. Raises HostError."""
    facts = seen.files.get(REQUEST)
    if facts is None or facts.content is None:
        why = facts.error or facts.type if facts is not None else "missing"
        raise HostError(host, "request", f"{host}: {REQUEST} could not be read back ({why}). Run this again.")
    return facts.content


def _described(
    host: str, result: Literal["issued", "renewed", "valid"], reason: str, certificate: x509.Certificate
) -> IssuedHost:
    names = names_of(certificate).all
    until = certificate.not_valid_after_utc
    return IssuedHost(host, result, reason, "", names, until, fingerprint(certificate))


def _failed(host: str, error: RemediatorError) -> IssuedHost:
    kind = error.kind if isinstance(error, HostError) else "usage"
    return IssuedHost(host, "failed", one_line(str(error).removeprefix(f"{host}: "), 1000), kind)


def _shown(names: Names) -> str:
    return one_line(", ".join(names.all), 400) or "none"
