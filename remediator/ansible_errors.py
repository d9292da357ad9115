"""What Ansible's connection and become plugins say when they fail, in remediator's own kinds of host errors."""

from __future__ import annotations

import re

from remediator.errors import HostError
from remediator.text import one_line

# In order: the first that matches names the kind. Texts of OpenSSH, sudo and ansible-core 2.19.
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("answer", re.compile(r"^task failed: timed out after \d+ second", re.I)),
    (
        "host_key",
        re.compile(
            r"host key verification failed|remote host identification has changed|host key checking|"
            r"no .*host key is known|host key .*changed|not in the list of known hosts",
            re.I,
        ),
    ),
    (
        "become",
        re.compile(
            r"(incorrect|missing|duplicate) .*(password|prompt)|privilege escalation|waiting for become|"
            r"sudo: |is not in the sudoers|may not run|become (plugin|method)|su: |doas: ",
            re.I,
        ),
    ),
    (
        "authentication",
        re.compile(
            r"permission denied|authentication fail|invalid/incorrect|too many authentication|"
            r"no supported authentication|password is not possible",
            re.I,
        ),
    ),
    (
        "python",
        re.compile(r"python[0-9.]*: (command )?not found|python[0-9.]*: No such file|can't open .*python", re.I),
    ),
    (
        "unreachable",
        re.compile(
            r"data could not be sent|failed to connect|unreachable|timed? ?out|refused|"
            r"could not resolve|connection (closed|reset)|no route",
            re.I,
        ),
    ),
)
# What Ansible's ssh connection puts before ssh's own words.
_PREAMBLE = re.compile(r"^Data could not be sent to remote host .*?over ssh: *", re.DOTALL)
# OpenSSH's frame around a changed host key.
_FRAME = re.compile(r"@.*@[ \r]*$|@{20,}", re.MULTILINE)
_REMEDY = {
    "host_key": "Compare its key with one that you trust and add it to known_hosts; none is accepted blindly.",
    "become": "Give the right become password with -K, or let the user run Python through sudo.",
    "authentication": "Check the user, the key (--private-key) or the password (-k).",
    "python": "Install Python 3.6 or newer there, or name it with ansible_python_interpreter.",
    "unreachable": "Check the address, the port, and that the host is up.",
    "answer": "Look at the load of the host, and at what runs there at log-in and in place of its Python.",
}


def host_error(host: str, text: str, default: str = "answer") -> HostError:
    """The HostError that `text` (a plugin's message, or what the remote shell wrote to stderr) stands for."""
    kind = next((name for name, pattern in _KINDS if pattern.search(text)), default)
    words = " ".join(_FRAME.sub("", _PREAMBLE.sub("", text)).split())
    words = " ".join(_FRAME.sub("", _PREAMBLE.sub("", text)).split())
    said = one_line(words, 800).rstrip(". ") or "it gave no answer and no reason"
    return HostError(host, kind, f"{host}: {said}. {_REMEDY[kind]}")


def explained(error: HostError, stderr: str) -> HostError:
    """`error` (no answer came), or the plainer one that the remote side's own words stand for."""
    if error.kind not in ("answer", "python"):
        return error
    better = host_error(error.host, stderr)
    return better if better.kind in ("become", "authentication", "host_key") else error
