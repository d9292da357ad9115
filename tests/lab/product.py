"""The installed `remediate` command, as the tests drive it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REMEDIATE = Path(sys.executable).with_name("remediate")


@dataclass(frozen=True)
class Answer:
    """What one call printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on standard output."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def host(self, name: str) -> dict[str, Any]:
        """One host's part of the JSON document."""
        found: dict[str, Any] = next(host for host in self.document["hosts"] if host["host"] == name)
        return found

    def verdicts(self, name: str) -> dict[str, str]:
        """Verdict by control of one host."""
        return {entry["control"]: entry["verdict"] for entry in self.host(name)["verdicts"]}


@dataclass(frozen=True)
class Product:
    """`remediate` with an environment of its own: nothing of the developer's own configuration reaches it."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, stdin: str = "", timeout: float = 300) -> Answer:
        """Run `remediate words...` to its end."""
        done = subprocess.run(
            [str(REMEDIATE), *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self._environment(),
            cwd=self.home,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `remediate words...` in a process group of its own; `ended` waits for it."""
        return subprocess.Popen(
            [str(REMEDIATE), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment(),
            cwd=self.home,
            start_new_session=True,
        )

    def check(self, inventory: Path, *words: str, timeout: float = 300) -> Answer:
        """`remediate check -i inventory words... --format json`."""
        return self("check", "-i", str(inventory), *words, "--format", "json", timeout=timeout)

    def apply(self, inventory: Path, *words: str, timeout: float = 600) -> Answer:
        """`remediate apply -i inventory --yes words... --format json`."""
        return self("apply", "-i", str(inventory), "--yes", *words, "--format", "json", timeout=timeout)

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        return {**kept, "HOME": str(self.home), "LC_ALL": "C.UTF-8", **self.environment}


def ended(process: subprocess.Popen[str], timeout: float = 300) -> Answer:
    """What a started call printed, and how it ended."""
    out, err = process.communicate(timeout=timeout)
    return Answer(process.returncode, out, err)
