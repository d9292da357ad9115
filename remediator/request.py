"""What observe is asked on a host: the union of what the selected kinds need, as one JSON document."""

from __future__ import annotations

import json
from dataclasses import dataclass

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Needs:
    """What one control needs observed; needs add up with `|`.

    `references` are symbolic paths (`@docker.tlscacert`) and `paths` literal ones: each is stat'ed. `contents` are
    those references and paths whose content is needed as well. `sections` are parts of the observation that cost more
    than a stat: `audit`, `docker` (the daemon's own answers), `transactions` (the journal of our own changes).
    """

    references: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()
    sections: frozenset[str] = frozenset()

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            self.references | other.references,
            self.paths | other.paths,
            self.contents | other.contents,
            self.sections | other.sections,
        )

    @classmethod
    def of(cls, places: list[str], *sections: str, contents: list[str] | None = None) -> Needs:
        """Needs of places that are references (they begin with `@`) or literal paths."""
        wanted = [*places, *(contents or [])]
        return cls(
            frozenset(place for place in wanted if place.startswith("@")),
            frozenset(place for place in wanted if not place.startswith("@")),
            frozenset(contents or []),
            frozenset(sections),
        )


def compile_request(needs: Needs) -> bytes:
    """The request document for observe: ASCII JSON with the fields of `Needs`, sorted, and `format_version`."""
    document = {
        "format_version": FORMAT_VERSION,
        "references": sorted(needs.references),
        "paths": sorted(needs.paths),
        "contents": sorted(needs.contents),
        "sections": sorted(needs.sections),
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")
