"""What each host answered to an apply, and what is still not compliant there."""

from __future__ import annotations

from remediator.plan import HostResult, Outcome, Plan
from remediator.views.findings import section_lines
from remediator.views.interface import Report
from remediator.views.lines import BLANK, Line, line
from remediator.views.sections import Section, sections

_WORDS: dict[Outcome, tuple[str, str]] = {
    "applied": ("applied", "bold green"),
    "rolled_back": ("rolled back", "bold yellow"),
    "stale": ("stale, untouched", "bold yellow"),
    "held": ("held back", "bold magenta"),
    "refused": ("refused, untouched", "bold red"),
    "unreported": ("no answer", "bold red"),
    "broken": ("BROKEN", "bold white on red"),
}


def outcome_lines(report: Report) -> list[Line]:
    """A line for each transaction of each host, with the reason and the service's log where it did not come through.

    Hosts that are broken come before everything else.
    """
    broken = broken_hosts(report)
    lines = [*_broken_lines(broken), line(0, ("What was done", "bold")), BLANK]
    width = max(len(host) for host in report.results)
    first = [(host, report.results[host]) for host in broken]
    for host, result in [*first, *((host, result) for host, result in report.results.items() if host not in broken)]:
        lines += _host_lines(host.ljust(width), result)
    remaining = _remaining(report)
    if remaining:
        lines += [BLANK, line(0, ("What is left", "bold")), BLANK]
        lines += [each for section in remaining for each in section_lines(section, verbose=False)][:-1]
    return lines


def broken_hosts(report: Report) -> list[str]:
    """The hosts that ended broken, or are still from an earlier run: nobody but a person changes anything there."""
    return [host for host, result in report.results.items() if _is_broken(result)]


def _is_broken(result: HostResult) -> bool:
    refused = result.error is not None and result.error.kind == "broken"
    return refused or any(answer.outcome == "broken" for answer in result.results)


def _broken_lines(hosts: list[str]) -> list[Line]:
    """What is wrong there and what to do, said first and loudest."""
    if not hosts:
        return []
    names = ", ".join(hosts)
    release = " ".join(f"--release {host}" for host in hosts)
    return [
        line(0, (f"BROKEN: {names}", _WORDS["broken"][1])),
        line(2, "The old bytes are back there and a service still is not well: a person must look, now."),
        line(2, "Nothing more is changed there until it is repaired and released:"),
        line(4, (f"remediate recover -i INVENTORY {release}", "bold"), wrap=False),
        BLANK,
    ]


def _host_lines(host: str, result: HostResult) -> list[Line]:
    lines = []
    if result.error is not None:
        touched = any(answer.outcome not in ("held", "stale", "refused") for answer in result.results)
        words = "not looked at again: " if touched else "not changed: "
        message = result.error.message.removeprefix(f"{result.host}: ")
        lines.append(line(2, (host, "bold"), "  ", (words, "bold red"), message))
    for answer in result.results:
        words, style = _WORDS[answer.outcome]
        paths = len(answer.paths)
        written = f"  {paths} path{'' if paths == 1 else 's'} written" if paths and answer.outcome == "applied" else ""
        lines.append(line(2, (host, "bold"), f"  {answer.group}  ", (words, style), (written, "dim")))
        if answer.reason:
            lines.append(line(6, (answer.reason, "italic")))
        lines += [line(6, (f"| {text}", "dim"), wrap=False) for text in answer.log.splitlines()]
    return [*lines, *(line(2, (host, "bold"), "  ", note) for note in result.notes)]


def _remaining(report: Report) -> list[Section]:
    """What is still not compliant on the hosts that were looked at again; its diffs stand in the preview."""
    after = tuple(
        result.after.model_copy(update={"transactions": (), "held": ()})
        for result in report.results.values()
        if result.after is not None
    )
    return sections(Plan(controls=report.plan.controls, hosts=after), verbose=False)
