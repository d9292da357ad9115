"""Which class does the work of which action."""

from typing import Callable, List, Union

from remediator.host.commit.access import AccessChange
from remediator.host.commit.entries import PairEntry
from remediator.host.commit.files import DirectoryMade, DirectoryRemoved, FileRemoval, FileWrite
from remediator.host.commit.kernel_audit import RuleChange
from remediator.host.commit.key_install import KeyInstall
from remediator.host.commit.outcomes import StepError, plain_line
from remediator.host.commit.planning import Planned, attributes_of, key_source, kind_at
from remediator.host.commit.request import Action, Step, Transaction
from remediator.host.commit.staged_pair import PairMade
from remediator.host.commit.validations import validate

Work = Union[FileWrite, FileRemoval, DirectoryMade, DirectoryRemoved, AccessChange, RuleChange, PairMade]
# What these write is validated while it is staged, before it counts for anybody.
VALIDATED_STAGED = ("write", "edit")


def make_work(transaction: Transaction, action: Action, planned: Planned, backups: int, secret: bytes) -> Work:
    """The work of one action; `backups` is the transaction's own directory. Raises StepError on an unknown action."""
    if action.rule is not None:
        return RuleChange(action.rule, action.do == "audit_add")
    if action.do == "make_key" and action.subject is not None:
        pair = next(entry for entry in planned.entries if isinstance(entry, PairEntry))
        return PairMade(pair, action.subject)
    path = transaction.resolved(action.path or "")
    if action.do == "chmod":
        return AccessChange(path, kind_at(transaction, action), action.mode, None)
    if action.do == "chown":
        return AccessChange(path, kind_at(transaction, action), None, (action.uid or 0, action.gid or 0))
    entry = planned.entry(path)
    if action.do == "remove":
        return FileRemoval(entry, backups)
    if action.do == "mkdir":
        return DirectoryMade(entry)
    if action.do == "rmdir":
        return DirectoryRemoved(entry, planned.copies_in(path))
    if action.do == "install_key":
        return KeyInstall(entry, key_source(action, secret), planned.contents[path], backups)
    if path in planned.contents:
        checks = staged_checks(transaction, action) if action.do in VALIDATED_STAGED else []
        return FileWrite(entry, planned.contents[path], backups, checks, attributes_of(planned.backups.get(path)))
    raise StepError("commit has no action " + plain_line(action.do))


def staged_checks(transaction: Transaction, action: Action) -> List[Callable[[str], None]]:
    """The transaction's validations of what this action writes, each for the path of the staged file."""
    return [staged_check(step) for step in transaction.validation if step.path == action.path]


def staged_check(step: Step) -> Callable[[str], None]:
    """One validation, bound to its step."""
    return lambda path: validate(step, path)


def validated_staged(transaction: Transaction, step: Step) -> bool:
    """Whether a validation is done while its file is staged, and not after all writes."""
    return any(action.do in VALIDATED_STAGED and action.path == step.path for action in transaction.actions)
