"""The real commit on generated files: an undo after it is the identity, and doing it twice is doing it once."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from remediator.plan import Action
from tests.unit.host.commit.host import CommitHost, chmod, commit_host, state_of, transaction, write

# Each example starts the program on a host of its own four times.
few = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making one smaller would take minutes
)
pytestmark = pytest.mark.root

NAMES = ("a.json", "b.conf", "etc/c.rules", "etc/d")
MODES = st.sampled_from([0o600, 0o644, 0o640, 0o755, 0o4755, 0o2750])
OWNERS = st.sampled_from([(0, 0), (0, 7), (12, 34)])
CONTENTS = st.one_of(st.binary(max_size=40), st.just(b"x" * 5_000))
FILES = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(CONTENTS, MODES, OWNERS, st.dictionaries(st.sampled_from(["user.a", "user.b"]), st.binary(max_size=9))),
    min_size=1,
)
# What becomes of a path that is there: nothing, new bytes, another mode, another owner, both, or that it goes.
CHANGES = st.sampled_from(["none", "write", "chmod", "chown", "access", "remove"])
NEW = st.tuples(CONTENTS, MODES, OWNERS)


def make_files(host: CommitHost, files: dict[str, Any]) -> None:
    """The host as it is before anything."""
    (host.files / "etc").mkdir()
    for number, (name, (content, mode, (uid, gid), attributes)) in enumerate(sorted(files.items())):
        path = host.file(name, content, mode, uid, gid)
        for attribute, value in attributes.items():
            os.setxattr(path, attribute, value)
        path.chmod(mode)
        os.utime(path, ns=(10**18 + number, 10**18 + 7 * number))


def actions_on(path: Path, change: str, new: Any) -> list[Action]:
    """The actions that make that change."""
    content, mode, (uid, gid) = new
    chown = Action(do="chown", path=str(path), uid=uid, gid=gid)
    return {
        "none": [],
        "write": [write(path, content, mode, uid, gid)],
        "chmod": [chmod(path, mode)],
        "chown": [chown, chmod(path, stat.S_IMODE(path.stat().st_mode))],
        "access": [chown, chmod(path, mode)],
        "remove": [Action(do="remove", path=str(path))],
    }[change]


def everything(host: CommitHost) -> dict[str, Any]:
    """All that is there; a directory's own time and size move with what comes and goes in it."""
    found = {path: state_of(path) for path in sorted(host.files.rglob("*"))}
    return {str(path): state[:4] + state[6:] if path.is_dir() else state for path, state in found.items()}


def undo_of(host: CommitHost, run: str) -> list[Action]:
    """The actions that take a recorded transaction back, as its record tells them."""
    [file] = host.state.glob(f"transactions/{run}.*/record.json")
    actions: list[Action] = []
    for entry in reversed(json.loads(file.read_text())["entries"]):
        path, before = entry["path"], entry["before"]
        if before["type"] == "missing":
            actions.append(Action(do="rmdir" if entry["after"]["type"] == "directory" else "remove", path=path))
        elif entry.get("backup"):
            actions.append(Action(do="restore", path=path, source=f"{file.parent.name}/{entry['backup']}"))
        else:
            actions.append(Action(do="chown", path=path, uid=before["uid"], gid=before["gid"]))
            actions.append(chmod(Path(path), before["mode"]))
    return actions


@few
@given(FILES, st.data())
def test_an_undo_after_a_commit_is_the_identity_and_twice_is_once(files: dict[str, Any], data: st.DataObject) -> None:
    with commit_host() as host:
        make_files(host, files)
        actions: list[Action] = []
        for name in sorted(files):
            actions += actions_on(host.files / name, data.draw(CHANGES, name), data.draw(NEW, f"new {name}"))
        if data.draw(st.booleans(), "a new directory"):
            made = host.files / "new.d"
            actions += [Action(do="mkdir", path=str(made), mode=0o750, uid=0, gid=7), write(made / "x", b"x", 0o600)]
        before = everything(host)
        request = host.request(transaction(*actions))
        first = host.start(request).answer()["results"]
        assert [result["outcome"] for result in first] == ["applied"], first[0]["reason"]
        after = everything(host)

        assert host.start(request).answer()["results"] == first
        assert everything(host) == after

        undo = transaction(*undo_of(host, request["run"]))
        assert host.run(undo)[0]["outcome"] == "applied"
        assert everything(host) == before
