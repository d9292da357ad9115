"""`remediate tls issue`: every Docker host makes its key, and the private CA signs for it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click

from remediator.cli import options
from remediator.errors import UsageError
from remediator.inventory_process import InventoryProcess


@click.command(short_help="Have hosts make keys, and sign for them.")
@options.connection_options
@click.option("--renew", is_flag=True, help="Replace certificates that are still good, too.")
@click.option(
    "--passphrase-file", type=options.FILE, metavar="FILE", help="The passphrase of the CA's key is in this file."
)
@options.listing_options
@click.pass_context
def issue(context: click.Context, /, **chosen: Any) -> int:
    """Have every Docker host make a key of its own, and sign it with the private CA. Activates nothing.

    The names in a certificate are the inventory's alone, and it is good for 397 days. Hosts that hold one for 30 days
    and more are left as they are. Ends 0 when every host that runs Docker has a certificate, 2 when the call itself is
    wrong, 3 when a host has failed, 5 when another run holds one.
    """
    if not chosen["sources"]:
        raise UsageError("issue makes keys on hosts, so it wants them named: -i INVENTORY (this one is -i localhost,).")
    access = options.access(chosen, chosen["sources"])

    from remediator.tls.authority import open_authority
    from remediator.tls.passphrase import given_passphrase
    from remediator.tls.store import Store, store_directory

    store = Store(store_directory())
    authority = open_authority(store, lambda: given_passphrase(chosen["passphrase_file"]))
    with InventoryProcess(access) as reading:
        from remediator import history, run
        from remediator.catalogue import load_catalogue
        from remediator.fleet import warm_up
        from remediator.tls.issue import NEEDS, Desk, exit_code, issue_certificates
        from remediator.views import make_view
        from remediator.views.issue import issue_json, issue_text
        from remediator.views.output import write

        warm_up(NEEDS, access)
        inventory = reading.load(load_catalogue().defaults)
    order = history.new_ulid()
    desk = Desk(authority, store, datetime.now(UTC), chosen["renew"])
    view = make_view(chosen["output"], chosen["verbose"])
    hosts = issue_certificates(inventory, access, desk, view, order, run.who())
    if chosen["output"] == "json":
        write(sys.stdout, issue_json(order, hosts))
    else:
        write(sys.stdout, issue_text(hosts, options.preview_command(context, chosen["sources"])))
    return exit_code(hosts)
