"""`remediate rollback`: show what takes a run back, ask, and do exactly that."""

from __future__ import annotations

from typing import Any

import click

from remediator.cli import options
from remediator.errors import UsageError
from remediator.inventory_process import InventoryProcess


@click.command(short_help="Take back what a run changed.")
@click.argument("run", metavar="RUN")
@options.connection_options
@options.rollback_options
@options.listing_options
def rollback(**chosen: Any) -> int:
    """Put back what RUN changed: bytes, modes, owners and audit rules, as the hosts' own journals have them.

    RUN is an id or the beginning of one, or `last`: the newest run that changed something on these hosts and was no
    rollback itself, by this controller's records, or as the hosts agree. `remediate transactions` lists them. What
    somebody or a later run changed since is refused by name.
    Ends 0 when all of it is as it was before, 1 when the answer was no, 2 when the call itself is wrong, 3 when
    something is refused, failed, or could not be looked at, 4 when a host changed since the preview, 5 when another run
    holds a host.
    """
    if not chosen["sources"]:
        raise UsageError("rollback changes hosts, so it wants them named: -i INVENTORY (this machine: -i localhost,).")
    if chosen["output"] == "json" and not (chosen["yes"] or chosen["check"]):
        raise UsageError("With --format json nobody sees a preview to approve: look at --check first, then add --yes.")
    access = options.access(chosen, chosen["sources"])
    with InventoryProcess(access) as reading:
        batches = options.batches(chosen)

        from remediator import run
        from remediator.exit_codes import Threshold
        from remediator.rollback import Wish, preview
        from remediator.views import make_view

        view = make_view(chosen["output"], chosen["verbose"])
        wish = Wish(chosen["run"], chosen["controls"], chosen["force"])
        prospect = preview(access, reading, wish, view)
    approach = run.Approach(batches, chosen["reason"], Threshold())
    if chosen["check"]:
        return run.show(prospect, view)

    from remediator.ansible import apply_plan

    return run.apply(prospect, approach, view, options.consent(chosen), apply_plan)
