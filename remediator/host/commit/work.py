"""Which class does the work of which action."""

from typing import Callable, List, Set, Tuple, Union

from remediator.host.commit.access import AccessChange
from remediator.host.commit.edits import FileEdit
from remediator.host.commit.files import DirectoryMade, FileRemoval, FileWrite
from remediator.host.commit.kernel_audit import RuleChange
from remediator.host.commit.key_install import KeyInstall, KeySource
from remediator.host.commit.outcomes import StepError, plain_line
from remediator.host.commit.request import Action, Step, Transaction
from remediator.host.commit.staged_pair import PairMade
from remediator.host.commit.validations import validate

Work = Union[FileWrite, FileRemoval, DirectoryMade, AccessChange, RuleChange, PairMade]
# What these write is validated while it is staged, before it counts for anybody.
VALIDATED_STAGED = ("write", "edit")


def make_work(transaction: Transaction, action: Action, copies: Set[Tuple[int, int]], secret: bytes) -> Work:
    """The work of one action. Raises StepError on an action that is not in the closed set."""
    if action.rule is not None:
        return RuleChange(action.rule, action.do == "audit_add")
    if action.do == "make_key" and action.subject is not None:
        return PairMade(action.subject)
    path = transaction.resolved(action.path or "")
    if action.do == "chmod":
        return AccessChange(path, kind_at(transaction, action), action.mode, None, copies)
    if action.do == "chown":
        owner = (action.uid or 0, action.gid or 0)
        return AccessChange(path, kind_at(transaction, action), None, owner, copies)
    if action.do == "remove":
        return FileRemoval(path)
    if action.do == "mkdir":
        return DirectoryMade(path, action.mode or 0, action.uid or 0, action.gid or 0)
    return make_file_work(transaction, action, path, copies, secret)


def make_file_work(
    transaction: Transaction, action: Action, path: str, copies: Set[Tuple[int, int]], secret: bytes
) -> FileWrite:
    """The work of an action that gives a file other bytes. Raises StepError as make_work does."""
    wanted = transaction.wanted(action.path or "")
    access = (action.mode or 0, action.uid or 0, action.gid or 0)
    if action.do == "write" and action.content is not None:
        return FileWrite(path, action.content, access, wanted, copies, staged_checks(transaction, action))
    if action.do == "edit" and action.splices is not None and wanted is not None:
        return FileEdit(path, action.splices, access, wanted, copies, staged_checks(transaction, action))
    if action.do == "install_key" and wanted is not None:
        return KeyInstall(path, key_source(action, secret), access, wanted, copies)
    raise StepError("commit has no action " + plain_line(action.do))


def key_source(action: Action, secret: bytes) -> KeySource:
    """Where the key of an install_key comes from."""
    return KeySource(action.source or "", action.public_sha256 or "", secret)


def staged_checks(transaction: Transaction, action: Action) -> List[Callable[[str], None]]:
    """The transaction's validations of what this action writes, each for the path of the staged file."""
    return [staged_check(step) for step in transaction.validation if step.path == action.path]


def staged_check(step: Step) -> Callable[[str], None]:
    """One validation, bound to its step."""
    return lambda path: validate(step, path)


def validated_staged(transaction: Transaction, step: Step) -> bool:
    """Whether a validation is done while its file is staged, and not after all writes."""
    return any(action.do in VALIDATED_STAGED and action.path == step.path for action in transaction.actions)


def kind_at(transaction: Transaction, action: Action) -> str:
    """What an action's path is by then: a directory where this transaction makes one."""
    if any(other.do == "mkdir" and other.path == action.path for other in transaction.actions):
        return "directory"
    wanted = transaction.wanted(action.path or "")
    return wanted.type if wanted is not None and wanted.type != "missing" else "file"
