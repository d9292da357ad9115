"""`remediate transactions`: what each host's own journal holds of what was done to it. Changes nothing."""

from __future__ import annotations

from typing import Any

import click

from remediator.cli import options
from remediator.inventory_process import InventoryProcess


@click.command(short_help="List what was done to each host.")
@options.connection_options
@options.listing_options
def transactions(**chosen: Any) -> int:
    """List the transactions that each host holds: run, when, who, why, outcome and paths. Changes nothing.

    Without -i it looks at this machine. Interrupted ones and broken hosts come first. Ends 0 when there is none, 3 when
    there is one or a host could not be looked at, 2 when the call itself is wrong. The journal is root's alone.
    """
    access = options.access(chosen, chosen["sources"] or (options.LOCALHOST,))
    with InventoryProcess(access) as reading:
        from remediator.catalogue import load_catalogue
        from remediator.fleet import warm_up
        from remediator.held import NEEDS, exit_code, held_by_fleet
        from remediator.views import make_view

        view = make_view(chosen["output"], chosen["verbose"])
        warm_up(NEEDS, access)
        inventory = reading.load(load_catalogue().defaults)
    with view.sweeping(len(inventory.hosts)) as seen:
        fleet = held_by_fleet(inventory, access, seen)
    view.transactions(fleet)
    return exit_code(fleet)
