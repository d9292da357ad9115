"""What the private CA has issued: for whom, with which names, until when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from remediator.text import one_line
from remediator.tls.certificates import UnreadableError, fingerprint, names_of, public_sha256, read_chain
from remediator.tls.clients import CONTROLLER
from remediator.tls.names import Names
from remediator.tls.store import Store


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HeldCertificate(_Part):
    """One certificate that the controller holds. Where it cannot be read, `problem` says why and the rest is null."""

    name: str = Field(description="The host's name in the inventory, the client's name, or CA.")
    file: str
    names: tuple[str, ...] = Field((), description="The names and addresses that it bears; clients have none.")
    not_before: str | None = Field(None, description="UTC, ISO 8601.")
    not_after: str | None = Field(None, description="UTC, ISO 8601.")
    days_left: int | None = Field(None, description="Whole days; negative once it has expired.")
    sha256: str | None = Field(None, description="Of the certificate in DER.")
    public_sha256: str | None = Field(None, description="Of its public key (SubjectPublicKeyInfo, DER).")
    problem: str = ""


class TlsDocument(_Part):
    """What `remediate tls show --format json` prints."""

    format_version: Literal[1] = 1
    document: Literal["tls"] = "tls"
    directory: str
    authority: HeldCertificate | None = Field(description="Null where there is no CA.")
    hosts: tuple[HeldCertificate, ...]
    clients: tuple[HeldCertificate, ...]


def list_store(store: Store, now: datetime) -> TlsDocument:
    """All that `store` holds. Raises UsageError when it cannot be read."""
    authority = tuple(_held(store, "CA", store.authority, now))
    clients = [*store.clients().items(), (CONTROLLER, store.controller_certificate)]
    return TlsDocument(
        directory=one_line(str(store.directory)),
        authority=authority[0] if authority else None,
        hosts=tuple(each for name, path in store.hosts().items() for each in _held(store, name, path, now)),
        clients=tuple(each for name, path in clients for each in _held(store, name, path, now)),
    )


def held_names(store: Store, now: datetime) -> dict[str, Names]:
    """The names in each host's certificate that has not expired. Raises UsageError when the store cannot be read."""
    found = {}
    for host, path in store.hosts().items():
        try:
            certificate = read_chain(store.read(path) or b"")[0]
        except UnreadableError:
            continue
        if now <= certificate.not_valid_after_utc:
            found[host] = names_of(certificate)
    return found


def _held(store: Store, name: str, path: Path, now: datetime) -> Iterator[HeldCertificate]:
    """Every certificate in one of the store's files; nothing where there is no such file."""
    content = store.read(path)
    if content is None:
        return
    file, shown = one_line(str(path)), one_line(name)
    try:
        for certificate in read_chain(content):
            until = certificate.not_valid_after_utc
            yield HeldCertificate(
                name=shown,
                file=file,
                names=tuple(one_line(each, 300) for each in names_of(certificate).all),
                not_before=certificate.not_valid_before_utc.isoformat(),
                not_after=until.isoformat(),
                days_left=(until - now).days,
                sha256=fingerprint(certificate),
                public_sha256=public_sha256(certificate),
            )
    except ValueError as error:
        yield HeldCertificate(name=shown, file=file, problem=one_line(str(error), 400))
