"""What commit is asked on a host, and what it answers: one JSON document each way."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from remediator.errors import HostError
from remediator.plan import Outcome, Transaction, TransactionResult
from remediator.policy import Policy
from remediator.text import one_line, visible


@dataclass(frozen=True)
class Order:
    """Who asks for a commit, in which run and why: what the host's journal will say. `undoes` is the run taken back."""

    run: str
    who: str
    reason: str
    undoes: str = ""


@dataclass(frozen=True)
class Committed:
    """What came back: a result for each transaction, and in words what was put back of runs that were interrupted."""

    results: tuple[TransactionResult, ...]
    notes: tuple[str, ...] = ()


class HostAnswer(BaseModel):
    """What every answer of the commit program holds: its run and host, as they were asked."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: Literal[1]
    run: str
    host: str


class RecoveredTransaction(BaseModel):
    """One interrupted transaction, and how putting it back ended: `rolled_back`, or `broken`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
    group: str
    outcome: Outcome
    reason: str = ""
    paths: tuple[str, ...] = ()
    log: str = ""


class _CommitAnswer(HostAnswer):
    results: tuple[TransactionResult, ...]
    recovered: tuple[RecoveredTransaction, ...] = Field(default=(), max_length=1000)


AnswerT = TypeVar("AnswerT", bound=HostAnswer)


def read_answer(form: type[AnswerT], host: str, run: str, answer: bytes) -> AnswerT:
    """The host's answer as a document of that form. Raises HostError (`answer`) where it is none, or another run's."""
    try:
        # A service's last words may be no Unicode (lone surrogates): that must not cost the outcome.
        text = json.dumps(json.loads(answer), ensure_ascii=False).encode("utf-8", "replace")
        found = form.model_validate_json(text)
    except (ValidationError, ValueError, RecursionError):
        found = None
    if found is None or found.run != run or found.host != host:
        raise HostError(host, "answer", f"{host}: what came back is no answer to this run. Run this again.")
    return found


def commit_request(host: str, due: Iterable[Transaction], order: Order, policy: Policy | None) -> bytes:
    """The request document for commit: ASCII JSON.

    `policy` is the host's own; None where nothing but our own directory is written: nothing else is permitted then, and
    no old record is removed.
    """
    transactions = [{**t.model_dump(mode="json"), "digest": t.digest} for t in due]
    document: dict[str, Any] = {
        "format_version": 1,
        "run": order.run,
        "host": host,
        "roots": [],
        "who": order.who,
        "reason": order.reason,
        "undoes": order.undoes,
        "transactions": transactions,
    }
    if policy is not None:
        document["roots"] = list(policy.roots)
        document["healthy_seconds"] = policy.healthy_seconds
        document["keep"] = {"count": policy.keep, "days": policy.keep_days}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def read_commit(host: str, answer: bytes, due: tuple[Transaction, ...], run: str) -> Committed:
    """One result for each transaction that was sent, made harmless to show; what was not answered is `unreported`.

    Raises HostError (`answer`) when the host's answer is no such document or another run's.
    """
    document = read_answer(_CommitAnswer, host, run, answer)
    answered = {result.digest: result for result in document.results}
    results = tuple(
        harmless(transaction, answered[transaction.digest])
        if transaction.digest in answered
        else unreported(transaction, "the host did not answer for it")
        for transaction in due
    )
    return Committed(results, tuple(_note(each) for each in document.recovered))


def _note(found: RecoveredTransaction) -> str:
    ended = found.outcome.replace("_", " ")
    return one_line(f"before this, {found.group} of run {found.run} ended {ended}: {found.reason}", 1000)


def result_of(transaction: Transaction, outcome: Outcome, reason: str) -> TransactionResult:
    """A result that the controller itself gives a transaction."""
    return TransactionResult(group=transaction.group, outcome=outcome, reason=reason, digest=transaction.digest)


def unreported(transaction: Transaction, why: str) -> TransactionResult:
    """The result of a transaction of which nobody knows whether it was done."""
    return result_of(transaction, "unreported", f"it may have been done or not ({one_line(why, 500)}); check this host")


def harmless(transaction: Transaction, answer: TransactionResult) -> TransactionResult:
    """A host's result, bounded and made harmless to show."""
    return answer.model_copy(
        update={
            "group": transaction.group,
            "reason": one_line(answer.reason, 1000),
            "log": visible(answer.log, 16384),
            "paths": tuple(one_line(path) for path in answer.paths[:1000]),
        }
    )
