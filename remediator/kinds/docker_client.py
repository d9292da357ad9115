"""docker_client: whether users of a host reach Docker daemons over verified TLS, with a key that is theirs alone.

What lies in a home directory is a person's: it is reported, never changed.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from remediator.kinds.interface import Decision, Kind, Parameters, Scope
from remediator.observation import ClientContext, DockerClient
from remediator.overlay import Overlay
from remediator.request import Needs
from remediator.text import one_line

_ENVIRONMENT = "/etc/environment"
_NETWORK_SCHEMES = ("tcp", "http", "https")
_PLAIN_PORT = 2375  # registered for the daemon without TLS; 2376 is with
_ASSIGNMENT = re.compile(r"^[ \t]*(?:export[ \t]+)?(DOCKER_[A-Z_]+)=(.*)$", re.MULTILINE)
_BUNDLE = "`remediate tls client NAME -o DIR` makes a certificate and the docker context that uses it"


class DockerClientParameters(Parameters):
    """`users` is the role variable that lists the users to look at."""

    users: str


class DockerClientSetup(Kind):
    """Decides what Docker's guide to a protected daemon socket asks of the client: TLS, verification, a private key."""

    name = "docker_client"
    parameters = DockerClientParameters

    def needs(self, parameters: Parameters) -> Needs:
        """The clients, their CLI, and what every login's environment says."""
        return Needs.of([], "docker_cli", "docker_clients", contents=[_ENVIRONMENT])

    def decide(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision:
        """Manual with every user's faults and their remedies; compliant when there are none. Stages nothing."""
        assert isinstance(parameters, DockerClientParameters)  # noqa: S101 - narrows for mypy: the catalogue made it
        users = scope.variables.get(parameters.users) or []
        if not isinstance(users, list) or not all(isinstance(user, str) and user for user in users):
            return Decision("unknown", f"{parameters.users} must be a list of user names: correct it in the inventory")
        if not users:
            return Decision("not_applicable", f"{parameters.users} names no user whose client is to be looked at")
        faults, unknown = _environment_faults(scope)
        for user in dict.fromkeys(users):
            found, missing = _user_faults(user, scope)
            faults += [f"{one_line(user, 64)}: {fault}" for fault in found]
            unknown += [f"{one_line(user, 64)}: {reason}" for reason in missing]
        if faults:
            return Decision("manual", "; ".join([*faults, *unknown]))
        if unknown:
            return Decision("unknown", "; ".join(unknown))
        return Decision("compliant", f"verified TLS and private keys for {one_line(', '.join(users), 200)}")


def _user_faults(user: str, scope: Scope) -> tuple[list[str], list[str]]:
    """What is wrong with one user's client, and what could not be found out."""
    client = next((client for client in scope.seen.docker_clients if client.user == user), None)
    if client is None:
        if user in scope.seen.users and scope.seen.host.uid != 0:
            return [], ["only root can look into that home directory: give -b (--become)"]
        where = "has no directory ~/.docker" if user in scope.seen.users else "is no user of this host"
        return [f"{where}; {_BUNDLE}"], []
    faults = [fault for context in client.contexts for fault in _context_faults(context)]
    if client.current_context not in ("", "default", *(context.name for context in client.contexts)):
        faults.append(f"its current context {client.current_context} is not there: `docker context use` another")
    keys = dict.fromkeys(key for key in (client.key, *(context.key for context in client.contexts)) if key is not None)
    if not keys:
        faults.append(f"has no key to show a daemon; {_BUNDLE}")
    unknown = []
    for key in keys:
        wrong, reason = _key_fault(key, client, scope)
        faults += [wrong] if wrong else []
        unknown += [reason] if reason else []
    return faults, unknown


def _context_faults(context: ClientContext) -> list[str]:
    """What is wrong with one context, as far as it goes over the network."""
    fault = _endpoint_fault(context.address, context.key is not None)
    faults = [f"{fault}: `docker context update` it with host=tcp://HOST:2376, ca, cert and key"] if fault else []
    if context.skip_verify:
        faults.append("does not verify the daemon: set it up again without skip-tls-verify")
    return [f"the context {context.name} {fault}" for fault in faults]


def _endpoint_fault(address: str, tls: bool) -> str:
    """What is wrong with a daemon's address; empty where nothing is, or where it is none on the network."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return "has an address that cannot be read"
    if parts.scheme not in _NETWORK_SCHEMES:
        return ""
    if port == _PLAIN_PORT:
        return f"goes to port {port}, where daemons speak without TLS"
    return "" if tls else "goes over the network without a client certificate"


def _key_fault(path: str, client: DockerClient, scope: Scope) -> tuple[str, str]:
    """What is wrong with who can read one key, or why that is not known; both empty where it is the user's alone."""
    facts = scope.seen.files.get(path)
    name = one_line(path, 300)
    if facts is None or facts.type == "unreadable":
        return "", f"{name}: {facts.error if facts and facts.error else 'the host did not answer'}"
    if facts.type == "missing":
        return f"{name} is not there; {_BUNDLE}", ""
    # Its user chooses what a link stands for: a remedy that changes what it leads to could give them any file.
    if facts.type == "symlink" or facts.nlink > 1:
        what = "a symlink" if facts.type == "symlink" else "one of several names (hard links) of a file"
        return f"{name} is {what}: remove it, and put a key of the user's own there", ""
    if facts.type != "file":
        return f"{name} is a {facts.type}, which no key should be", ""
    if facts.uid != client.uid:
        return f"{name} belongs to {facts.user or facts.uid}: `chown -h {client.uid}` it", ""
    if facts.mode & ~0o600 or facts.acl:
        more = " and an ACL" if facts.acl else ""
        return (
            f"{name} has mode {facts.mode:04o}{more}, where nobody else may read it: `chmod 0600` it as that user",
            "",
        )
    return "", ""


def _environment_faults(scope: Scope) -> tuple[list[str], list[str]]:
    """What /etc/environment makes every login's Docker client do, and why that is not known."""
    facts = scope.seen.files.get(_ENVIRONMENT)
    if facts is None or facts.type == "missing":
        return [], []
    if facts.content is None:
        return [], [f"{_ENVIRONMENT}: {facts.error or 'its content did not come'}"]
    text = facts.content.decode("utf-8", "replace")
    settings = {name: value.strip(" \t\r").strip("\"'") for name, value in _ASSIGNMENT.findall(text)}
    fault = _endpoint_fault(settings.get("DOCKER_HOST", ""), bool(settings.get("DOCKER_TLS_VERIFY")))
    if not fault:
        return [], []
    return [f"DOCKER_HOST in {_ENVIRONMENT} {fault}: set it to port 2376, and DOCKER_TLS_VERIFY=1 beside it"], []
