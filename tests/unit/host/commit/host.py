"""A host for the commit program: this machine, in a mount namespace of its own for everything outside a temp directory.

The real program runs as the controller sends it, through the real bootstrap. /var/lib and /dev/log are replaced in its
namespace, so that a test neither meets nor leaves a lock, and no line in this machine's log. Programs of the host's
that a test needs to behave in a certain way lie over /usr/sbin.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remediator import wire
from remediator.history import new_ulid
from remediator.host import commit_program
from remediator.host.common.mask import mask_content
from remediator.plan import Action, Precondition, Step, Transaction

_NAMESPACE = """
set -e
mount --make-rprivate /
mount --bind {base}/var-lib /var/lib
mount -t overlay overlay -o lowerdir={base}/programs:/usr/sbin /usr/sbin
mount -t tmpfs -o mode=755 tmpfs {base}/dev
for node in null zero full random urandom; do
  touch {base}/dev/$node; mount --bind /dev/$node {base}/dev/$node
done
ln -s /proc/self/fd {base}/dev/fd
ln -s {base}/log {base}/dev/log
mount --rbind {base}/dev /dev
{setup}
cd /
exec {under} {user} /bin/sh -c {command}
"""


# For a program of the host's: fills the disk that the journal lies on.
FILL = """
with open("/var/lib/filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(b"x" * 4096)
    except OSError:
        pass
"""


@dataclass
class CommitHost:
    """Where a test keeps its files (`files`, a root that requests name) and how it runs the program."""

    base: Path
    log: socket.socket

    @property
    def files(self) -> Path:
        return self.base / "files"

    @property
    def state(self) -> Path:
        return self.base / "var-lib" / "remediator"

    @property
    def state_names(self) -> list[str]:
        """What is in the state directory, but for the program's own compiled copy."""
        return sorted(item.name for item in self.state.iterdir() if not item.name.startswith("engine-"))

    def file(self, name: str, content: bytes = b"old\n", mode: int = 0o644, uid: int = 0, gid: int = 0) -> Path:
        """A file below `files`."""
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.chown(path, uid, gid)
        path.chmod(mode)
        return path

    def program(self, name: str, script: str) -> None:
        """A program of the host's: Python that finds its arguments in `argv` and its own folder in `here`."""
        path = self.base / "programs" / name
        head = f"#!{sys.executable} -I\nimport sys, os, pathlib\n"
        head += f"argv = sys.argv[1:]\nhere = pathlib.Path({str(self.base)!r})\n"
        path.write_text(head + script)
        path.chmod(0o755)

    def journal(self) -> list[str]:
        """The lines that came to the host's log so far."""
        lines = []
        while True:
            try:
                lines.append(self.log.recv(65536).decode())
            except BlockingIOError:
                return lines

    def request(self, *transactions: Transaction, **changes: Any) -> dict[str, Any]:
        """The request document for these transactions."""
        document = {
            "format_version": 1,
            "run": new_ulid(),
            "host": "web1",
            "roots": [str(self.files)],
            "who": "alice",
            "reason": "hardening",
            "healthy_seconds": 2,  # the least: many tests restart something
            "transactions": [
                {**transaction.model_dump(mode="json"), "digest": transaction.digest} for transaction in transactions
            ],
        }
        return {**document, **changes}

    def start(
        self, request: dict[str, Any], setup: str = "", user: str = "", secret: bytes = b"", under: str = ""
    ) -> Running:
        """The program, running; `setup` is shell that its namespace begins with, `user` a command that starts it.

        `under` is a command that watches it (strace with its options).
        """
        marker = wire.new_marker()
        script = _NAMESPACE.format(
            base=shlex.quote(str(self.base)),
            setup=setup,
            user=user,
            under=under,
            command=shlex.quote(wire.command(None if user else sys.executable, marker)),
        )
        process = subprocess.Popen(
            ["unshare", "--mount", "/bin/sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        program = commit_program(request.get("do", "commit"), request["run"])
        sent = wire.frame(marker, program, json.dumps(request).encode("ascii"), secret=secret)
        with suppress(BrokenPipeError):  # one that was killed at once reads nothing
            process.stdin.write(sent)
            process.stdin.flush()
        return Running(process, marker)

    def run(
        self, *transactions: Transaction, setup: str = "", secret: bytes = b"", **changes: Any
    ) -> list[dict[str, Any]]:
        """The results of committing these transactions."""
        answer = self.start(self.request(*transactions, **changes), setup, secret=secret).answer()
        assert "results" in answer, answer
        results: list[dict[str, Any]] = answer["results"]
        return results

    def recover(self, setup: str = "", **changes: Any) -> dict[str, Any]:
        """The whole answer of a request to recover what was interrupted."""
        return self.start(self.request(do="recover", **changes), setup).answer()


@contextmanager
def commit_host(parent: str = "/var/cache") -> Iterator[CommitHost]:
    """A host whose files lie below `parent`, and are gone at the end."""
    base = Path(tempfile.mkdtemp(prefix="remediator-commit-", dir=parent))
    for name in ("files", "var-lib", "programs", "dev"):
        (base / name).mkdir(mode=0o755)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(str(base / "log"))
            log.setblocking(False)
            yield CommitHost(base, log)
    finally:
        subprocess.run(["chattr", "-R", "-i", "-a", str(base / "files")], check=False, capture_output=True)
        shutil.rmtree(base)


@dataclass
class Running:
    """A commit under way."""

    process: subprocess.Popen[bytes]
    marker: str

    def answer(self) -> dict[str, Any]:
        """The whole answer, errors of the program's own among them."""
        output, errors = self.process.communicate(timeout=120)
        try:
            document = json.loads(wire.read_answer("web1", output, self.marker, self.process.returncode, errors))
        except wire.HostError as error:
            return {"error": {"kind": error.kind, "message": str(error)}}
        assert isinstance(document, dict)
        return document


def seen(path: Path, *, content: bool = True) -> Precondition:
    """The precondition that a preview of `path` as it is now would make."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return Precondition(path=str(path), resolved=os.path.realpath(path), type="missing")
    kinds: list[tuple[Any, Any]] = [(stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISSOCK, "socket")]
    kind = next(name for test, name in kinds if test(path.stat().st_mode))
    facts = path.stat()
    return Precondition(
        path=str(path),
        resolved=os.path.realpath(path),
        type=kind,
        mode=stat.S_IMODE(facts.st_mode),
        uid=facts.st_uid,
        gid=facts.st_gid,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest() if kind == "file" and content else None,
        ino=facts.st_ino,
        dev=facts.st_dev,
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
    )


def seen_masked(path: Path) -> Precondition:
    """The precondition of a file whose secrets were masked: of its content only the masked digest is known."""
    masked, spans = mask_content(path.read_bytes())
    assert spans, "nothing in it is masked"
    changes = {"sha256": hashlib.sha256(masked).hexdigest(), "masked": True, "ctime_ns": path.stat().st_ctime_ns}
    return seen(path).model_copy(update=changes)


def chmod(path: Path, mode: int) -> Action:
    return Action(do="chmod", path=str(path), mode=mode)


def write(path: Path, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Action:
    return Action(do="write", path=str(path), content=content, mode=mode, uid=uid, gid=gid)


def transaction(
    *actions: Action,
    group: str = "files",
    preconditions: tuple[Precondition, ...] | None = None,
    validation: tuple[Step, ...] = (),
    activation: tuple[Step, ...] = (),
    probe: tuple[Step, ...] = (),
) -> Transaction:
    """A transaction of these actions, with what is there now as its preconditions."""
    if preconditions is None:
        paths = dict.fromkeys(action.path for action in actions if action.path)
        preconditions = tuple(seen(Path(path)) for path in paths)
    return Transaction(
        group=group,
        changes=(),
        preconditions=preconditions,
        actions=actions,
        validation=validation,
        activation=activation,
        probe=probe,
    )


def state_of(path: Path) -> tuple[Any, ...]:
    """Everything about a file that putting back must restore."""
    facts = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(facts.st_mode) else b""
    xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return (content, facts.st_mode, facts.st_uid, facts.st_gid, facts.st_mtime_ns, facts.st_nlink, xattrs)
