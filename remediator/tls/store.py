"""Where the private CA lies: `${XDG_DATA_HOME:-~/.local/share}/remediator/tls`, 0700."""

from __future__ import annotations

import os
from pathlib import Path

from remediator.errors import UsageError


def store_directory() -> Path:
    """The directory of this user's CA; not made here. A relative XDG_DATA_HOME is ignored, as XDG says.

    Raises UsageError when there is neither XDG_DATA_HOME nor a home directory.
    """
    data_home = os.environ.get("XDG_DATA_HOME", "")
    if data_home.startswith("/"):
        return Path(data_home) / "remediator" / "tls"
    try:
        return Path.home() / ".local" / "share" / "remediator" / "tls"
    except RuntimeError:
        raise UsageError("There is no home directory to keep a CA in. Set XDG_DATA_HOME.") from None
