"""One transaction from its checks to its proof; or, when anything fails, back to exactly what was there."""

from typing import List, NamedTuple, Optional, Set, Tuple, Union

from remediator.host.commit.access import AccessChange
from remediator.host.commit.files import DirectoryMade, FileRemoval, FileWrite
from remediator.host.commit.kernel_audit import RuleChange, audit_locked, rule_form
from remediator.host.commit.outcomes import LeftAloneError, NotStartedError, Result, StepError, plain_line, system_error
from remediator.host.commit.places import UntrustedError
from remediator.host.commit.preconditions import difference
from remediator.host.commit.refusals import refuse_places
from remediator.host.commit.request import Action, Request, Step, Transaction
from remediator.host.commit.steps import HEALTH_PROBES, activate, check_health, probe, serving_units, validate
from remediator.host.commit.units import last_log_lines, refuse_foreign_reload

Work = Union[FileWrite, FileRemoval, DirectoryMade, AccessChange, RuleChange]


class Progress(NamedTuple):
    """How far a transaction got: what was begun, in order, what ran before, and our copies of files."""

    done: List[Work]
    activated: List[Step]
    running: Set[str]
    copies: Set[Tuple[int, int]]


def commit_transaction(transaction: Transaction, request: Request) -> Result:
    """Carries out one transaction whose preconditions held. Raises nothing: every end is an outcome."""
    progress = Progress([], [], set(), set())
    try:
        check_transaction(transaction, request)
        progress.running.update(check_health(transaction))
        hold_foreign_reload(transaction)
    except NotStartedError as stop:
        return make_result(transaction, stop.outcome, stop.reason)
    except (StepError, OSError) as error:
        return make_result(transaction, "refused", failure_reason(error))
    try:
        carry_out(transaction, progress)
    # Whatever went wrong, a defect of ours included: the host must be put back before anything is said.
    except Exception as error:  # noqa: BLE001
        return roll_back(transaction, progress, error)
    close_all(progress, keep=True)
    return make_result(transaction, "applied", "")


def check_transaction(transaction: Transaction, request: Request) -> None:
    """What must hold just before the first write. Raises NotStartedError, StepError."""
    refuse_places(transaction, request.roots)
    for wanted in transaction.preconditions:
        words = difference(wanted)
        if words:
            raise NotStartedError("stale", words)
    rules = [action.rule for action in transaction.actions if action.rule]
    for rule in rules:
        rule_form(rule)
    if rules and audit_locked():
        raise NotStartedError("refused", "the kernel's audit rules are locked (enabled 2) until the next reboot")


def hold_foreign_reload(transaction: Transaction) -> None:
    """Raises NotStartedError (held) where the transaction's daemon-reload would activate other people's unit files."""
    for step in transaction.activation:
        if step.do == "daemon_reload":
            refuse_foreign_reload(step.names or ())


def carry_out(transaction: Transaction, progress: Progress) -> None:
    """Writes, validates, activates and probes. Raises StepError, OSError, UntrustedError."""
    for action in transaction.actions:
        work = make_work(transaction, action, progress.copies)
        progress.done.append(work)
        work.do()
    for work in progress.done:
        work.settle()
    for step in transaction.validation:
        validate(step, transaction.resolved(step.path or ""))
    for step in transaction.activation:
        progress.activated.append(step)
        activate(step)
    for step in transaction.probe:
        path = transaction.resolved(step.path) if step.do == "mode_is" and step.path else None
        probe(step, path, progress.running, bool(progress.activated))


def make_work(transaction: Transaction, action: Action, copies: Set[Tuple[int, int]]) -> Work:
    """The work of one action. Raises StepError on an action that is not in the closed set."""
    if action.rule is not None:
        return RuleChange(action.rule, action.do == "audit_add")
    path = transaction.resolved(action.path or "")
    wanted = next((found for found in transaction.preconditions if found.path == action.path), None)
    kind = wanted.type if wanted is not None and wanted.type != "missing" else "file"
    if action.do == "chmod":
        return AccessChange(path, kind_made(transaction, action, kind), action.mode, None, copies)
    if action.do == "chown":
        return AccessChange(
            path, kind_made(transaction, action, kind), None, (action.uid or 0, action.gid or 0), copies
        )
    if action.do == "remove":
        return FileRemoval(path)
    access = (action.mode or 0, action.uid or 0, action.gid or 0)
    if action.do == "mkdir":
        return DirectoryMade(path, *access)
    if action.do == "write" and action.content is not None:
        return FileWrite(path, action.content, access, wanted.sha256 if wanted is not None else None, copies)
    raise StepError("commit has no action " + plain_line(action.do))


def kind_made(transaction: Transaction, action: Action, kind: str) -> str:
    """What an action's path is by then: a directory where this transaction makes one."""
    made = any(other.do == "mkdir" and other.path == action.path for other in transaction.actions)
    return "directory" if made else kind


def roll_back(transaction: Transaction, progress: Progress, failure: Exception) -> Result:
    """Puts everything back in reverse order, activates that again, and sees whether the services are well."""
    reason = failure_reason(failure)
    began = any(work.changed for work in progress.done) or bool(progress.activated)
    log = failure_log(transaction) if progress.activated else ""
    trouble = []
    for work in reversed(progress.done):
        try:
            work.revert()
        except (LeftAloneError, StepError, OSError, UntrustedError) as error:
            trouble.append(failure_reason(error, work.path))
    for step in progress.activated:
        try:
            activate(step)
        except (StepError, OSError) as error:
            trouble.append(failure_reason(error))
    if began:
        trouble += unhealthy(transaction, progress)
    close_all(progress, keep=False)
    if trouble:
        words = reason + "; putting it back did not help: " + "; ".join(trouble)
        return make_result(transaction, "broken", words, log)
    return make_result(transaction, "rolled_back" if began else "refused", reason, log)


def unhealthy(transaction: Transaction, progress: Progress) -> List[str]:
    """What is not well after everything was put back."""
    found = []
    for step in transaction.probe:
        if step.do not in HEALTH_PROBES:
            continue
        try:
            probe(step, None, progress.running, bool(progress.activated))
        except (StepError, OSError) as error:
            found.append(failure_reason(error))
    return found


def failure_log(transaction: Transaction) -> str:
    """The last lines of the transaction's first service."""
    units = serving_units(transaction)
    return last_log_lines(units[0]) if units else ""


def failure_reason(failure: Exception, path: str = "") -> str:
    """A failure as one sentence without contents."""
    if isinstance(failure, OSError):
        name = failure.filename if isinstance(failure.filename, str) and failure.filename[:6] != "/proc/" else path
        return system_error(plain_line(name or path or "a path of this transaction"), failure)
    if isinstance(failure, (StepError, LeftAloneError, UntrustedError, NotStartedError)):
        return plain_line(str(failure), 1000)
    return "a defect of remediator's own (%s)" % type(failure).__name__


def close_all(progress: Progress, keep: bool) -> None:
    """Drops what was set aside for putting back (`keep`: the new state stands) and closes what is open."""
    for work in progress.done:
        if keep:
            try:
                work.keep()
            except OSError:
                pass  # a staged copy more: the next write of this path sweeps it
        work.close()


def make_result(transaction: Transaction, outcome: str, reason: str, log: str = "") -> Result:
    """The transaction's end."""
    paths: List[Optional[str]] = [action.path for action in transaction.actions] if outcome == "applied" else []
    written = list(dict.fromkeys(path for path in paths if path is not None))
    return Result(transaction.group, outcome, reason, transaction.digest, written, log)
