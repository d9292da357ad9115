"""How an address of this host answers a caller without a certificate: one GET over TLS, else one in the clear."""

import time

PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"
STEP_SECONDS = 4.0  # a busy host that has just restarted its containers takes more than two
MAX_HEARD = 262144
# Of TLS's records and handshake messages, those that matter here (RFC 5246).
ALERT, HANDSHAKE = 21, 22
SERVER_HELLO, CERTIFICATE_MESSAGE, CERTIFICATE_REQUEST = 2, 11, 13
TLS_1_2 = b"\3\3"
MAX_AUTHORITIES = 100
# What a server says to a caller whose certificate it misses or does not take, as OpenSSL words it.
REFUSALS = (
    "alert certificate required",
    "alert bad certificate",
    "alert handshake failure",
    "alert certificate unknown",
    "alert unknown ca",
    "alert access denied",
)
# Go's answer, in the clear, to HTTP that came to a TLS listener.
WANTS_TLS = b"HTTPS server"


class Caller:
    """One connection to an address of this host, given up after STEP_SECONDS or at `deadline`."""

    def __init__(self, host: "str", port: "int", deadline: "float") -> None:
        # Not needed on most hosts, and not cheap.
        import socket

        self.end = min(time.monotonic() + STEP_SECONDS, deadline)
        self.deadline = deadline
        self.heard = b""
        self.line = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            self.line.settimeout(self.left())
            self.line.connect((host, port))
        except OSError:
            self.line.close()
            raise

    def left(self) -> "float":
        """Seconds that are left of this step."""
        return max(0.001, self.end - time.monotonic())

    def next_step(self) -> None:
        """Begins another step."""
        self.end = min(time.monotonic() + STEP_SECONDS, self.deadline)

    def hear(self) -> "bytes":
        """What comes next, nothing at the end. Raises OSError when nothing comes in time or too much came already."""
        if time.monotonic() >= self.end or len(self.heard) > MAX_HEARD:
            raise OSError("no end in time")
        self.line.settimeout(self.left())
        piece = self.line.recv(65536)
        self.heard += piece
        return piece


def how_it_speaks(
    host: "str", port: "int", deadline: "float", only_docker: "bool" = False
) -> "tuple[str, bytes | None]":
    """(`plain`, `tls`, `mutual_tls` or `nothing`, the certificate that it presented in DER).

    With `only_docker`, HTTP that is not Docker's answer to a ping is none. TLS comes first: what speaks it is not
    spoken to in the clear. Raises OSError where nothing can be connected to.
    """
    caller = Caller(host, port, deadline)
    try:
        speaks, certificate = ask_over_tls(caller, only_docker)
    finally:
        caller.line.close()
    if speaks or is_tls(caller.heard):
        return speaks or "nothing", certificate
    caller = Caller(host, port, deadline)
    try:
        return ("plain" if ask_in_the_clear(caller, only_docker) else "nothing"), None
    finally:
        caller.line.close()


def is_tls(heard: "bytes") -> "bool":
    """Whether what was heard begins as TLS does."""
    return len(heard) > 1 and heard[0] in (ALERT, HANDSHAKE) and heard[1] == 3


def is_answer(heard: "bytes", only_docker: "bool") -> "bool":
    """Whether this begins an HTTP answer; with `only_docker`, one that Docker's API gives to PING.

    That is a 200 with OK, or anything with the API's version: dockerd's metrics are HTTP as well, and published ports.
    """
    if not heard.startswith(b"HTTP/"):
        return False
    head, _, body = heard.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].split(b" ")[1:2]
    return not only_docker or b"\r\napi-version:" in head.lower() or (status == [b"200"] and body.strip() == b"OK")


def ask_over_tls(caller: "Caller", only_docker: "bool") -> "tuple[str, bytes | None]":
    """What `how_it_speaks` says, as far as a TLS handshake and one GET in it tell; an empty text where they do not."""
    tunnel = Tunnel(caller)
    try:
        tunnel.shake_hands()
    except OSError as error:
        # Until TLS 1.2 all of this is readable on the wire, and a client is refused before the handshake is done.
        asked, certificate = first_flight(caller.heard)
        return ("mutual_tls" if asked and is_refusal(error) else ""), certificate
    certificate = tunnel.certificate()
    caller.next_step()
    try:
        return ("tls" if is_answer(tunnel.ask(), only_docker) else ""), certificate
    except OSError as error:
        # TLS 1.3: the client is done before the server has seen that there is no certificate.
        return ("mutual_tls" if is_refusal(error) else ""), certificate


def is_refusal(error: "OSError") -> "bool":
    """Whether the server said that it does not take this caller; a connection that just ends says nothing."""
    text = str(error).lower().replace("_", " ")
    return any(words in text for words in REFUSALS)


