"""Undo of kernel audit rules: those that a transaction loaded are unloaded, those that it unloaded come back."""

from __future__ import annotations

from remediator.host.common.audit_rules import AuditForm, normal_form
from remediator.observation import AuditFacts
from remediator.own_records import RecordedEntry
from remediator.plan import Action, Change, State, Step
from remediator.text import is_plain
from remediator.undo_paths import Look, Piece, asked_for, shared_with, undone_words

_DIRECTORY = "/etc/audit/rules.d"


def rules_piece(look: Look) -> Piece | None:
    """All of the transaction's rules as one piece; None where the kernel has them as they were before."""
    record, undo = look.record, look.undo
    chosen = [entry for entry in record.entries if entry.rule and entry.loaded and asked_for(entry, undo)]
    due = [entry for entry in chosen if _is_due(entry, look.past.loaded_rules)]
    if not due:
        return None
    words = [(" ".join(entry.rule or ()), entry.rule, entry.loaded == (False, True)) for entry in due]
    removed = tuple(text for text, _, was_loaded in words if was_loaded)
    added = tuple(text for text, _, was_loaded in words if not was_loaded)
    actions = [Action(do="audit_delete", rule=rule) for _, rule, was_loaded in words if was_loaded]
    actions += [Action(do="audit_add", rule=rule) for _, rule, was_loaded in words if not was_loaded]
    controls = tuple(dict.fromkeys(control for entry in due for control in entry.controls))
    paths = [entry.path for entry in record.entries if entry.path and entry.path.endswith(".rules")]
    nothing = State(type="missing")
    change = Change(
        controls=controls,
        what="audit_rule",
        path=paths[0] if paths else _DIRECTORY,
        before=nothing,
        after=nothing,
        added=added,
        removed=removed,
        details=(undone_words(controls),),
    )
    probe = tuple(Step(do="audit_loaded", rule=rule) for _, rule, was_loaded in words if not was_loaded)
    piece = Piece(change, (), tuple(actions), probe, content=False)
    refusal = _refusal(look.seen.audit, [*added, *removed]) or shared_with(due, undo)
    return piece.refused(refusal) if refusal else piece


def _is_due(entry: RecordedEntry, loaded: set[AuditForm | None] | None) -> bool:
    """Whether the rule is as the transaction left it, or nobody knows how it is."""
    before, after = entry.loaded or (False, False)
    return before != after and (loaded is None or (normal_form(list(entry.rule or ())) in loaded) == after)


def _refusal(audit: AuditFacts | None, rules: list[str]) -> str:
    if audit is None or audit.scope != "kernel":
        return "the kernel's audit rules could not be seen"
    if audit.enabled == 2:
        return "the kernel's audit rules are locked until the next reboot: roll back after that"
    if not all(is_plain(rule) for rule in rules):
        return "a rule has characters that cannot be shown as they are"
    return ""
