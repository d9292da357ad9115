"""Keys, requests and certificates made and read with the real openssl command: what other people's tools would do."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

P256 = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")


def openssl(*arguments: str | Path, content: bytes | None = None) -> bytes:
    """What `openssl arguments...` prints; `content` is its standard input."""
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, input=content, capture_output=True, check=True, timeout=60).stdout


def text_of(pem: bytes) -> str:
    """A certificate as `openssl x509 -text` shows it, with single spaces."""
    return " ".join(openssl("x509", "-noout", "-text", content=pem).decode().split())


def public_digest(key: Path) -> str:
    """sha256 of a private key's public half (SubjectPublicKeyInfo, DER)."""
    return hashlib.sha256(openssl("pkey", "-in", key, "-pubout", "-outform", "DER")).hexdigest()


@dataclass(frozen=True)
class Pair:
    """A certificate's file and its key's."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> bytes:
        """The certificate's PEM."""
        return self.certificate.read_bytes()


@dataclass(frozen=True)
class Workshop:
    """Makes files in a directory of its own; each maker's first argument is the stem of its files."""

    directory: Path

    def key(self, stem: str, kind: tuple[str, ...] = P256) -> Path:
        """A new private key, not encrypted."""
        path = self.directory / f"{stem}-key.pem"
        openssl("genpkey", *kind, "-out", path)
        return path

    def request(self, stem: str, subject: str, *more: str, kind: tuple[str, ...] = P256) -> Path:
        """A signing request for a new key (its file is `STEM-key.pem`)."""
        path = self.directory / f"{stem}.csr"
        openssl("req", "-new", "-utf8", "-key", self.key(stem, kind), "-subj", subject, *more, "-out", path)
        return path

    def authority(self, stem: str, subject: str = "", kind: tuple[str, ...] = P256) -> Pair:
        """A self-signed CA as Docker's guide makes one."""
        pair = Pair(self.directory / f"{stem}.pem", self.key(stem, kind))
        made = ("-subj", subject or f"/CN={stem}", "-days", "3650", "-out", pair.certificate)
        openssl("req", "-new", "-x509", "-sha256", "-key", pair.key, *made)
        return pair

    def signed(self, stem: str, by: Pair, extensions: str, days: int = 365, kind: tuple[str, ...] = P256) -> Pair:
        """A certificate by `by`, with the lines of an openssl extension file."""
        request = self.request(stem, f"/CN={stem}", kind=kind)
        pair = Pair(self.directory / f"{stem}.pem", self.directory / f"{stem}-key.pem")
        wanted = self.directory / f"{stem}.ext"
        wanted.write_text(extensions)
        signer = ("-CA", by.certificate, "-CAkey", by.key, "-CAcreateserial", "-days", str(days))
        openssl("x509", "-req", "-sha256", "-in", request, *signer, "-extfile", wanted, "-out", pair.certificate)
        return pair

    def server(self, stem: str, by: Pair, names: str, days: int = 365) -> Pair:
        """A daemon's certificate as Docker's guide makes one; `names` are `DNS:...,IP:...`."""
        return self.signed(stem, by, f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n", days)
