"""What docker-bench-security looks at for 2.7 and 4.5, asked of a host itself: its decisions in code of our own.

It goes by one process's arguments and by the text of one file, with or without jq, and not by what a daemon answers.
"""

from __future__ import annotations

import re
from typing import Literal

from .hosts.interface import LabHost

Result = Literal["pass", "warn", "info"]
_FILE = "/etc/docker/daemon.json"
_LISTENS = re.compile(r"host.*tcp://")


def mutual_tls(host: LabHost, jq: bool) -> Result:
    """2.7: `info` where no TCP listener stands on one line of daemon.json, `pass` where the daemon verifies clients.

    With `jq` on the host the file's tlsverify is never found: only the flag counts.
    """
    arguments = _arguments(host)
    text = _configuration(host, arguments)
    if not any(_LISTENS.search(line) for line in text.splitlines()):
        return "info"
    verified = [piece for piece in text.split(",") if '"tlsverify":' in piece and "true" in piece]
    return "pass" if "--tlsverify" in arguments or (verified and not jq) else "warn"


def content_trust(host: LabHost, *shell: str) -> Result:
    """4.5: whether the variable is 1 in the environment of a script that `shell` runs."""
    value = host.text(*shell, "-c", 'printf %s "${DOCKER_CONTENT_TRUST-}"')
    return "pass" if value == "1" else "warn"


def _arguments(host: LabHost) -> list[str]:
    """The words of the newest process in whose command line the daemon's name stands."""
    # A script on standard input: words of ours would be found as well.
    said = host.script("tr '\\0' '\\n' </proc/$(pgrep --newest --full dockerd)/cmdline").stdout.decode()
    return said.split("\n")


def _configuration(host: LabHost, arguments: list[str]) -> str:
    """The text of the configuration file that the arguments name, else of the usual one; empty where there is none."""
    given = [word.partition("=")[2] for word in arguments if word.startswith("--config-file=")]
    for path in (*given, _FILE):
        found = host.run("cat", path, check=False)
        if found.returncode == 0:
            return found.stdout.decode()
    return ""
