"""The version of the installed package."""

from __future__ import annotations


def version() -> str:
    """The version as packaged; `0+unknown` in a tree that was never installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("remediator")
    except PackageNotFoundError:
        return "0+unknown"
