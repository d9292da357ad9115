"""What a driving `remediate` and the `harden` action tell each other: one private directory on the controller.

The driver makes the directory (0700), writes the session, the approved plans and the request, and starts Ansible with
`remediator_session` set to the session's path. The action writes one answer for each host. Nothing else is passed, so
that no observation and no plan goes through Ansible's variables, events or output.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from remediator.errors import HostError, UsageError
from remediator.plan import HostError as PlanError
from remediator.plan import HostPlan, HostResult, Undo
from remediator.policy import Policy

_FILE = "session.json"
_STOP = "stop"


class Session(BaseModel):
    """One call of ansible-playbook. `request` is observe's request; the policy is the command line's.

    In mode `keys` every host makes a key and a signing request, and `request` asks for them afterwards. In mode
    `recover` hosts put back what was interrupted, and lose the broken mark where `released` names them; in mode `purge`
    they lose all that we keep there. In mode `rollback` what `undo` names is taken back, as the approved plans have it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    mode: Literal["observe", "apply", "keys", "rollback", "recover", "purge"]
    request: str
    controls: tuple[str, ...] = ()
    run: str = ""
    who: str = ""
    reason: str = ""
    allow: tuple[str, ...] = ()
    waivers: dict[str, str] = {}
    roots: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    tls_store: str = ""  # the private CA's directory, as the driver knows it
    undo: Undo | None = None

    @property
    def policy(self) -> Policy:
        """The consent that the driver's user gave."""
        return Policy(frozenset(self.allow), dict(self.waivers), self.roots)


@dataclass(frozen=True)
class SessionDirectory:
    """The directory of one session. Host names become digests: a name is no path."""

    path: Path

    @property
    def session_file(self) -> Path:
        """The file that `remediator_session` names."""
        return self.path / _FILE

    def create(self, session: Session, plans: tuple[HostPlan, ...] = ()) -> None:
        """Write the session and the approved plans into the fresh directory."""
        for plan in plans:
            self.write(self._file(plan.host, "plan"), plan.model_dump_json().encode())
        self.write(self.session_file, session.model_dump_json().encode())

    @classmethod
    def open(cls, path: str) -> tuple[SessionDirectory, Session]:
        """The session at `path`. Raises UsageError when it is not this user's own private file."""
        file = Path(path)
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as opened:
                facts = os.fstat(opened.fileno())
                if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
                    raise UsageError(f"{path}: this is not a session file of this user, so it is not followed.")
                return cls(file.parent), Session.model_validate_json(opened.read())
        except (OSError, ValidationError):
            raise UsageError(
                f"{path}: remediator_session names no session. `remediate` sets that variable itself; remove it from "
                "the inventory and the command line."
            ) from None

    def plan(self, host: str) -> HostPlan | None:
        """The plan that was approved for `host`, None when there is none."""
        file = self._file(host, "plan")
        return HostPlan.model_validate_json(file.read_bytes()) if file.is_file() else None

    def stop(self) -> None:
        """Let no further host begin."""
        self.write(self.path / _STOP, b"")

    @property
    def stopped(self) -> bool:
        """Whether no further host shall begin."""
        return (self.path / _STOP).exists()

    def put_answer(self, host: str, answer: bytes) -> None:
        """Keep observe's raw answer."""
        self.write(self._file(host, "answer"), answer)

    def put_error(self, host: str, error: HostError) -> None:
        """Keep why `host` gave no answer."""
        self.write(self._file(host, "error"), plan_error(error).model_dump_json().encode())

    def put_result(self, result: HostResult) -> None:
        """Keep what an apply did; a later one of the same host replaces it."""
        self.write(self._file(result.host, "result"), result.model_dump_json().encode())

    def answer(self, host: str) -> bytes | HostError | None:
        """Observe's answer or why there is none; None when the host's task left neither."""
        failed = self._file(host, "error")
        if failed.is_file():
            error = PlanError.model_validate_json(failed.read_bytes())
            return HostError(host, error.kind, error.message)
        file = self._file(host, "answer")
        return file.read_bytes() if file.is_file() else None

    def result(self, host: str) -> HostResult | None:
        """What the apply did; None when the host's task left nothing."""
        file = self._file(host, "result")
        return HostResult.model_validate_json(file.read_bytes()) if file.is_file() else None

    def write(self, file: Path, content: bytes) -> None:
        """Write `file` as a whole, 0600 from the start: a worker may be killed at any moment."""
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
        os.replace(temporary, file)

    def _file(self, host: str, kind: str) -> Path:
        return self.path / f"{hashlib.sha256(host.encode('utf-8', 'surrogatepass')).hexdigest()}.{kind}"


def plan_error(error: HostError) -> PlanError:
    """The plan document's form of a host's error."""
    return PlanError(kind=error.kind, message=str(error))
