"""What the controller holds for each host: its names, and the certificate that could be installed there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from remediator.surroundings import Surroundings


def surroundings_of(
    host: str, address: str, variables: Mapping[str, Any], store: Path, now: datetime | None = None
) -> Surroundings:
    """The surroundings of one host. `address` is how it is reached (ansible_host), `store` the private CA's directory.

    Raises nothing: what cannot be used is told in `problem`.
    """
    return Surroundings(now=now or datetime.now(UTC), names=tuple(dict.fromkeys((host, address))))
