"""What a kind is: it says what one family of controls needs observed, and decides them.

A kind is one file in this package with a pydantic model of its parameters and two functions behind a `Kind`. It reads
the observation and the overlay (the host's files with the edits of the controls before it) and stages edits; it never
does I/O, never looks at another host and never writes a diff itself. To add one, add its file and its line in
`remediator/kinds/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from remediator.observation import Observation
from remediator.overlay import Overlay
from remediator.plan import FixClass, VerdictName
from remediator.request import Needs
from remediator.surroundings import Surroundings


class Parameters(BaseModel):
    """Base of every kind's parameters: unknown keys and wrong types are refused when the catalogue loads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True)
class Scope:
    """All that a kind may look at for one host.

    Its observation, its role variables, the roots that commit accepts, and what the controller knows and holds for it.
    """

    seen: Observation
    surroundings: Surroundings
    variables: Mapping[str, object] = field(default_factory=dict)
    roots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """A kind's answer for one control on one host.

    `verdict` and one sentence why. A `drifted` decision has staged its edits in the overlay; `fix` overrides the
    control's fix class where this host makes the fix riskier, `why_class` says why. `waits_for` names what must be set
    or done before there is a fix at all (a variable of an opt-in fix, a certificate); empty when nothing is missing.
    `left_over`: its edits only take away what an earlier apply of ours put there, which is safe whatever the control's
    own fix is. `unsettled`: what other controls are permitted to change may free what this one leaves to a person, or
    undo what it leans on; it is decided again then.
    """

    verdict: VerdictName
    reason: str
    fix: FixClass | None = None
    why_class: str = ""
    waits_for: str = ""
    left_over: bool = False
    unsettled: bool = False


class Kind(Protocol):
    """One family of controls. Instances hold no state."""

    name: str  # the control's YAML key: file_access, audit_watch...
    parameters: type[Parameters]

    def needs(self, parameters: Parameters) -> Needs:
        """What observe must answer for a control with these parameters."""

    def host_needs(self, parameters: Parameters, variables: Mapping[str, object]) -> Needs:
        """What observe must answer besides, for hosts whose role variables have these values."""
        return Needs()

    def decide(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision:
        """The decision for `control` (its id), with its edits staged in `overlay` under that id when it has drifted.

        Raises nothing on hostile observations: what cannot be decided is `unknown` with a reason.
        """

    def left_over(self, control: str, parameters: Parameters, scope: Scope, overlay: Overlay) -> Decision | None:
        """The decision where the control's system is not on this host, but something of ours for it still is.

        None where nothing is left, or where it harms nobody: then the control is not applicable.
        """
        return None
