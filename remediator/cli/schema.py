"""`remediate schema`: the JSON Schema of what `--format json` prints."""

from __future__ import annotations

import click


@click.command(short_help="Print the JSON Schema of the JSON output.")
def schema() -> int:
    """Print the JSON Schema (draft 2020-12) that every --format json document meets."""
    import json

    from remediator.views.documents import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
    return 0
