"""Where the Ansible side of remediator lies: the collection remediator.hardening."""

from __future__ import annotations

from pathlib import Path

NAMESPACE = "remediator"
NAME = "hardening"


def collection_root() -> Path:
    """The folder with roles/, playbooks/ and plugins/: beside the installed package, or the checkout itself."""
    beside = Path(__file__).resolve().parents[1]
    installed = beside / "ansible_collections" / NAMESPACE / NAME
    return installed if (installed / "roles").is_dir() else beside
