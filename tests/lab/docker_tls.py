"""What the tests of TLS share: a CA of their own, its clients' bundles, and the docker command of another host."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from remediator.access import Secret
from remediator.tls.authority import open_authority
from remediator.tls.certificates import names_of, read_chain
from remediator.tls.store import Store

from .hosts.interface import LabHost, inventory
from .hosts.workload import running_containers
from .product import Answer, Product

PASSPHRASE = "correct horse lab-4711 staple"
PORT = 2376
LISTEN = f"0.0.0.0:{PORT}"
PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"
BUNDLE = ("ca.pem", "cert.pem", "key.pem")
FILES = "/etc/docker/tls"
ALLOWED = ("--role", "docker_tls", "--allow", "docker_tls")
MUTUAL, CERTIFICATE, CLIENT = "docker.tls.mutual", "docker.tls.certificate", "docker.tls.client"


@dataclass(frozen=True)
class HeardProduct(Product):
    """The installed command; `said` is all that its calls printed."""

    said: list[str] = field(default_factory=list)

    def __call__(self, *words: str, stdin: str = "", timeout: float = 300) -> Answer:
        """Run `remediate words...` to its end."""
        answer = Product.__call__(self, *words, stdin=stdin, timeout=timeout)
        self.said.append(answer.out + answer.err)
        return answer


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

    def age(self, host: LabHost, days: int) -> None:
        """Have host and controller hold, for the daemon's key, what this CA would have signed `days` ago."""
        store = Store(self.remediate.home / ".local" / "share" / "remediator" / "tls")
        held = store.read(store.host_certificate(host.name))
        assert held is not None
        request = host.run("openssl", "req", "-new", "-key", f"{FILES}/key.pem", "-subj", f"/CN={host.name}").stdout
        begun = datetime.now(UTC) - timedelta(days=days)
        authority = open_authority(store, lambda: Secret(PASSPHRASE))
        aged = authority.sign_host(request, host.name, names_of(read_chain(held)[0]), begun)
        store.save_host(host.name, aged)
        host.put(f"{FILES}/cert.pem", aged, mode="0444")


def make_authority(remediate: Product, directory: Path) -> Authority:
    """A new CA in the product's home directory."""
    file = directory / "passphrase"
    file.touch(mode=0o600)
    file.write_text(PASSPHRASE + "\n")
    authority = Authority(remediate, file)
    answer = authority.tls("init", "--passphrase-file", str(file))
    assert answer.code == 0, answer.err
    return authority


def listening(host: LabHost, directory: Path, **variables: object) -> Path:
    """An inventory in `directory` with the host alone, told to listen with TLS."""
    path = directory / "hosts.yml"
    path.write_text(inventory([host], {host.name: {"docker_tls_listen": [LISTEN], **variables}}))
    return path


def verdict(answer: Answer, host: LabHost, control: str) -> dict[str, str]:
    """What a check says of one control, or an apply said of it before it changed anything."""
    found = answer.host(host.name)
    verdicts: list[dict[str, str]] = found.get("before", found)["verdicts"]
    return next(each for each in verdicts if each["control"] == control)


def daemon_files(host: LabHost) -> str:
    """A digest of every byte, mode and owner of the daemon's configuration."""
    places = "etc/docker etc/systemd/system etc/default/docker"
    return host.text("sh", "-c", f"tar -C / --sort=name --mtime=@0 -cf - {places} 2>/dev/null | sha256sum")


def is_as_before(host: LabHost, before: str) -> None:
    """The daemon runs with its old bytes, and its container that has a restart policy runs."""
    assert daemon_files(host) == before
    assert host.text("systemctl", "is-active", "docker.service") == "active"
    assert "web" in running_containers(host)


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


@contextmanager
def command_lines() -> Iterator[set[bytes]]:
    """The command line of every process that this machine and its containers are seen to have while this lasts."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            for each in Path("/proc").iterdir():
                try:
                    seen.add((each / "cmdline").read_bytes() if each.name.isdigit() else b"")
                except OSError:
                    continue  # it ended meanwhile

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
