"""A daemon's TCP listener on the loopback interface: real TLS, or none."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.unit.host.commit.certificates import Certificate, key_pem

OK = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK"


def server_context(
    directory: Path, served: Certificate, clients: Certificate | None, version: ssl.TLSVersion, chain: bytes = b""
) -> ssl.SSLContext:
    """Serves `served`; with `clients` it wants a certificate of that CA from every caller."""
    files = directory / f"{served.sha256}.pem"
    files.write_bytes(key_pem(served.key) + served.pem + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files)
    context.minimum_version = context.maximum_version = version
    if clients is not None:
        context.load_verify_locations(cadata=clients.pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Listener:
    """Answers every request with 200, over TLS where it has a context."""

    def __init__(self, context: ssl.SSLContext | None, address: str = "127.0.0.1", answer: bytes = OK) -> None:
        self._context = context
        self._answer = answer
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._socket.bind((address, 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port: int = self._socket.getsockname()[1]

    def start(self) -> None:
        """Until then connections are refused."""
        self._socket.listen()
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(10)
                if self._context is None or not self._wants_tls(connection):
                    self._talk(connection)
                else:
                    with self._context.wrap_socket(connection, server_side=True) as wrapped:
                        self._talk(wrapped)

    def _wants_tls(self, connection: socket.socket) -> bool:
        return True

    def _talk(self, connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(self._answer)


class DoubleListener(Listener):
    """Serves over TLS whom it greets in TLS, and everybody else in the clear."""

    def _wants_tls(self, connection: socket.socket) -> bool:
        return connection.recv(1, socket.MSG_PEEK) == b"\x16"


@contextmanager
def listening(context: ssl.SSLContext | None, address: str = "127.0.0.1", answer: bytes = OK) -> Iterator[int]:
    """The port of a listener."""
    listener = Listener(context, address, answer)
    listener.start()
    try:
        yield listener.port
    finally:
        listener.stop()
