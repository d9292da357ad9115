"""`remediate purge`: take our traces off hosts."""

from __future__ import annotations

import sys
from typing import Any

import click

from remediator.cli import options
from remediator.errors import UsageError
from remediator.inventory_process import InventoryProcess


@click.command(short_help="Take our traces off hosts.")
@options.connection_options
@options.errand_options
@options.listing_options
def purge(**chosen: Any) -> int:
    """Show what of ours lies on the hosts, ask, and remove it: journals, backups, unused keys. The hardening stays.

    What was changed there cannot be taken back afterwards. A host with an interrupted change, or a broken one, is
    refused. Ends 0 when nothing of ours is left, 1 when the answer was no, 2 when the call itself is wrong, 3 when a
    host could not be purged, 5 when another run holds one.
    """
    options.require_consent("purge", chosen)
    access = options.access(chosen, chosen["sources"])
    with InventoryProcess(access) as reading:
        from remediator import purge as purging
        from remediator import standing
        from remediator.catalogue import load_catalogue
        from remediator.errand_run import Errands
        from remediator.fleet import warm_up
        from remediator.views import make_view
        from remediator.views.output import write
        from remediator.views.purge import prospect_text, purge_json, purged_text

        warm_up(standing.NEEDS, access)
        inventory = reading.load(load_catalogue().defaults)
    view = make_view(chosen["output"], chosen["verbose"])
    text = chosen["output"] == "text"
    found = standing.look(inventory, access, view)
    wanted = purging.due(found)
    if text and not write(sys.stdout, prospect_text(found)):
        raise UsageError("Nobody read what was found (stdout was closed), so nothing was done.")
    if not wanted or not options.consent(chosen)(f"Purge {standing.count(len(wanted), 'host')}?"):
        if not text:
            write(sys.stdout, purge_json(None, found, {}))
        return purging.exit_code(found, {}, declined=bool(wanted))
    with Errands("purge", access, chosen["reason"]) as run:
        done = purging.purge(wanted, inventory, access, run.errand, view)
        by_host = {each.host: each for each in done}
        code = purging.exit_code(found, by_host)
        run.ended([each.result for each in done], code)
    write(sys.stdout, purged_text(done, str(run.path)) if text else purge_json(run.errand.run, found, by_host))
    return run.final_code(code, view.warn)
