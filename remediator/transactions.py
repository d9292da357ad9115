"""Staged edits become transactions: what is checked, done, validated, activated and probed together."""

from __future__ import annotations

from collections.abc import Callable

from remediator.observation import Container, DockerFacts, FileFacts
from remediator.overlay import Overlay, Staged, StagedRestart, StagedRules, state_after, state_before, unified_diff
from remediator.plan import Action, Change, EditSplice, Impact, Precondition, State, Step, Transaction

_Item = Staged | StagedRules | StagedRestart

# What may lean on what: a directory before the file in it, files before the audit rules on them.
_GROUP_ORDER = ("files", "docker", "containerd", "kubelet", "etcd", "audit")
# What becomes of containers when their daemon restarts, in a preview's words.
_FATES = {
    "back": "back afterwards",
    "ends": "ends (--rm)",
    "unknown": "perhaps (its restart policy could not be seen)",
    "down": "not (no restart policy)",
}


def build_transactions(overlay: Overlay, base: Overlay | None = None) -> tuple[Transaction, ...]:
    """The transactions that `overlay` asks for; with `base`, only what it asks for beyond `base`.

    Beyond a base, before-states are the base's after-states, since those would be written first.
    """
    groups: dict[str, list[_Item]] = {}
    for path, staged in overlay.files.items():
        if staged.changed and (base is None or base.files.get(path) != staged):
            groups.setdefault(staged.group, []).append(staged)
    for path, rules in overlay.rules.items():
        beyond = _rules_beyond(rules, base.rules.get(path) if base else None)
        if beyond.added or beyond.removed:
            groups.setdefault("audit", []).append(beyond)
    for unit, restart in overlay.restarts.items():
        if base is None or unit not in base.restarts:
            groups.setdefault(restart.group, []).append(restart)
    paths = {id(staged): path for path, staged in overlay.files.items()}
    paths.update((id(restart), unit) for unit, restart in overlay.restarts.items())
    return tuple(_transaction(name, groups[name], overlay, base, paths) for name in sorted(groups, key=group_order))


def group_order(group: str) -> tuple[int, str, int]:
    """Where a group comes: `files-2` right after `files`, whose directories it lies below."""
    first, _, depth = group.partition("-")
    place = _GROUP_ORDER.index(first) if first in _GROUP_ORDER else len(_GROUP_ORDER)
    return (place, first, int(depth)) if depth.isdigit() else (place, group, 0)


def _rules_beyond(rules: StagedRules, base: StagedRules | None) -> StagedRules:
    if base is None:
        return rules
    added = tuple(item for item in rules.added if item not in base.added)
    removed = tuple(item for item in rules.removed if item not in base.removed)
    return StagedRules(rules.path, added, removed)


def _transaction(
    group: str, items: list[_Item], overlay: Overlay, base: Overlay | None, paths: dict[int, str]
) -> Transaction:
    changes: list[Change] = []
    preconditions: list[Precondition] = []
    actions: list[Action] = []
    validation: list[Step] = []
    probe: list[Step] = []
    for item in items:
        if isinstance(item, StagedRules):
            changes.append(_rules_change(item))
            actions += [Action(do="audit_delete", rule=rule) for _, rule in item.removed]
            actions += [Action(do="audit_add", rule=rule) for _, rule in item.added]
            probe += [Step(do="audit_loaded", rule=rule) for _, rule in item.added]
            continue
        path = paths[id(item)]
        if isinstance(item, StagedRestart):
            changes.append(_restart_change(path, item))
            preconditions += _rests_on(item, overlay)
            continue
        changes.append(_file_change(path, item, base.files.get(path) if base else None))
        preconditions.append(_precondition(path, item))
        actions += _file_actions(path, item)
        if item.content is not None and group == "audit" and path.endswith(".rules"):
            validation.append(Step(do="audit_rules", path=path))
        if not item.removed:
            probe.append(Step(do="mode_is", path=path, mode=item.mode, uid=item.uid, gid=item.gid))
    # Units are read anew before anything starts from them, whoever asked first.
    activation = tuple(sorted(overlay.steps.get(group, ()), key=lambda step: step.do != "daemon_reload"))
    validation += overlay.validations.get(group, ())
    impact = impact_of(activation, overlay.seen.docker) if activation else overlay.impacts.get(group, Impact())
    probe += [*health_probes(activation, impact, overlay.seen.docker), *overlay.probes.get(group, ())]
    return Transaction(
        group=group,
        changes=tuple(changes),
        preconditions=tuple(preconditions),
        actions=tuple(actions),
        validation=tuple(validation),
        activation=activation,
        probe=tuple(probe),
        impact=impact,
    )


