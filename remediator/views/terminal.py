"""The view for people: colours and wrapped lines on a terminal, the same words plain where there is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TextIO

from rich.text import Text

from remediator.errors import UsageError
from remediator.plan import HostPlan, Plan
from remediator.text import visible
from remediator.views.alerts import alert_lines
from remediator.views.closing import after_lines, closing_lines
from remediator.views.findings import nothing_here_lines, section_lines, unreached_lines
from remediator.views.interface import Report
from remediator.views.lines import BLANK, Line
from remediator.views.outcomes import outcome_lines
from remediator.views.output import write
from remediator.views.progress import apply_progress, sweep_progress
from remediator.views.rollback import rollback_lines, rolled_back_lines
from remediator.views.sections import runs_nothing, sections
from remediator.views.summary import summary_lines

if TYPE_CHECKING:
    from rich.console import Console

    from remediator.catalogue import Control
    from remediator.held import HeldTransactions
    from remediator.threats import Threat


class TerminalView:
    """`--format text`. Plain without a terminal, with NO_COLOR, and on a dumb one; `width` is for pictures."""

    def __init__(self, stdout: TextIO, stderr: TextIO, verbose: bool, width: int | None = None) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._verbose = verbose
        self._width = width

    def sweeping(self, hosts: int) -> AbstractContextManager[Callable[[str], None]]:
        """See View."""
        return sweep_progress(self._stderr, hosts)

    def applying(self, hosts: Sequence[str]) -> AbstractContextManager[Callable[[str, str], None]]:
        """See View."""
        return apply_progress(self._stderr, hosts)

    def checked(self, plan: Plan, next_command: str) -> None:
        """See View."""
        self._print([*self._preview(plan), *closing_lines(plan, next_command)])

    def previewed(self, plan: Plan) -> None:
        """See View."""
        if not self._print(self._preview(plan)):
            raise UsageError("Nobody read the preview (stdout was closed), so nothing was changed.")

    def applied(self, report: Report) -> None:
        """See View."""
        lines: list[Line] = []
        if report.ended == "applied":
            lines += outcome_lines(report)
        if report.plan.undo is not None:
            self._print([*lines, *([BLANK] if lines else []), *rolled_back_lines(report, report.plan.undo)])
            return
        if report.ended == "applied":
            hosts = [_after(report, host) for host in report.plan.hosts]
            lines += [BLANK, *summary_lines(hosts), BLANK]
        self._print([*lines, *after_lines(report)])

    def transactions(self, fleet: Sequence[HeldTransactions]) -> None:
        """See View."""
        from remediator.views.transactions import transactions_lines

        self._print(transactions_lines(fleet, self._verbose))

    def listed(self, controls: Sequence[Control]) -> None:
        """See View."""
        from remediator.views.controls import listing_lines

        self._print(listing_lines(controls))

    def explained(self, controls: Sequence[Control], threats: Mapping[str, Threat]) -> None:
        """See View."""
        from remediator.views.controls import explanation_lines

        self._print(explanation_lines(controls, threats))

    def warn(self, message: str) -> None:
        """See View."""
        write(self._stderr, f"remediate: {visible(message)}\n")

    def _preview(self, plan: Plan) -> list[Line]:
        if plan.undo is not None:
            return rollback_lines(plan, plan.undo, self._verbose)
        idle = [host.host for host in plan.hosts if runs_nothing(host)]
        lines = alert_lines(plan.hosts)
        lines += [each for section in sections(plan, self._verbose) for each in section_lines(section, self._verbose)]
        if idle:
            lines += nothing_here_lines(idle)
            if len(idle) == len(plan.hosts):
                return lines
            lines.append(BLANK)
        unreached = unreached_lines(plan)
        return [*lines, *unreached, *([BLANK] if unreached else []), *summary_lines(plan.hosts), BLANK]

    def _print(self, lines: Iterable[Line]) -> bool:
        """Write the lines; whether there was a reader."""
        return write(self._stdout, self._rendered(lines))

    def _rendered(self, lines: Iterable[Line]) -> str:
        if _plain(self._stdout):
            return "".join(f"{' ' * line.indent}{line.text.plain}".rstrip() + "\n" for line in lines)
        from rich.console import Console  # costs start-up time that a pipe need not pay

        console = Console(
            file=self._stdout, width=self._width, force_terminal=True, markup=False, highlight=False, emoji=False
        )
        with console.capture() as page:
            for line in lines:
                for number, text in enumerate(_broken(line, console)):
                    console.print(Text(" " * (line.indent + (line.hang if number else 0))) + text, soft_wrap=True)
        return page.get()


def _plain(stream: TextIO) -> bool:
    """Whether colours are unwanted (no-color.org) or `stream` shows none; FORCE_COLOR is for pictures and CI logs."""
    if os.environ.get("NO_COLOR"):
        return True
    if os.environ.get("FORCE_COLOR"):
        return False
    return not stream.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown")


def _broken(line: Line, console: Console) -> Iterable[Text]:
    """The line as the terminal's width asks for it."""
    if not line.wrap or line.indent + line.text.cell_len <= console.width:
        return [line.text]
    return line.text.wrap(console, max(20, console.width - line.indent - line.hang))


def _after(report: Report, host: HostPlan) -> HostPlan:
    """The host as last seen: after the change where it was looked at again, else as previewed."""
    result = report.results.get(host.host)
    if result is None:
        return host
    if result.after is not None:
        return result.after
    return host.model_copy(update={"error": result.error}) if result.error is not None else host
