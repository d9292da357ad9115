"""A host's own state directory as tests lay it out: documents in the form of its journal."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

FIRST = "01JDQ3V8N6T0M5S2R4W9XK7YZB"
SECOND = "01JDQ4AAAAAAAAAAAAAAAAAAAA"
SECRET = "0123456789abcdef-secret-attribute"


def state(kind: str, mode: int = 0o644, content: bytes | None = None) -> dict[str, Any]:
    """A STATE of the journal, root's."""
    if kind == "missing":
        return {"type": "missing"}
    told: dict[str, Any] = {"type": kind, "mode": mode, "uid": 0, "gid": 0, "xattrs": {"user.x": SECRET}}
    if content is not None:
        told.update(sha256=hashlib.sha256(content).hexdigest(), size=len(content), mtime_ns=1)
    return told


def document(run: str, group: str, *entries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A record of a transaction that was applied."""
    numbered = [{"number": number, "controls": ["docker.files.x"], **entry} for number, entry in enumerate(entries)]
    return {
        "format_version": 1,
        "run": run,
        "host": "web1",
        "group": group,
        "digest": "0" * 64,
        "who": "ann@controller",
        "reason": "ticket 7",
        "started": 1_700_000_000,
        "boot_id": "b",
        "controls": ["docker.files.x"],
        "entries": numbered,
        "activation": [],
        "probe": [],
        "result": {"group": group, "outcome": "applied", "reason": "", "digest": "0" * 64, "paths": [], "log": ""},
        "ended": 1_700_000_005,
        **changes,
    }


def put(top: Path, written: dict[str, Any], file: str = "record.json", **backups: bytes) -> Path:
    """Lay the document, and backups by their number (`n0=...`), into the transaction's own directory below `top`."""
    place = top / "transactions" / f"{written['run']}.{written['group']}"
    place.mkdir(parents=True, exist_ok=True)
    for directory in (top, top / "transactions", place):
        directory.chmod(0o700)
    (place / file).write_text(json.dumps(written))
    (place / file).chmod(0o600)
    for number, content in backups.items():
        (place / f"{number[1:]}.before").write_bytes(content)
    return place
