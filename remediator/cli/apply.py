"""`remediate apply`: show the preview, ask, and make exactly that change."""

from __future__ import annotations

from typing import Any

import click

from remediator.cli import options
from remediator.errors import UsageError
from remediator.inventory_process import InventoryProcess


@click.command(short_help="Show the preview, ask, and apply it.")
@options.fleet_options
@click.option("--yes", is_flag=True, help="Do not ask: yes.")
@options.batch_options[0]
@options.batch_options[1]
@click.option("--reason", default="", metavar="TEXT", help="Why, for the run's record.")
def apply(**chosen: Any) -> int:
    """Show what would change, ask, and make exactly that change: those bytes and no others.

    Only safe changes are made unless --allow consents to more. Ends 0 when nothing is left that it was allowed to do,
    1 when something is or the answer was no, 2 when the call itself is wrong, 3 when a host or a change failed, 4 when
    a host changed since the preview, 5 when another run holds a host.
    """
    if not chosen["sources"]:
        raise UsageError("apply changes hosts, so it wants them named: -i INVENTORY (this machine is -i localhost,).")
    if chosen["output"] == "json" and not chosen["yes"]:
        raise UsageError("With --format json nobody sees a preview to approve: look at check first, then add --yes.")
    access = options.access(chosen, chosen["sources"])
    with InventoryProcess(access) as reading:
        wanted = options.selection(chosen)
        batches = options.batches(chosen)
        threshold = options.threshold(chosen)

        from remediator import run
        from remediator.views import make_view

        view = make_view(chosen["output"], chosen["verbose"])
        prospect = run.preview(access, reading, wanted, view)
    approach = run.Approach(batches, chosen["reason"], threshold)

    from remediator.ansible import apply_plan

    return run.apply(prospect, approach, view, options.consent(chosen), apply_plan)
