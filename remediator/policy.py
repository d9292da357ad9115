"""What may be changed, where, and with whose consent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from remediator.errors import UsageError
from remediator.host.commit.roots import SYSTEM_DIRECTORIES, is_normal_path
from remediator.plan import FixClass
from remediator.restarts import RESTART_KEYS, RestartPolicy, parse_restarts

if TYPE_CHECKING:
    from remediator.catalogue import Catalogue

_SHAPE = (
    "must be a mapping with waivers ({control id: reason}), roots (a list of absolute directories), restarts, window, "
    "before_restart, after_restart, hook_seconds, healthy_seconds (a number from 0 to 600), keep and keep_days "
    "(numbers from 1 to 100000), and nothing else. Correct it in the inventory."
)
# How long a service must have been well after a restart before that counts: daemons die late, too.
HEALTHY_SECONDS = 15
_NUMBERS = {"healthy_seconds": (0, 600), "keep": (1, 100_000), "keep_days": (1, 100_000)}


@dataclass(frozen=True)
class Policy:
    """The consent that one call carries.

    `allow` holds `guarded` (everything guarded that the preview shows), role names and control ids. `waivers` maps
    control ids to the reason why this host may differ. `roots` are directories, besides those compiled into commit,
    below which the inventory lets us change files. `restarts` says when services may be restarted; `asks`, whether
    somebody approves what the preview shows before it is done, as in a call of `remediate`. A playbook of the user's
    own has nobody to ask. `healthy_seconds` is how long a restarted service must be well before its change counts.
    `keep` ended transactions, and none older than `keep_days`, stay on the host for an undo, whatever is still needed
    beside them.
    `released_by` is the call that must come before anything at all is changed on a broken host, or on one where what
    was interrupted cannot be rolled back in passing; empty on others.
    """

    allow: frozenset[str] = frozenset()
    waivers: dict[str, str] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    restarts: RestartPolicy = field(default_factory=RestartPolicy)
    asks: bool = True
    healthy_seconds: int = HEALTHY_SECONDS
    keep: int = 20
    keep_days: int = 90
    released_by: str = ""

    def until(self, call: str) -> Policy:
        """The same, with nothing permitted until `call` has released the host."""
        return replace(self, released_by=call)

    def permits(self, control: str, role: str, fix: FixClass, waits_for: str = "") -> bool:
        """Whether a drifted control of this fix class may be changed. `manual` never is.

        `waits_for` names what a fix still lacks: without that, consent helps only opt-in fixes.
        """
        if self.released_by:
            return False
        if fix == "safe" or (fix == "opt_in" and not waits_for):
            return True
        if fix == "manual" or (fix == "guarded" and waits_for):
            return False
        named = control in self.allow or role in self.allow
        return named or (fix == "guarded" and "guarded" in self.allow)

    def for_host(self, host: str, variables: dict[str, Any], catalogue: Catalogue) -> Policy:
        """This policy with the host's own `remediator_policy` and `remediator_allow` on top.

        Controls may be named by an official id too. Raises UsageError when one of them has another shape than
        `waivers: {control: reason}`, `roots: [path]`, what `parse_restarts` knows and a list of names, or names what
        does not exist.
        """
        own = variables.get("remediator_policy") or {}
        allow = variables.get("remediator_allow") or []
        if not isinstance(own, dict) or set(own) - {"waivers", "roots"} - _NUMBERS.keys() - RESTART_KEYS:
            raise UsageError(f"{host}: remediator_policy {_SHAPE}")
        numbers = {name: own[name] for name in _NUMBERS if name in own}
        if not all(
            type(number) is int and _NUMBERS[name][0] <= number <= _NUMBERS[name][1] for name, number in numbers.items()
        ):
            raise UsageError(f"{host}: remediator_policy {_SHAPE}")
        waivers, roots = own.get("waivers") or {}, own.get("roots") or []
        texts = [text for pair in waivers.items() for text in pair] if isinstance(waivers, dict) else [None]
        if not all(isinstance(text, str) and text for text in texts) or not isinstance(roots, list):
            raise UsageError(f"{host}: remediator_policy {_SHAPE}")
        if not isinstance(allow, list) or not all(isinstance(name, str) for name in allow):
            raise UsageError(
                f"{host}: remediator_allow must be a list of roles and control ids. Correct the inventory."
            )
        for root in roots:
            if (
                not isinstance(root, str)
                or not is_normal_path(root.rstrip("/"))
                or root.rstrip("/") in SYSTEM_DIRECTORIES
            ):
                raise UsageError(
                    f"{host}: remediator_policy has {root!r} among its roots, which is no absolute directory below the "
                    "system's own ones and would open nothing. Name the directory that holds the files."
                )
        waived = {name: reason for word, reason in waivers.items() for name in _ids(host, word, catalogue)}
        named = {name for word in allow for name in _names(host, word, catalogue)}
        return replace(
            self,
            allow=self.allow | named,
            waivers={**self.waivers, **waived},
            roots=(*self.roots, *(root.rstrip("/") for root in roots)),
            restarts=parse_restarts(host, own),
            **numbers,
        )


def _names(host: str, word: str, catalogue: Catalogue) -> set[str]:
    return {word} if word == "guarded" or word in catalogue.all_roles else _ids(host, word, catalogue)


def _ids(host: str, word: str, catalogue: Catalogue) -> set[str]:
    found = catalogue.ids(word)
    if not found:
        raise UsageError(f"{host}: there is no control {word} to waive or to allow. `remediate controls` lists them.")
    return found