def accepted_authorities(host: "str", port: "int", deadline: "float") -> "list[bytes] | None":
    """The names (DER) of the CAs whose clients a server takes, as it says itself when it asks for a certificate.

    At most MAX_AUTHORITIES. TLS 1.3 would hide its answer from whoever has no certificate, so it is asked in TLS 1.2.
    None where it did not say. Raises OSError where nothing can be connected to.
    """
    caller = Caller(host, port, deadline)
    try:
        Tunnel(caller, readable=True).shake_hands()
    except OSError:
        pass  # It refuses who has no certificate, after it said which it would take.
    finally:
        caller.line.close()
    return authorities_in(caller.heard)


class Tunnel:
    """TLS over a caller's connection, with no certificate of our own and none of the server's refused.

    With `readable` not in TLS 1.3, whose handshake is encrypted from the server's second message on.
    """

    def __init__(self, caller: "Caller", readable: "bool" = False) -> None:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if readable and hasattr(context, "maximum_version"):
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        elif readable:
            context.options |= getattr(ssl, "OP_NO_TLSv1_3", 0)  # Python 3.6
        self.want_read = ssl.SSLWantReadError
        self.caller = caller
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.inner = context.wrap_bio(self.incoming, self.outgoing)

    def shake_hands(self) -> None:
        """Does the handshake; its last words are said with what follows. Raises OSError (ssl.SSLError is one)."""
        while True:
            try:
                self.inner.do_handshake()
                return
            except self.want_read:
                self.exchange()

    def certificate(self) -> "bytes | None":
        """The server's certificate in DER."""
        return self.inner.getpeercert(True)

    def ask(self) -> "bytes":
        """The beginning of the answer to PING. Raises OSError."""
        self.inner.write(PING)
        while True:
            try:
                return self.inner.read(4096)
            except self.want_read:
                self.exchange()

    def exchange(self) -> None:
        """Says what TLS wants said and hears what comes."""
        try:
            self.caller.line.sendall(self.outgoing.read())
        except OSError:
            pass  # It hung up; why it did may still be there to hear.
        piece = self.caller.hear()
        if piece:
            self.incoming.write(piece)
        else:
            self.incoming.write_eof()


def ask_in_the_clear(caller: "Caller", only_docker: "bool") -> "bool":
    """Whether HTTP is served without TLS, with `only_docker` Docker's API."""
    try:
        caller.line.sendall(PING)
        while caller.hear():
            pass
    except OSError:
        pass  # What came until then is the answer.
    return is_answer(caller.heard, only_docker) and WANTS_TLS not in caller.heard


def first_flight(heard: "bytes") -> "tuple[bool, bytes | None]":
    """(whether the server asked for a certificate, its own certificate in DER) from its first messages in the clear."""
    asked, certificate = False, None
    for kind, body, whole in messages_in(heard):
        asked = asked or kind == CERTIFICATE_REQUEST
        if kind == CERTIFICATE_MESSAGE and whole and len(body) > 6:
            certificate = body[6 : 6 + int.from_bytes(body[3:6], "big")]
    return asked, certificate


def authorities_in(heard: "bytes") -> "list[bytes] | None":
    """The names in the request for a certificate (RFC 5246, 7.4.4); None where TLS 1.2 holds no sound one."""
    hello = b""
    for kind, body, whole in messages_in(heard):
        if kind == SERVER_HELLO:
            hello = body
        elif kind == CERTIFICATE_REQUEST and whole and hello[:2] == TLS_1_2:
            return names_in_request(body)
    return None


def names_in_request(body: "bytes") -> "list[bytes] | None":
    """The names in a CertificateRequest of TLS 1.2: behind the kinds of certificate and the signature algorithms."""
    _, rest = counted(body, 1)
    _, rest = counted(rest or b"", 2)
    listed, after = counted(rest or b"", 2)
    if after != b"":
        return None
    names: "list[bytes]" = []
    while listed and len(names) < MAX_AUTHORITIES:
        name, listed = counted(listed, 2)
        if name is None:
            return None
        names.append(name)
    return names


def counted(data: "bytes", size: "int") -> "tuple[bytes | None, bytes | None]":
    """(what stands behind its own length of `size` bytes, what follows it); (None, None) where that is cut short."""
    end = size + int.from_bytes(data[:size], "big")
    return (data[size:end], data[end:]) if size <= len(data) and end <= len(data) else (None, None)


def messages_in(heard: "bytes") -> "list[tuple[int, bytes, bool]]":
    """(kind, body, whether it came whole) of the handshake's messages in the records that were heard in the clear."""
    messages = b""
    position = 0
    while position + 5 <= len(heard) and heard[position] == HANDSHAKE:
        size = int.from_bytes(heard[position + 3 : position + 5], "big")
        messages += heard[position + 5 : position + 5 + size]
        position += 5 + size
    found = []
    position = 0
    while position + 4 <= len(messages):
        end = position + 4 + int.from_bytes(messages[position + 1 : position + 4], "big")
        found.append((messages[position], messages[position + 4 : end], end <= len(messages)))
        position = end
    return found
