"""The committed table: each lab host's expected verdict for every control, before and after an apply."""

from __future__ import annotations

from pathlib import Path

import yaml

_HERE = Path(__file__).parent


def expected(host: str, column: str) -> dict[str, str]:
    """Verdict by control from expected/`host`.yml; `column` is `before` or `after`."""
    table = yaml.safe_load((_HERE / "expected" / f"{host}.yml").read_text())
    return {control: row[column] for control, row in table.items()}


def drift(name: str) -> str:
    """The shell script that makes a host of this kind need hardening."""
    return (_HERE / "drift" / f"{name}.sh").read_text()
