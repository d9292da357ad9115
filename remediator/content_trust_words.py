"""What Docker's content trust does, in words: with this CLI, at this time, and what stands in for it on this host.

Sources: docker/cli#6603 (29 ignores the variable), docker/cli#6508 (signatures of Docker Official Images since August
2025), docs.docker.com/engine/security/trust (the end of notary.docker.io).
"""

from __future__ import annotations

import re
from datetime import date

from remediator.observation import Observation

IGNORED_SINCE = 29
NOTARY_ENDS = date(2026, 12, 8)
CLI_PLACES = ("/usr/local/bin/docker", "/usr/bin/docker", "/usr/sbin/docker", "/bin/docker", "/sbin/docker")
_TOOLS = {name: (f"/usr/bin/{name}", f"/usr/local/bin/{name}") for name in ("cosign", "notation")}
_TRUST_POLICY = "/etc/notation/trustpolicy.json"
TOOL_PLACES = (*_TOOLS["cosign"], *_TOOLS["notation"], _TRUST_POLICY)
_REPLACEMENT = "a cosign or notation policy where images are deployed, and digests in place of tags"


def major_version(version: str) -> int | None:
    """29 of `29.0.1`; None where that cannot be told."""
    found = re.match(r"(\d{1,4})\.\d", version)
    return int(found.group(1)) if found else None


def has(seen: Observation, *places: str) -> bool:
    """Whether something is at one of these places."""
    return any(facts is not None and facts.type != "missing" for facts in map(seen.files.get, places))


def ignored(version: str, seen: Observation) -> str:
    """Why the variable is worth nothing with a CLI of 29 or newer, and what to do instead."""
    return (
        f"Docker CLI {version} ignores DOCKER_CONTENT_TRUST (since {IGNORED_SINCE}), so setting it protects nothing: "
        f"use {_REPLACEMENT} ({_replaced_here(seen)}), and waive this control when that is done"
    )


def effects(version: str, seen: Observation) -> tuple[str, ...]:
    """What the variable does with an older CLI, what it breaks, whom it does not reach, and what replaces it."""
    return (
        f"Docker CLI {version} then refuses docker pull, run, create and build of tags without signatures, and docker "
        "push has to sign",
        f"tags of Docker Official Images mostly cannot be pulled with it since August 2025; the last day of "
        f"notary.docker.io is {NOTARY_ENDS}, and Docker Hub's signatures end with it",
        "docker compose and BuildKit never honour it",
        f"what replaces it: {_REPLACEMENT} ({_replaced_here(seen)})",
    )


def _replaced_here(seen: Observation) -> str:
    """Whether what replaces it is on this host."""
    said = [f"{name} is {'' if has(seen, *places) else 'not '}installed here" for name, places in _TOOLS.items()]
    return ", ".join([*said, f"{_TRUST_POLICY} is {'there' if has(seen, _TRUST_POLICY) else 'missing'}"])
