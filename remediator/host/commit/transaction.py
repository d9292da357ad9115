"""One transaction from its checks to its proof; or, when anything fails, back to exactly what was there."""

from typing import List, NamedTuple, Sequence, Set

from remediator.host.commit.boot_unit import install_boot_unit
from remediator.host.commit.journal import TRANSACTIONS_DIRECTORY, Journal, begin_journal, forget
from remediator.host.commit.kernel_audit import audit_locked, rule_form
from remediator.host.commit.openssl import require_openssl, require_subject
from remediator.host.commit.outcomes import (
    ChangedKeyError,
    KeyLeftError,
    LeftAloneError,
    NotStartedError,
    Result,
    StepError,
    plain_line,
    system_error,
)
from remediator.host.commit.places import UntrustedError
from remediator.host.commit.planning import Planned, key_source, plan_changes
from remediator.host.commit.preconditions import difference
from remediator.host.commit.refusals import refuse_places, refuse_unchecked_sudoers
from remediator.host.commit.release import mark_broken
from remediator.host.commit.request import Action, Request, Step, Transaction
from remediator.host.commit.restarts import refuse_other_restart
from remediator.host.commit.restore import drop_copies, restore_entries
from remediator.host.commit.staged_pair import KEY_PATH, REQUEST_PATH
from remediator.host.commit.steps import HEALTH_PROBES, activate, check_health, probe, serving_units, settle_seconds
from remediator.host.commit.units import is_stopping, last_log_lines, refuse_foreign_reload, telling_line, unit_is_down
from remediator.host.commit.validations import validate
from remediator.host.commit.work import Work, make_work, validated_staged
from remediator.host.common.serve import ProgramError


class Progress(NamedTuple):
    """How far a transaction got: what was begun, in order, which activations, and what ran before.

    `healthy` is how many seconds a service must be well after a restart.
    """

    done: List[Work]
    activated: List[Step]
    running: Set[str]
    healthy: float

    @property
    def settle(self) -> float:
        """How long what was activated so far must stay well; 0 where nothing was."""
        return settle_seconds(self.activated, self.healthy)


def commit_transaction(transaction: Transaction, request: Request, program: bytes) -> Result:
    """Carries out one transaction whose preconditions held. Raises nothing: every end is an outcome.

    `program` is the text of this program, for the boot unit: that is there before the journal is.
    """
    progress = Progress([], [], set(), request.healthy_seconds)
    try:
        check_transaction(transaction, request)
        progress.running.update(check_health(transaction))
        hold_foreign_reload(transaction)
        refuse_other_restart(transaction)
        planned = plan_changes(transaction, request.secret)
        install_boot_unit(program)
        journal = begin_journal(request, transaction, planned.entries, sorted(progress.running))
    except NotStartedError as stop:
        return make_result(transaction, stop.outcome, stop.reason)
    except (StepError, OSError, UntrustedError) as error:
        return make_result(transaction, "refused", failure_reason(error))
    except ProgramError as error:
        return make_result(transaction, "refused", error.message)
    try:
        carry_out(transaction, progress, planned, journal, request.secret)
        result = make_result(transaction, "applied", "")
        journal.end(result)
    # Whatever went wrong, a defect of ours included: the host must be put back before anything is said.
    except Exception as error:  # noqa: BLE001
        return roll_back(transaction, progress, journal, error)
    left = keep_all(progress)
    if left:
        journal.close()  # beside its record, for the next contact to end this
    else:
        left = close_journal(journal, applied=True)
    return result._replace(reason="; ".join(left))


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
    refuse_unchecked_sudoers(transaction)
    for action in transaction.actions:
        check_key(action, request.secret)


def key_difference(action: Action, secret: bytes) -> str:
    """How the key of an install_key differs from the previewed one; empty where it does not.

    A key that is not there or cannot serve is no difference: it is its own transaction's refusal.
    """
    if action.do == "install_key":
        try:
            key_source(action, secret).key()
        except ChangedKeyError as error:
            return plain_line(action.path or "") + ": " + str(error)
        except (StepError, OSError):
            pass
    return ""


def check_key(action: Action, secret: bytes) -> None:
    """Raises StepError where a key could not be made or cannot serve, NotStartedError (stale) where it is another."""
    if action.do == "make_key":
        require_subject(action.subject or "")
        require_openssl()
    elif action.do == "install_key":
        words = key_difference(action, secret)
        if words:
            raise NotStartedError("stale", words)
        key_source(action, secret).key()


def hold_foreign_reload(transaction: Transaction) -> None:
    """Raises NotStartedError (held) where the transaction's daemon-reload would activate other people's unit files."""
    for step in transaction.activation:
        if step.do == "daemon_reload":
            refuse_foreign_reload(step.names or ())


def carry_out(transaction: Transaction, progress: Progress, planned: Planned, journal: Journal, secret: bytes) -> None:
    """Writes, validates, activates and probes. Raises StepError, OSError, UntrustedError."""
    for action in transaction.actions:
        work = make_work(transaction, action, planned, journal.directory, secret)
        progress.done.append(work)
        work.do()
    for work in progress.done:
        work.settle()
    for step in transaction.validation:
        if not validated_staged(transaction, step):
            validate(step, transaction.resolved(step.path or ""))
    if transaction.activation:
        journal.note_activating()
    for step in transaction.activation:
        progress.activated.append(step)
        activate(step)
    for step in transaction.probe:
        path = transaction.resolved(step.path) if step.do in ("mode_is", "mutual_tls") and step.path else None
        probe(step, path, progress.running, progress.settle)


