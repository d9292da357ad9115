"""`remediate check`: what every host looks like, and the exact bytes that would change. Changes nothing."""

from __future__ import annotations

from typing import Any

import click

from remediator.cli import options
from remediator.inventory_process import InventoryProcess


@click.command(short_help="Preview what would change.")
@options.fleet_options
@click.pass_context
def check(context: click.Context, /, **chosen: Any) -> int:
    """Show every verdict, and the exact bytes that an apply would change on every host. Changes nothing.

    Without -i it looks at this machine. Ends 0 when nothing has drifted, 1 on drift, 3 when a host could not be
    reached or a verdict stays unknown, 2 when the call itself is wrong.
    """
    sources = chosen["sources"] or (options.LOCALHOST,)
    access = options.access(chosen, sources)
    # Ansible loads the inventory meanwhile: that takes as long as all that follows here.
    with InventoryProcess(access) as reading:
        wanted = options.selection(chosen)
        threshold = options.threshold(chosen)

        from remediator import exit_codes, run
        from remediator.views import make_view

        view = make_view(chosen["output"], chosen["verbose"])
        prospect = run.preview(access, reading, wanted, view)
    view.checked(prospect.plan, options.apply_command(context, sources))
    return exit_codes.of_check(prospect.plan, threshold)