def health_probes(activation: tuple[Step, ...], impact: Impact, docker: DockerFacts | None) -> list[Step]:
    """Probes of the services that the activation touches; Docker must answer, and its containers must run again.

    Those that were shown as not coming back are named too: before it begins, commit looks for others.
    """
    units = dict.fromkeys(step.unit for step in activation if step.do in ("reload", "restart") and step.unit)
    probes = [Step(do="unit_active", unit=unit) for unit in units]
    if "docker.service" in units:
        probes.append(Step(do="docker_ping"))
    if Step(do="restart", unit="docker.service") in activation:
        back = tuple(_fates(docker)["back"])
        probes += [Step(do="containers", names=back)] if back else []
        probes.append(Step(do="stays_down", names=impact.stays_down or None))
    return probes


def _rules_change(rules: StagedRules) -> Change:
    nothing = State(type="missing")
    words: Callable[[tuple[str, ...]], str] = " ".join
    controls = dict.fromkeys(control for control, _ in (*rules.added, *rules.removed))
    return Change(
        controls=tuple(controls),
        what="audit_rule",
        path=rules.path,
        before=nothing,
        after=nothing,
        added=tuple(words(rule) for _, rule in rules.added),
        removed=tuple(words(rule) for _, rule in rules.removed),
    )


def _restart_change(unit: str, restart: StagedRestart) -> Change:
    nothing = State(type="missing")
    return Change(
        controls=restart.controls, what=restart.do, path=unit, before=nothing, after=nothing, details=(restart.why,)
    )


def _rests_on(restart: StagedRestart, overlay: Overlay) -> list[Precondition]:
    """What the restart reads must still be what was observed; what is staged anew has a precondition of its own.

    Modes and owners are left out: another transaction of the same run may have put them right by then.
    """
    found = []
    for path in restart.rests_on:
        facts = overlay.seen.files.get(path)
        staged = overlay.files.get(path)
        if facts is None or facts.type not in ("missing", "file"):
            continue
        if staged is not None and (staged.content is not None or staged.key is not None or staged.removed):
            continue
        identity = {} if facts.type == "missing" else {**_identity(facts), "ctime_ns": None}
        found.append(
            Precondition.model_validate(
                {"path": path, "resolved": facts.resolved or path, "type": facts.type, **identity}
            )
        )
    return found


def _file_change(path: str, staged: Staged, base: Staged | None) -> Change:
    before = state_after(base) if base is not None else state_before(staged)
    after = state_after(staged)
    old = base.content if base is not None and base.content is not None else staged.facts.content
    diff = ""
    if staged.content is not None and staged.content != old:
        diff = unified_diff(path, old if before.type != "missing" else None, staged.content)
    if staged.removed:
        diff = unified_diff(path, old, b"") if old is not None else ""
    return Change.model_validate(
        {
            "controls": staged.controls,
            "what": _what(staged, before, bool(diff)),
            "path": path,
            "before": before,
            "after": after,
            "diff": diff,
            "details": staged.details,
        }
    )


def _what(staged: Staged, before: State, content: bool) -> str:
    if staged.removed:
        return "remove"
    if staged.key is not None:
        return "key"
    return "create" if before.type == "missing" else "content" if content else "access"


