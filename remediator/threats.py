"""The STRIDE threat model: what each control's `threat` stands for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Threat:
    """One row: what is attacked, in STRIDE's words, and how."""

    id: str
    system: str  # docker or kubernetes
    component: str
    stride: str  # spoofing, tampering, repudiation, information_disclosure, denial_of_service, elevation_of_privilege
    attack: str


def load_threats() -> dict[str, Threat]:
    """The rows of threats.yml by id."""
    rows = yaml.safe_load(Path(__file__).with_name("threats.yml").read_text(encoding="utf-8"))
    return {row["id"]: Threat(**row) for row in rows}