def roll_back(transaction: Transaction, progress: Progress, journal: Journal, failure: Exception) -> Result:
    """Puts everything back in reverse order, activates that again, and sees whether the services are well."""
    reason = failure_reason(failure)
    journal.withdraw()
    began = any(work.changed for work in progress.done) or bool(progress.activated)
    log = failure_log(transaction) if progress.activated else ""
    if log:
        reason += down_because(transaction, log)
    restored = restore_entries(journal.entries, journal.directory)
    trouble = list(restored.trouble)
    left_alone = "; left as it is: " + "; ".join(restored.left_alone) if restored.left_alone else ""
    if not began and not trouble:
        forget(journal)
        return make_result(transaction, "refused", reason + left_alone)
    if is_stopping():
        # Nothing starts any more until the next boot, and then from the old bytes.
        left_alone += "; the host is shutting down, so nothing was restarted"
    elif began:
        trouble += activate_again(progress.activated, transaction.probe, progress.running, progress.settle)
    if progress.activated:
        log = both_logs(log, transaction)
    if trouble:
        words = reason + "; putting it back did not help: " + "; ".join(trouble) + left_alone
        result = make_result(transaction, "broken", words, log)
        mark_broken(journal, result)
        if restored.trouble:
            return leave_open(journal, result)
    else:
        result = make_result(transaction, "rolled_back", reason + left_alone, log)
    return result._replace(reason="; ".join([result.reason] + end_journal(journal, result)))


def activate_again(activation: Sequence[Step], probes: Sequence[Step], running: Set[str], settle: float) -> List[str]:
    """Has the services read what is there again; what is not well for `settle` seconds afterwards, in words."""
    trouble = []
    for step in activation:
        try:
            activate(step)
        except (StepError, OSError) as error:
            trouble.append(failure_reason(error))
    return trouble + unhealthy(probes, running, settle)


def unhealthy(probes: Sequence[Step], running: Set[str], settle: float) -> List[str]:
    """What is not well after everything was put back."""
    found: List[str] = []
    for step in probes:
        if step.do not in HEALTH_PROBES:
            continue
        try:
            # What is not well by then has had its time: the others are not waited for as well.
            probe(step, None, running, 0.0 if found else settle)
        except (StepError, OSError) as error:
            found.append(failure_reason(error))
    return found


def leave_open(journal: Journal, result: Result) -> Result:
    """Closes a journal without an end, because bytes could not be put back: whoever comes next tries that again."""
    journal.close()
    return result._replace(reason=result.reason + "; its journal stays open, and the next recovery tries again")


def end_journal(journal: Journal, result: Result, given_up: bool = False) -> List[str]:
    """Puts down how it ended and closes the journal; what could not be done of that, in words.

    `given_up`: not everything was put back, so that the backups stay, for a person.
    """
    try:
        journal.end(result)
    except OSError as error:
        journal.close()
        return [system_error("its journal stays open, since its end could not be recorded: " + journal.name, error)]
    if not given_up:
        return close_journal(journal, applied=False)
    try:
        journal.tidy(keep=True)
    except OSError as error:
        return [system_error("our own directory for it could not be tidied: " + journal.name, error)]
    finally:
        journal.close()
    return ["what was there before is kept in %s/%s" % (TRANSACTIONS_DIRECTORY, journal.name)]


def close_journal(journal: Journal, applied: bool) -> List[str]:
    """Drops what only an open transaction needs; what could not be done of that, in words.

    A copy that could not be dropped keeps the journal beside its record, for the next contact to tidy up after.
    """
    left = drop_copies(journal.entries) if applied else []
    if left:
        journal.close()
        return left
    try:
        journal.tidy(keep=applied)
    except OSError as error:
        return [system_error("our own directory for it could not be tidied: " + journal.name, error)]
    finally:
        journal.close()
    return []


def keep_all(progress: Progress) -> List[str]:
    """Ends each work of a transaction that stands; what could not be removed, in words."""
    left = []
    for work in progress.done:
        try:
            work.keep()
        except KeyLeftError as error:
            left.append(plain_line(str(error), 1000))
        except (StepError, OSError) as error:
            left.append(failure_reason(error))
    return left


def failure_log(transaction: Transaction) -> str:
    """The last lines of the transaction's first service."""
    units = serving_units(transaction)
    return last_log_lines(units[0]) if units else ""


def both_logs(first: str, transaction: Transaction) -> str:
    """What the service said with the new bytes, and then with the old ones."""
    second = failure_log(transaction)
    if not first or not second or second == first:
        return second or first
    return first + "\nWith the old bytes back:\n" + second


def down_because(transaction: Transaction, log: str) -> str:
    """What the first service says of itself in `log`, where it is down: systemd's words seldom tell why."""
    words = telling_line(log)
    return "; its log says: " + words if words and unit_is_down(serving_units(transaction)[0]) else ""


def failure_reason(failure: Exception, path: str = "") -> str:
    """A failure as one sentence without contents."""
    if isinstance(failure, OSError):
        name = failure.filename if isinstance(failure.filename, str) and failure.filename[:6] != "/proc/" else path
        return system_error(plain_line(name or path or "a path of this transaction"), failure)
    if isinstance(failure, (StepError, LeftAloneError, UntrustedError, NotStartedError)):
        return plain_line(str(failure), 1000)
    return "a defect of remediator's own (%s)" % type(failure).__name__


def make_result(transaction: Transaction, outcome: str, reason: str, log: str = "") -> Result:
    """The transaction's end."""
    paths = [path for action in transaction.actions for path in written_paths(action)]
    written = list(dict.fromkeys(paths)) if outcome == "applied" else []
    return Result(transaction.group, outcome, reason, transaction.digest, written, log)


def written_paths(action: Action) -> List[str]:
    """The paths that an action writes."""
    if action.do == "make_key":
        return [KEY_PATH, REQUEST_PATH]
    return [action.path] if action.path is not None else []
