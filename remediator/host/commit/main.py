"""A host's whole commit: its lock, what was interrupted before, every precondition, then transaction by transaction."""

import os
import resource
import signal
from typing import Any, Callable, Dict, List, Optional

from remediator.host.commit.boot_unit import remove_boot_unit
from remediator.host.commit.collect import collect, refuse_closed
from remediator.host.commit.journal import open_journals, recorded
from remediator.host.commit.lock import take_lock
from remediator.host.commit.outcomes import Result, StepError, system_error
from remediator.host.commit.preconditions import difference
from remediator.host.commit.pruning import prune, remove_unbegun
from remediator.host.commit.purge import purge
from remediator.host.commit.record import log_result
from remediator.host.commit.recovery import Recovered, recover_all
from remediator.host.commit.release import refuse_broken, release_broken
from remediator.host.commit.request import Request, Transaction, bad_request, parse_request
from remediator.host.commit.transaction import commit_transaction, key_difference, make_result
from remediator.host.common.serve import ProgramError


def handle(document: Dict[str, Any], secret: bytes, program: bytes) -> Dict[str, Any]:
    """The answer to a request. Raises ProgramError: `request`, `become`, `state`, `locked`, `broken`, `open`.

    `secret` is the private key (PEM) that an install_key of source `controller` moves into place; else it is empty.
    `program` is the text of this program, for the boot unit; empty where it came as compiled code.
    """
    do = document.get("do", "commit") if isinstance(document, dict) else None
    task = TASKS.get(do) if isinstance(do, str) else None
    if task is None:
        raise bad_request("it asks for something that commit does not do")
    if do == "boot":
        document = dict(document, run="boot", host="")
    if do != "commit":
        document = dict({"who": "", "reason": "", "roots": [], "transactions": []}, **document)
    request = parse_request(document, secret)
    if os.geteuid() != 0:
        raise ProgramError("become", "changing a host needs root there: give -b, or log in as root")
    make_ready()
    # Whoever only asks what became of a run waits for its lock instead of refusing.
    lock = take_lock(request) if do != "collect" else None
    try:
        answer = task(request, document, program)
    finally:
        if lock is not None:
            os.close(lock)
    return dict({"format_version": 1, "run": request.run, "host": request.host, "results": []}, **answer)


def make_ready() -> None:
    """This process as a commit needs it."""
    os.umask(0o077)
    # Every changed path may keep a descriptor until its transaction ends.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A connection that is cut, or a Ctrl-C that reaches us, must not end a transaction in its middle. Handlers rather
    # than SIG_IGN: the host's own programs that are started here must not inherit deafness.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)


def do_commit(request: Request, _document: Dict[str, Any], program: bytes) -> Dict[str, Any]:
    """Recovers what was interrupted, then commits. Old records go only where the request says how many to keep."""
    refuse_closed(request)
    recovered = recover_interrupted(False)
    refuse_broken()
    for item in recovered:
        if item.result.outcome == "broken":  # its mark could not be put up
            raise ProgramError("broken", item.result.reason)
    results = commit_all(request, program)
    if request.keep is not None:
        prune(*request.keep)
    return answer_of(results, recovered)


def do_recover(_request: Request, document: Dict[str, Any], _program: bytes) -> Dict[str, Any]:
    """Recovers what was interrupted; with `release`, takes the mark of a broken host away.

    Not where recovering ended broken just now: whoever releases the host has not seen that yet.
    """
    release = document.get("release") is True
    recovered = recover_interrupted(False, release)
    broken = any(item.result.outcome == "broken" for item in recovered)
    try:
        released = release and not broken and release_broken()
    except OSError as error:
        raise ProgramError("state", system_error("broken.json", error))
    return dict(answer_of([], recovered), released=released)


def do_boot(_request: Request, _document: Dict[str, Any], _program: bytes) -> Dict[str, Any]:
    """Recovers before anything starts from the files."""
    return answer_of([], recover_interrupted(True))


def do_collect(request: Request, _document: Dict[str, Any], _program: bytes) -> Dict[str, Any]:
    """Tells what became of the request's run."""
    return collect(request)


def do_purge(request: Request, _document: Dict[str, Any], _program: bytes) -> Dict[str, Any]:
    """Takes our traces off."""
    return purge(request)


RECORDED_TEXTS = ("group", "outcome", "reason", "digest", "log")
Task = Callable[[Request, Dict[str, Any], bytes], Dict[str, Any]]
TASKS: Dict[str, Task] = {
    "commit": do_commit,
    "recover": do_recover,
    "collect": do_collect,
    "purge": do_purge,
    "boot": do_boot,
}


def answer_of(results: List[Result], recovered: List[Recovered]) -> Dict[str, Any]:
    """The results as they stand in the answer."""
    return {
        "results": [result.document() for result in results],
        "recovered": [item.document() for item in recovered],
    }


def recover_interrupted(at_boot: bool, give_up: bool = False) -> List[Recovered]:
    """Rolls back what was interrupted, and takes away what one left that was killed before it had a journal.

    The boot unit goes once nothing is open: it may be there without a journal.
    """
    recovered = recover_all(at_boot, give_up)
    remove_unbegun()
    end_boot_unit()
    return recovered


def end_boot_unit() -> None:
    """Removes the boot unit where no journal is open any more."""
    try:
        journals = open_journals()
    except (OSError, ProgramError):
        return
    for journal in journals:
        journal.close()
    if not journals:
        remove_boot_unit()


def commit_all(request: Request, program: bytes) -> List[Result]:
    """Every transaction's result, in order. One that ends `broken` holds back those after it."""
    done = {
        item.group: result for item in request.transactions for result in [recorded_result(request, item)] if result
    }
    due = [item for item in request.transactions if item.group not in done]
    differences = [difference(wanted) for item in due for wanted in item.preconditions]
    differences += [key_difference(act, request.secret) for item in due for act in item.actions]
    changed = [words for words in differences if words]
    if changed:
        reason = "; ".join(changed[:3]) + ("; and %d more" % (len(changed) - 3) if len(changed) > 3 else "")
        done.update((item.group, make_result(item, "stale", reason)) for item in due)
    elif due:
        commit_due(due, request, program, done)
    return [done[item.group] for item in request.transactions]


def commit_due(due: List[Transaction], request: Request, program: bytes, done: Dict[str, Result]) -> None:
    """Carries out these transactions, and notes their results in `done`."""
    for transaction in due:
        broken = next((result.group for result in done.values() if result.outcome == "broken"), None)
        if broken is not None:
            reason = "transaction %s before it ended broken" % broken
            done[transaction.group] = make_result(transaction, "held", reason)
            continue
        result = done[transaction.group] = commit_transaction(transaction, request, program)
        log_result(request, transaction, result)
    end_boot_unit()


def recorded_result(request: Request, transaction: Transaction) -> Optional[Result]:
    """How this transaction of this run ended, where it was done before: asking again does nothing again."""
    try:
        record = recorded(request.run, transaction.group)
    except (OSError, ValueError, StepError, RecursionError):
        return make_result(transaction, "refused", "the record of this run's transaction here cannot be read")
    if record is None:
        return None
    found = record.get("result")
    if record.get("digest") != transaction.digest or not isinstance(found, dict):
        return make_result(transaction, "refused", "this run has done another transaction of this name here")
    group, outcome, reason, digest, log = (str(found.get(name, "")) for name in RECORDED_TEXTS)
    paths = found.get("paths")
    return Result(group, outcome, reason, digest, [str(path) for path in paths or ()], log)
