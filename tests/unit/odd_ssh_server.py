"""An SSH server that does what OpenSSH's would not: it counts passwords, and answers with whatever a test wants."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import paramiko

Behaviour = Callable[[paramiko.Channel, str], None]


def _silent(channel: paramiko.Channel, command: str) -> None:
    """Never says anything."""


class OddServer(paramiko.ServerInterface):
    """Listens on every loopback address. `passwords` holds each password that somebody tried."""

    def __init__(self, password: str | None = None, behaviour: Behaviour = _silent) -> None:
        self._password = password
        self._behaviour = behaviour
        self.passwords: list[str] = []
        self.key = paramiko.ECDSAKey.generate()
        self._listener = socket.create_server(("0.0.0.0", 0), backlog=100)
        self.port = int(self._listener.getsockname()[1])
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def known_hosts_line(self, address: str) -> str:
        """The line that makes this server known."""
        return f"[{address}]:{self.port} {self.key.get_name()} {self.key.get_base64()}\n"

    def stop(self) -> None:
        """End the server and every connection."""
        self._listener.close()
        for transport in self._transports:
            transport.close()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(stream)
            transport.daemon = True
            transport.add_server_key(self.key)
            self._transports.append(transport)
            try:
                transport.start_server(event=threading.Event(), server=self)
            except (paramiko.SSHException, EOFError):
                continue

    def get_allowed_auths(self, username: str) -> str:
        return "publickey" if self._password is None else "publickey,password"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_FAILED if self._password is not None else paramiko.AUTH_SUCCESSFUL

    def check_auth_password(self, username: str, password: str) -> int:
        self.passwords.append(password)
        return paramiko.AUTH_SUCCESSFUL if password == self._password else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._act, args=(channel, command.decode()), daemon=True).start()
        return True

    def _act(self, channel: paramiko.Channel, command: str) -> None:
        time.sleep(0.2)  # paramiko confirms the command only after this thread has begun
        try:
            self._behaviour(channel, command)
        except (OSError, EOFError, paramiko.SSHException):
            # The client hung up, as it should.
            return
