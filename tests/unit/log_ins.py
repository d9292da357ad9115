"""Log-ins as tests make them: lines of a sudoers policy, and commands in a mount namespace of their own."""

from __future__ import annotations

import subprocess

from remediator.observation import SudoLine

NAME = "DOCKER_CONTENT_TRUST"
OWN = SudoLine(path="/etc/sudoers.d/remediator-docker-content-trust", line=2, text=f'Defaults env_keep += "{NAME}"')


def lines(*texts: str) -> list[SudoLine]:
    return [SudoLine(path="/etc/sudoers", line=number, text=text) for number, text in enumerate(texts, 1)]


def in_a_namespace(script: str, *words: str) -> str:
    """What a shell prints in mounts of its own, where files of the machine can stand aside."""
    command = ["unshare", "--mount", "sh", "-euc", script, "sh", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    ).stdout
