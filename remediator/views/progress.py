"""What stderr shows while hosts are observed or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from remediator.text import one_line

_SHOWN = 20  # live lines at once: the hosts that were heard of last
_QUICK = 2  # fewer hosts than this need no bar


@contextmanager
def sweep_progress(stream: TextIO, hosts: int) -> Iterator[Callable[[str], None]]:
    """A bar over `hosts` hosts that goes when it is done; nothing where `stream` is no terminal."""
    if not stream.isatty():
        yield lambda host: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(file=stream), transient=True) as progress:
        task = progress.add_task("observing", total=hosts)

        def seen(host: str) -> None:
            description = one_line(host, 40) if hosts >= _QUICK else "observing"
            progress.update(task, advance=1, description=description)

        yield seen


@contextmanager
def apply_progress(stream: TextIO, hosts: Sequence[str]) -> Iterator[Callable[[str, str], None]]:
    """A live line for each host that is being changed; where `stream` is no terminal, a plain line for each event."""
    if not stream.isatty():

        def tell(host: str, text: str) -> None:
            stream.write(f"{one_line(host, 200)}: {one_line(text, 400)}\n")
            stream.flush()

        yield tell
        return
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    latest: dict[str, str] = {}
    width = max(len(one_line(host, 60)) for host in hosts)
    console = Console(file=stream)
    spinner = Spinner("dots")

    def lines() -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(width=1)
        table.add_column(width=width, no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for host, text in list(latest.items())[-min(_SHOWN, max(1, console.height - 2)) :]:
            table.add_row(spinner, Text(one_line(host, 60), style="bold"), Text(one_line(text, 400), style="dim"))
        return table

    with Live(get_renderable=lines, console=console, transient=True, refresh_per_second=8):

        def show(host: str, text: str) -> None:
            latest.pop(host, None)
            latest[host] = text

        yield show