def _precondition(path: str, staged: Staged) -> Precondition:
    facts = staged.facts
    if facts.type == "missing":
        return Precondition(path=path, resolved=facts.resolved or path, type="missing")
    return Precondition.model_validate(
        {
            "path": path,
            "resolved": facts.resolved or path,
            "type": staged.kind,
            "mode": facts.mode,
            "uid": facts.uid,
            "gid": facts.gid,
            "sha256": facts.sha256 if staged.content is not None or staged.removed else None,
            "masked": bool(facts.masked) and staged.content is not None,
            **(_identity(facts) if staged.key is not None or facts.masked else {}),
        }
    )


def _identity(facts: FileFacts) -> dict[str, int]:
    """What tells, of a file whose content never leaves its host, that it is still the one that was observed."""
    return {
        "ino": facts.ino,
        "dev": facts.dev,
        "size": facts.size,
        "mtime_ns": facts.mtime_ns,
        "ctime_ns": facts.ctime_ns,
    }


def _file_actions(path: str, staged: Staged) -> list[Action]:
    facts = staged.facts
    access = {"mode": staged.mode, "uid": staged.uid, "gid": staged.gid}
    if facts.type == "missing" and staged.kind == "directory":
        return [Action(do="mkdir", path=path, **access)]
    if staged.removed:
        return [Action(do="remove", path=path)]
    if staged.key is not None:
        key = staged.key
        return [Action(do="install_key", path=path, source=key.source, public_sha256=key.public_sha256, **access)]
    if staged.splices and staged.content != facts.content:
        pieces = tuple(EditSplice(offset=one.offset, length=one.length, content=one.new) for one in staged.splices)
        return [Action(do="edit", path=path, splices=pieces, **access)]
    if staged.content is not None and staged.content != facts.content:
        return [Action(do="write", path=path, content=staged.content, **access)]
    actions = []
    if (staged.uid, staged.gid) != (facts.uid, facts.gid):
        actions.append(Action(do="chown", path=path, uid=staged.uid, gid=staged.gid))
    if staged.mode != facts.mode or actions:
        # After a change of owner too: the kernel clears setuid and setgid bits then (chown(2)).
        actions.append(Action(do="chmod", path=path, mode=staged.mode))
    return actions


def impact_of(activation: tuple[Step, ...], docker: DockerFacts | None) -> Impact:
    """What the activation costs; a restart of Docker names what stops, and what does not come back and why."""
    units = tuple(dict.fromkeys(step.unit for step in activation if step.unit))
    if not any(step.do == "restart" for step in activation):
        text = f"has {', '.join(units)} read its configuration again" if units else "reloads systemd's unit files"
        return Impact(level="reload", text=f"{text}; nothing restarts", units=units) if activation else Impact()
    text = f"restarts {', '.join(units)}"
    fates = _fates(docker) if "docker.service" in units else {}
    said = [f"{', '.join(names)} {_FATES[fate]}" for fate, names in fates.items() if names]
    if said:
        text += f": {', '.join(said)}; live-restore is off"
    stops = tuple(name for names in fates.values() for name in names)
    return Impact(level="restart", text=text, units=units, stops=stops, stays_down=tuple(fates.get("down", ())))


def _fates(docker: DockerFacts | None) -> dict[str, list[str]]:
    """The containers that stop when Docker restarts, by what becomes of them: a word of _FATES."""
    fates: dict[str, list[str]] = {fate: [] for fate in _FATES}
    if docker is not None and not docker.live_restore:
        for container in docker.containers:
            if container.state in ("running", "paused"):
                fates[_fate(container)].append(container.name)
    return fates


def _fate(container: Container) -> str:
    if container.auto_remove:
        return "ends"
    if container.restart_policy in ("", "no"):
        return "down"
    return "unknown" if container.restart_policy == "unknown" else "back"
