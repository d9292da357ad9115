"""What a transaction will change, told before its first write: each path, each audit rule, our own key pair.

A journal holds these, and putting back needs nothing else: the same entries serve a transaction that fails, one whose
program was killed, and one whose host lost its power.
"""

import binascii
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

from remediator.host.commit.outcomes import plain_line
from remediator.host.commit.roots import refusal
from remediator.host.commit.states import PathState, parse_state
from remediator.host.common.digest import sha256
from remediator.host.common.patterns import pattern

STAGED_NAME = pattern(r"^\.[^/\0]{1,200}\.remediator-[0-9a-f]{12}\.(?:new|old)\Z")
PAIR_BASE = "tls"
BACKUP_NAME = pattern(r"^[0-9]{1,6}\.before\Z")


def staged_name(name: bytes, suffix: bytes) -> bytes:
    """A dotted name beside `name` that nothing else has."""
    return b"." + name + b".remediator-" + binascii.hexlify(os.urandom(6)) + b"." + suffix


class PathEntry(NamedTuple):
    """A path's way from `before` to `after`.

    `old` and `new` are the names, beside the path, of the old file's copy and of what is to take its place; `backup` is
    the old file's name in the transaction's own directory. They are null where nothing is staged.
    """

    number: int
    path: str
    controls: Tuple[str, ...]
    before: PathState
    after: PathState
    backup: Optional[str] = None
    old: Optional[str] = None
    new: Optional[str] = None

    def document(self) -> Dict[str, Any]:
        """As it stands in the journal."""
        found = dict(self._asdict())
        found.update(controls=list(self.controls), before=self.before.document(), after=self.after.document())
        return found


class RuleEntry(NamedTuple):
    """A kernel audit rule: whether it was loaded before, and shall be after."""

    number: int
    rule: Tuple[str, ...]
    controls: Tuple[str, ...]
    before: bool
    after: bool

    def document(self) -> Dict[str, Any]:
        """As it stands in the journal."""
        return dict(self._asdict(), rule=list(self.rule), controls=list(self.controls))


class PairEntry(NamedTuple):
    """Our own key and signing request: whether there was a pair before, and the names of both while they change."""

    number: int
    pair: str
    controls: Tuple[str, ...]
    before: bool
    old: str
    new: str

    def document(self) -> Dict[str, Any]:
        """As it stands in the journal."""
        return dict(self._asdict(), controls=list(self.controls), after=True)


Entry = Union[PathEntry, RuleEntry, PairEntry]


def file_entry(number: int, path: str, controls: Tuple[str, ...], before: PathState, after: PathState) -> PathEntry:
    """The entry of a path whose bytes change, come or go: with the names of what will be staged for it."""
    name = path.rpartition("/")[2].encode("utf-8", "surrogateescape")
    had, has = before.type == "file", after.type == "file"
    return PathEntry(
        number,
        path,
        controls,
        before,
        after,
        "%d.before" % number if had else None,
        staged_name(name, b"old").decode("utf-8", "surrogateescape") if had else None,
        staged_name(name, b"new").decode("utf-8", "surrogateescape") if has else None,
    )


def sha256_of(content: bytes) -> str:
    """sha256 in hexadecimal."""
    return sha256(content).hexdigest()


def parse_entries(document: Any) -> List[Entry]:
    """The entries of a journal, every field checked: it is read back as root, whatever became of it. Raises ValueError.

    The names of what is staged must be of our own making, so that nothing else beside a path is ever touched.
    """
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise ValueError("its entries are no list of mappings")
    return [parse_entry(item) for item in document]


def parse_entry(item: Dict[str, Any]) -> Entry:
    """One entry. Raises ValueError."""
    number = item.get("number")
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError("an entry has no number")
    controls = text_list(item.get("controls", []))
    if "rule" in item:
        rule = text_list(item["rule"])
        if not rule or not isinstance(item.get("before"), bool) or not isinstance(item.get("after"), bool):
            raise ValueError("a rule's entry has a wrong type")
        return RuleEntry(number, rule, controls, item["before"], item["after"])
    staged = [item.get(name) for name in ("old", "new")]
    if not all(name is None or (isinstance(name, str) and STAGED_NAME.match(name)) for name in staged):
        raise ValueError("an entry names a staged file that is not ours")
    if "pair" in item:
        require_own_names(PAIR_BASE, staged)
        if not isinstance(item.get("before"), bool) or not all(isinstance(name, str) for name in staged):
            raise ValueError("a pair's entry has a wrong type")
        return PairEntry(number, str(item["pair"]), controls, item["before"], str(staged[0]), str(staged[1]))
    path, backup = item.get("path"), item.get("backup")
    if not isinstance(path, str):
        raise ValueError("an entry has no path")
    require_writable(path)
    require_own_names(path.rpartition("/")[2], staged)
    if backup is not None and (not isinstance(backup, str) or BACKUP_NAME.match(backup) is None):
        raise ValueError("an entry names a backup that is not ours")
    before, after = parse_state(item.get("before")), parse_state(item.get("after"))
    return PathEntry(number, path, controls, before, after, backup, staged[0], staged[1])


def require_writable(path: str) -> None:
    """Raises ValueError for a path that commit would not write, whatever roots an inventory named at that time."""
    parts = path.split("/")
    # A root that an inventory named may be the path itself, and lie right below the top.
    reason = refusal(path, ["/".join(parts[:depth]) for depth in range(2, len(parts) + 1)])
    if reason:
        raise ValueError("an entry names %s: %s" % (plain_line(path, 100), reason))


def require_own_names(name: str, staged: List[Optional[str]]) -> None:
    """Raises ValueError where what is staged for `name` is called as if it were for another."""
    if not all(one is None or one.startswith("." + name + ".remediator-") for one in staged):
        raise ValueError("an entry names a staged file of another path")


def text_list(value: Any) -> Tuple[str, ...]:
    """A list of texts. Raises ValueError."""
    if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
        raise ValueError("an entry holds something else than text")
    return tuple(value)
