"""The kernel's audit rules, one by one through auditctl: never a whole file, which would drop other people's."""

from typing import List, Tuple

from remediator.host.commit.outcomes import StepError
from remediator.host.commit.programs import run_program
from remediator.host.common.audit_rules import AuditForm, listed_form, normal_form


def loaded_rules() -> List[AuditForm]:
    """The normal forms of every rule that is loaded. Raises StepError where the kernel refuses."""
    answer = run_program("auditctl", ["-l"])
    if answer.status != 0:
        raise StepError("auditctl -l: " + answer.complaint())
    forms = [listed_form(line) for line in answer.output.split("\n")]
    return [form for form in forms if form is not None]


def audit_locked() -> bool:
    """Whether the kernel takes no changes of its rules until the next boot (`enabled 2`)."""
    answer = run_program("auditctl", ["-s"])
    return any(line.split() == ["enabled", "2"] for line in answer.output.split("\n"))


def rule_form(rule: Tuple[str, ...]) -> AuditForm:
    """The normal form of a rule that begins with -a or -w. Raises StepError on any other words."""
    form = normal_form(list(rule)) if rule[0] in ("-a", "-w") else None
    if form is None:
        raise StepError("it is no audit rule: " + " ".join(rule))
    return form


def add_rule(rule: Tuple[str, ...]) -> None:
    """Loads one rule. Raises StepError."""
    answer = run_program("auditctl", list(rule))
    if answer.status != 0:
        raise StepError("auditctl %s: %s" % (" ".join(rule), answer.complaint()))


def delete_rule(rule: Tuple[str, ...], form: AuditForm) -> None:
    """Unloads one rule, however it was spelled when it was loaded. Raises StepError.

    A watch that the kernel lists as -w may have been loaded as a file's or as a directory's, and -W takes the one that
    the path is today: the other spellings follow.
    """
    spellings = [["-W" if rule[0] == "-w" else "-d"] + list(rule[1:])]
    if form[0] == "watch":
        path, perms, keys = str(form[1]), str(form[2]), form[3]
        assert isinstance(keys, tuple)  # noqa: S101
        tail = ["-F", "perm=" + perms] + [word for key in keys for word in ("-k", key)]
        spellings += [["-d", "always,exit", "-F", kind + "=" + path] + tail for kind in ("path", "dir")]
    answer = None
    for words in spellings:
        answer = run_program("auditctl", words)
        if answer.status == 0:
            return
    raise StepError("auditctl %s: %s" % (" ".join(spellings[0]), answer.complaint() if answer else ""))


def turn_rule(rule: Tuple[str, ...], form: AuditForm, load: bool) -> None:
    """Loads or unloads one rule. Raises StepError."""
    if load:
        add_rule(rule)
    else:
        delete_rule(rule, form)


class RuleChange:
    """Adding or deleting one rule; a rule that already is as wanted is left as it is."""

    def __init__(self, rule: Tuple[str, ...], add: bool) -> None:
        self.path = ""
        self.changed = False
        self._rule = rule
        self._add = add

    def do(self) -> None:
        """Raises StepError."""
        form = rule_form(self._rule)
        if (form in loaded_rules()) == self._add:
            return
        turn_rule(self._rule, form, self._add)
        self.changed = True

    def settle(self) -> None:
        """The kernel has it."""

    def keep(self) -> None:
        """Nothing more is to be done once the transaction stands."""
