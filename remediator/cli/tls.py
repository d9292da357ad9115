"""`remediate tls`: the private CA for Docker daemons and their clients, and what it issues."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from remediator.cli import options

# What the list of verbs says of each. `issue` is in a file of its own, which is imported when it is called.
_VERBS = {
    "init": "Make the CA, on this machine.",
    "issue": "Have hosts make keys, and sign them.",
    "client": "Make a client's bundle: ca.pem, cert.pem, key.pem.",
    "show": "List what exists, for whom, until when.",
}

_passphrase_file = click.option(
    "--passphrase-file",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="The passphrase of the CA's key is in this file.",
)


class _TlsVerbs(click.Group):
    """The verbs below `tls`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "issue":
            from remediator.cli.tls_issue import issue

            return issue
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(_VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _VERBS:
            ctx.fail(f"There is no verb `tls {args[0]}`. The verbs are {', '.join(_VERBS)}.")
        return super().resolve_command(ctx, args)


@click.group(cls=_TlsVerbs, short_help="Make certificates for Docker daemons and clients.")
def tls() -> None:
    """Make certificates for Docker daemons and their clients, from a private CA on this machine.

    The CA lies in ${XDG_DATA_HOME:-~/.local/share}/remediator/tls. Its key is encrypted with a passphrase, which is
    asked for unless it comes from --passphrase-file or REMEDIATOR_CA_PASSPHRASE, and never leaves this machine.
    """


@tls.command(short_help=_VERBS["init"])
@_passphrase_file
def init(passphrase_file: str | None) -> int:
    """Make the CA, on this machine, with a new passphrase. One that exists is never overwritten."""
    from remediator.tls.authority import create_authority
    from remediator.tls.certificates import fingerprint, moment
    from remediator.tls.passphrase import new_passphrase
    from remediator.tls.store import Store, store_directory

    store = Store(store_directory())
    store.require_none()
    made = create_authority(store, new_passphrase(passphrase_file), datetime.now(UTC))
    _say(
        f"Made a CA in {store.directory}, valid until {moment(made.not_valid_after_utc)}.\n"
        f"  sha256 {fingerprint(made)}\n"
        "Keep copies of this directory and the passphrase in safe places: without them no certificate can be renewed.\n"
        "Next: remediate tls issue -i INVENTORY"
    )
    return 0


@tls.command(short_help=_VERBS["client"])
@click.argument("name")
@click.option("-o", "--output", "directory", required=True, metavar="DIR", help="Make the bundle in this directory.")
@click.option("--host", metavar="HOST", help="The daemon's name or address, for the commands that are printed.")
@click.option("--days", type=click.IntRange(1, 3650), default=397, show_default=True, help="How long it is valid.")
@_passphrase_file
def client(name: str, directory: str, host: str | None, days: int, passphrase_file: str | None) -> int:
    """Make the bundle with which the client NAME may use Docker daemons: ca.pem, cert.pem, key.pem.

    The key is made for this bundle and kept nowhere else. Whoever holds it is root on every host whose daemon trusts
    this CA, until the certificate expires.
    """
    from remediator.tls import bundle
    from remediator.tls.authority import open_authority
    from remediator.tls.certificates import moment, read_chain, to_pem
    from remediator.tls.clients import check_client_name, issue_client
    from remediator.tls.passphrase import given_passphrase
    from remediator.tls.store import Store, store_directory

    check_client_name(name)
    address = bundle.listener(host or bundle.ANY_HOST)
    target = Path(os.path.abspath(directory))
    bundle.check_bundle_directory(target)
    store = Store(store_directory())
    authority = open_authority(store, lambda: given_passphrase(passphrase_file))
    certificate, key = issue_client(authority, store, name, datetime.now(UTC), days)
    bundle.write_bundle(target, to_pem([authority.certificate]), certificate, key)
    until = moment(read_chain(certificate)[0].not_valid_after_utc)
    _say(
        f"Made a certificate for {name} in {target}, valid until {until}.\n\n"
        f"  {bundle.context_command(name, address, target)}\n\nor, without a context:\n\n"
        f"  {bundle.environment(address, target)}"
    )
    if not host:
        _say(f"\n{bundle.ANY_HOST} stands for the daemon's name or address.")
    return 0


@tls.command(short_help=_VERBS["show"])
@options.listing_options
def show(output: Literal["text", "json"], verbose: bool) -> int:
    """List the CA and every certificate that it issued: for whom, with which names, until when."""
    import json

    from remediator.tls.listing import list_store
    from remediator.tls.store import Store, store_directory

    document = list_store(Store(store_directory()), datetime.now(UTC))
    if output == "json":
        _say(json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=True))
        return 0
    from remediator.tls.rendering import listing_lines

    _say("\n".join(f"{' ' * line.indent}{line.text.plain}".rstrip() for line in listing_lines(document)))
    return 0


def _say(text: str) -> None:
    from remediator.text import visible
    from remediator.views.output import write

    write(sys.stdout, visible(text, len(text)) + "\n")
