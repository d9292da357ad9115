"""An open journal that is not what this program wrote: nothing is put back by it, and nothing else is changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.points import KILL
from tests.faults.shapes import shape
from tests.faults.strace import Point, faulted
from tests.unit.host.commit.host import CommitHost, chmod, state_of, transaction

Tamper = Callable[[Path], None]


def symlink(journal: Path) -> None:
    journal.rename(journal.with_name("elsewhere"))
    journal.symlink_to("elsewhere")


def fifo(journal: Path) -> None:
    journal.unlink()
    os.mkfifo(journal, 0o600)


def huge(journal: Path) -> None:
    with journal.open("ab") as file:
        file.truncate(9 * 1024 * 1024)


def others_file(journal: Path) -> None:
    os.chown(journal, 1000, 0)


def readable_by_others(journal: Path) -> None:
    journal.chmod(0o644)


def nested(journal: Path) -> None:
    journal.write_text('{"entries": ' + "[" * 100_000)


def others_directory(journal: Path) -> None:
    os.chown(journal.parent, 1000, 0)


def linked_directory(journal: Path) -> None:
    aside = journal.parent.with_name("aside")
    journal.parent.rename(aside)
    journal.parent.symlink_to(aside)


def changed(**fields: Any) -> Tamper:
    """The document with other fields."""

    def tamper(journal: Path) -> None:
        journal.write_text(json.dumps({**json.loads(journal.read_text()), **fields}))

    return tamper


def entry(**fields: Any) -> Tamper:
    """The document with other fields in its entry."""

    def tamper(journal: Path) -> None:
        document = json.loads(journal.read_text())
        document["entries"][0].update(fields)
        journal.write_text(json.dumps(document))

    return tamper


TAMPERED = {
    "a symlink": symlink,
    "a fifo": fifo,
    "nine megabytes": huge,
    "somebody else's": others_file,
    "readable by others": readable_by_others,
    "nested too deep": nested,
    "in somebody else's directory": others_directory,
    "in a linked directory": linked_directory,
    "another transaction's": changed(group="docker"),
    "another version's": changed(format_version=2),
    "entries of no type": changed(entries=["x"]),
    "started never": changed(started="x"),
    "an entry of an account file": entry(path="/etc/shadow"),
    "an entry of a system directory": entry(path="/usr/bin"),
    "an entry of a place that is never written": entry(path="/srv/x"),
    "an entry that climbs": entry(path="/etc/docker/../shadow"),
    "an entry of somebody's dotted file": entry(old=".bashrc"),
    "an entry of another path's copy": entry(old=".other.remediator-0123456789ab.old"),
    "an entry whose copy lies elsewhere": entry(new=".daemon.json.remediator-0123456789ab.new/../x"),
    "an entry whose backup lies elsewhere": entry(backup="../../x"),
    "a state without a type": entry(before={}),
    "a state of wrong types": entry(before={"type": "file", "mode": "0644", "uid": 0, "gid": 0}),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
def test_a_journal_that_nobody_can_have_written_is_refused_in_a_sentence_and_nothing_is_changed(tamper: Tamper) -> None:
    with shape("write existing").scene() as scene:
        # Killed as its record is written: the new bytes are in place, and the journal is open.
        scene.start(faulted(Point("renameat", 3), KILL)).process.communicate(timeout=60)
        [journal] = scene.host.state.glob("transactions/*/journal.json")
        tamper(journal)
        other = scene.host.file("other")
        before = everything(scene.host)
        for answer in (
            scene.host.recover(),
            scene.host.start(scene.host.request(transaction(chmod(other, 0o600)))).answer(),
        ):
            assert answer["error"]["kind"] == "state", answer
            message = answer["error"]["message"]
            assert message.isprintable()
            assert "/var/lib/remediator/transactions" in message or "the journals of this host" in message
        assert everything(scene.host) == before


def everything(host: CommitHost) -> dict[str, tuple[Any, ...]]:
    return {str(path): state_of(path)[:4] for path in sorted(host.files.rglob("*"))}


def test_what_lies_beside_the_journals_is_left_alone() -> None:
    with shape("write existing").scene() as scene:
        theirs = scene.host.state / "transactions" / "notes of the admin"
        theirs.mkdir(parents=True)
        theirs.parent.chmod(0o700)
        (theirs / "todo").write_text("look")
        assert scene.start().answer()["results"][0]["outcome"] == "applied"
        assert (theirs / "todo").read_text() == "look"
