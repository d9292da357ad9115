"""`remediate controls`: the catalogue, or one control explained."""

from __future__ import annotations

from typing import Literal

import click

from remediator.cli import options
from remediator.errors import UsageError


@click.command(short_help="List the controls, or explain one.")
@click.argument("word", required=False, metavar="[ID]")
@options.listing_options
def controls(word: str | None, output: Literal["text", "json"], verbose: bool) -> int:
    """List every control; with an ID (1.1.3 will do) explain it: why, references, threat, fix, impact."""
    from remediator.catalogue import load_catalogue
    from remediator.views import make_view

    catalogue = load_catalogue()
    view = make_view(output, verbose)
    if word is None:
        view.listed(catalogue.controls)
        return 0
    found = catalogue.find(word)
    if not found:
        import difflib

        near = difflib.get_close_matches(word, [control.id for control in catalogue.controls], 3)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"There is no control {word}.{hint} `remediate controls` lists them.")
    from remediator.threats import load_threats

    view.explained(found, load_threats())
    return 0
