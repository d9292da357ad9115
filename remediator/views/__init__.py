"""One file for each output; `remediator.views.interface` says what a view is."""

from __future__ import annotations

import sys
from typing import Literal

from remediator.views.interface import View


def make_view(output: Literal["text", "json"], verbose: bool) -> View:
    """The view that `--format` names, on this process's stdout and stderr."""
    if output == "json":
        from remediator.views.json import JsonView

        return JsonView(sys.stdout, sys.stderr)
    from remediator.views.terminal import TerminalView

    return TerminalView(sys.stdout, sys.stderr, verbose)
