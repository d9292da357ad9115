"""A real TLS server on loopback that demands client certificates, as dockerd with --tlsverify does."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 20.0


@contextlib.contextmanager
def serving(certificate: Path, key: Path, authority: Path) -> Iterator[int]:
    """The port of a server that says `welcome` to clients whose certificate `authority` signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_serve, args=(listener, context))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE)


def handshake(port: int, name: str, authority: Path, client: tuple[Path, Path] | None) -> bytes:
    """What the server says to a client that expects `name` of it. Raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    context.hostname_checks_common_name = False
    if client is not None:
        context.load_cert_chain(*client)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as line,
        context.wrap_socket(line, server_hostname=name) as wrapped,
    ):
        return wrapped.recv(100)


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            line, _ = listener.accept()
        except OSError:
            return
        line.settimeout(PATIENCE)
        with contextlib.suppress(OSError), context.wrap_socket(line, server_side=True) as wrapped:
            wrapped.sendall(b"welcome")
            wrapped.unwrap()
