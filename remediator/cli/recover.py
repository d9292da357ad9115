"""`remediate recover`: put back what was interrupted on hosts, and release those that are repaired."""

from __future__ import annotations

import sys
from typing import Any

import click

from remediator.cli import options
from remediator.errors import UsageError
from remediator.inventory_process import InventoryProcess


@click.command(short_help="Put back what was interrupted on hosts.")
@options.connection_options
@click.option("--release", "released", multiple=True, metavar="HOST", help="This broken host is repaired: release it.")
@options.errand_options
@options.listing_options
def recover(**chosen: Any) -> int:
    """Show which hosts hold an interrupted change or are broken, ask, and put back what was interrupted.

    A host that is broken is changed by nobody until a person has repaired it and --release names it. Ends 0 when
    nothing is left to recover, 1 when the answer was no, 2 when the call itself is wrong, 3 when a host is broken or
    could not be recovered, 5 when another run holds one.
    """
    options.require_consent("recover", chosen)
    access = options.access(chosen, chosen["sources"])
    with InventoryProcess(access) as reading:
        from remediator import recovery, standing
        from remediator.catalogue import load_catalogue
        from remediator.errand_run import Errands
        from remediator.fleet import warm_up
        from remediator.views import make_view
        from remediator.views.output import write
        from remediator.views.recovery import recover_json, recovered_text, standing_text

        warm_up(standing.NEEDS, access)
        inventory = reading.load(load_catalogue().defaults)
    view = make_view(chosen["output"], chosen["verbose"])
    text = chosen["output"] == "text"
    found = standing.look(inventory, access, view)
    released = tuple(dict.fromkeys(chosen["released"]))
    wanted = recovery.due(found, released)
    if text and not write(sys.stdout, standing_text(found, released)):
        raise UsageError("Nobody read what was found (stdout was closed), so nothing was done.")
    if not wanted or not options.consent(chosen)(recovery.question(wanted, released)):
        if not text:
            write(sys.stdout, recover_json(None, found, {}))
        return recovery.exit_code(found, {}, declined=bool(wanted))
    with Errands("recover", access, chosen["reason"]) as run:
        done = recovery.recover(wanted, inventory, access, released, run.errand, view)
        by_host = {each.host: each for each in done}
        code = recovery.exit_code(found, by_host)
        run.ended([each.result for each in done], code)
    write(sys.stdout, recovered_text(done, str(run.path)) if text else recover_json(run.errand.run, found, by_host))
    return run.final_code(code, view.warn)
