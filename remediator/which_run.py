"""Which run a rollback means. Pure: no I/O, no clock.

What a host says counts for that host alone: whose word decided what `last` means for the others could have any run of
theirs taken back, or none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from remediator.errors import UsageError
from remediator.history import RunRecord, ulid_time
from remediator.own_records import OwnTransactions, RecordedTransaction

LAST = "last"
_LISTS = "`remediate transactions` lists what they hold."
# Controllers' clocks differ a little. A run from later than that was named to be the newest.
_SKEW = timedelta(minutes=5)
_SHOWN = 5


@dataclass(frozen=True)
class Chosen:
    """The run, and what should be known before it is taken back; empty where there is nothing of that kind."""

    run: str
    note: str = ""


def beginning_with(word: str, fleet: Iterable[tuple[str, OwnTransactions]]) -> str:
    """The id of the one run of these hosts that begins with `word`. Raises UsageError where none does, or several."""
    runs = {record.run for _, known in fleet for record in known.records}
    found = sorted((run for run in runs if run.upper().startswith(word.upper())), key=str.upper, reverse=True)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{word} begins the ids of {len(found)} runs: {', '.join(found[:_SHOWN])}. Give more of it.")
    raise UsageError(
        f"There is nothing to roll back: none of these hosts holds a run whose id begins with {word}. {_LISTS}"
    )


def last_run(
    fleet: Sequence[tuple[str, OwnTransactions]], hosts: Collection[str], own: Iterable[RunRecord], now: datetime
) -> Chosen:
    """The newest run that changed something on `hosts` and was no rollback, whether or not it was rolled back since.

    So asked twice, it is the same run. `fleet` is what the hosts that answered hold, `own` this controller's records,
    the newest first: they decide. Where they have no such run, the hosts must agree: each is asked for its own last
    one, of no later than `now`. Raises UsageError where they do not, where there is none, and where no host that
    answered holds the one of the records.
    """
    rollbacks: set[str] = set()
    recorded = _recorded(fleet, hosts, own, rollbacks)
    claimed = _claimed(fleet, rollbacks, now)
    if recorded is not None:
        if not any(record.run == recorded for _, known in fleet for record in known.records):
            raise UsageError(
                f"The last run on these hosts, by this controller's records, is {recorded}, and none of them that "
                f"answered holds anything of it. Name the RUN that you mean: {_LISTS}"
            )
        newer = {run: names for run, names in claimed.items() if run.upper() > recorded.upper()}
        note = f"newer runs, of which this controller has no record, were left out: {_listed(newer)}" if newer else ""
        return Chosen(recorded, note)
    if len(claimed) > 1:
        raise UsageError(
            f"Which run was the last is not sure: these hosts do not agree, and this controller has no record of one. "
            f"They say {_listed(claimed)}. Name the RUN that you mean: {_LISTS}"
        )
    if not claimed:
        raise UsageError(
            f"There is nothing to roll back: none of these hosts holds a run that changed something. {_LISTS}"
        )
    return Chosen(next(iter(claimed)))


def _recorded(
    fleet: Sequence[tuple[str, OwnTransactions]],
    hosts: Collection[str],
    own: Iterable[RunRecord],
    rollbacks: set[str],
) -> str | None:
    """The newest run in `own` that changed something on `hosts`; rollbacks that are newer are added to `rollbacks`."""
    standing = {(host, record.run) for host, known in fleet for record in known.records if _stands(record)}
    for record in own:
        if record.plan.undo is not None:
            rollbacks.add(record.run)
            continue
        applied, unheard = _outcomes(record)
        # Of what nobody reported, a host that was asked for it knows the end.
        if applied.intersection(hosts) or any((host, record.run) in standing for host in unheard):
            return record.run
    return None


def _outcomes(record: RunRecord) -> tuple[set[str], set[str]]:
    """Which hosts said that they changed something, and of which that were asked to it is not known."""
    applied, unheard = set(), set()
    answers = {(result.host, one.group): one.outcome for result in record.results for one in result.results}
    for host in record.plan.hosts:
        outcomes = {answers.get((host.host, each.group)) for each in host.transactions if each.actions}
        if "applied" in outcomes:
            applied.add(host.host)
        elif outcomes.intersection((None, "unreported")):
            unheard.add(host.host)
    return applied, unheard


def _claimed(
    fleet: Iterable[tuple[str, OwnTransactions]], rollbacks: Collection[str], now: datetime
) -> dict[str, list[str]]:
    """The last run of each host by its own word, with the hosts that name it; the newest first."""
    found: dict[str, list[str]] = {}
    latest = (now + _SKEW).astimezone(UTC)
    for host, known in fleet:
        undoing = {record.run for record in known.records if record.undoes}.union(rollbacks)
        runs = {record.run for record in known.records if _stands(record)}.difference(undoing)
        times = {run: ulid_time(run) for run in runs}
        past = [run for run, time in times.items() if time is not None and time <= latest]
        if past:
            found.setdefault(max(past, key=str.upper), []).append(host)
    return dict(sorted(found.items(), key=lambda item: item[0].upper(), reverse=True))


def _stands(record: RecordedTransaction) -> bool:
    """Whether something of it stands, or stood until it was taken back, beside keys in our own directory."""
    return record.applied and any(not entry.pair for entry in record.entries)


def _listed(claimed: dict[str, list[str]]) -> str:
    """Runs with the hosts that name them, as many as a line can take."""
    said = [
        f"{run} ({', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''})"
        for run, names in claimed.items()
    ]
    return ", ".join(said[:_SHOWN]) + (f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else "")
