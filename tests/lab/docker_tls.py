"""What the tests of TLS share: a CA of their own, its clients' bundles, and the docker command of another host."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .hosts.interface import LabHost
from .product import Answer, Product

PASSPHRASE = "correct horse lab-4711 staple"
PORT = 2376
LISTEN = f"0.0.0.0:{PORT}"
PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"
BUNDLE = ("ca.pem", "cert.pem", "key.pem")


@dataclass(frozen=True)
class Authority:
    """The private CA of one test module: `remediate tls` with the home directory where it lies."""

    remediate: Product
    passphrase_file: Path

    def issue(self, inventory: Path, *words: str) -> Answer:
        """`remediate tls issue` for these hosts."""
        return self.tls("issue", "-i", str(inventory), "--passphrase-file", str(self.passphrase_file), *words)

    def client(self, name: str, directory: Path) -> Path:
        """A new client's bundle in `directory`/`name`."""
        target = directory / name
        answer = self.tls("client", name, "-o", str(target), "--passphrase-file", str(self.passphrase_file))
        assert answer.code == 0, answer.err
        return target

    def tls(self, *words: str) -> Answer:
        """`remediate tls words...`."""
        return self.remediate("tls", *words)


def make_authority(remediate: Product, directory: Path) -> Authority:
    """A new CA in the product's home directory."""
    file = directory / "passphrase"
    file.touch(mode=0o600)
    file.write_text(PASSPHRASE + "\n")
    authority = Authority(remediate, file)
    answer = authority.tls("init", "--passphrase-file", str(file))
    assert answer.code == 0, answer.err
    return authority


def hand_over(bundle: Path, host: LabHost, name: str) -> str:
    """Put a client's bundle on another host; its directory there."""
    directory = f"/root/{name}"
    host.run("install", "-d", "-m", "0700", directory)
    for file in BUNDLE:
        host.put(f"{directory}/{file}", (bundle / file).read_bytes(), mode="0400")
    return directory


def docker_from(
    client: LabHost, server: LabHost, certificates: str | None, *words: str
) -> subprocess.CompletedProcess[bytes]:
    """The real docker command on `client` against the daemon of `server`, with a bundle or without any TLS."""
    if certificates is None:
        return client.run("docker", "-H", f"tcp://{server.address}:{PORT}", *words, check=False)
    environment = [f"DOCKER_CERT_PATH={certificates}", "DOCKER_TLS_VERIFY=1"]
    command = ["env", *environment, "docker", "--tlsverify", "-H", f"tcp://{server.address}:{PORT}", *words]
    return client.run(*command, check=False)


def served_fingerprint(address: str, port: int = PORT) -> str:
    """sha256 of the certificate that is served there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((address, port), timeout=10) as line, context.wrap_socket(line) as wrapped:
        certificate = wrapped.getpeercert(binary_form=True)
    assert certificate is not None
    return hashlib.sha256(certificate).hexdigest()


def answer_without_certificate(address: str, port: int = PORT) -> bytes:
    """What a caller over TLS without a certificate gets: nothing where it is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((address, port), timeout=10) as line, context.wrap_socket(line) as wrapped:
            wrapped.sendall(PING)
            return wrapped.recv(4096)
    except (ssl.SSLError, ConnectionError):
        return b""


def answer_to_plain_http(address: str, port: int = PORT) -> bytes:
    """What a caller without TLS gets."""
    with socket.create_connection((address, port), timeout=10) as line:
        line.sendall(PING)
        try:
            return line.recv(4096)
        except ConnectionError:
            return b""
