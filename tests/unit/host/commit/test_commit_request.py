"""A request that is not exactly what the program was made for is refused whole."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.host.commit.host import CommitHost, chmod, transaction


def resign(document: dict[str, Any]) -> None:
    """Gives a changed transaction the digest of its content again."""
    for item in document["transactions"]:
        content = {name: value for name, value in item.items() if name not in ("digest", "impact")}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        item["digest"] = hashlib.sha256(text.encode()).hexdigest()


def first(document: dict[str, Any]) -> dict[str, Any]:
    item = document["transactions"][0]
    assert isinstance(item, dict)
    return item


def key(**changes: Any) -> dict[str, Any]:
    action = {"do": "install_key", "path": "/x", "source": "host", "public_sha256": "0" * 64}
    return {**action, "mode": 0o400, "uid": 0, "gid": 0, **changes}


def edit(splices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"do": "edit", "path": "/x", "splices": splices, "mode": 0o600, "uid": 0, "gid": 0}


def splice(offset: int, length: int) -> dict[str, Any]:
    return {"offset": offset, "length": length, "content": "eA=="}


BAD: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda it: it.update(format_version=2), "format is not version 1"),
    (lambda it: it.update(roots="/etc"), "must be lists"),
    (lambda it: it.update(who=None), "must be text"),
    (lambda it: first(it)["actions"].append({"do": "run", "path": "/bin/sh"}), "does not have"),
    (lambda it: first(it)["actions"][0].update(content="eA=="), "cannot have content"),
    (lambda it: first(it)["actions"][0].update(mode=None), "needs mode"),
    (lambda it: first(it)["actions"][0].update(mode=0o17777), "mode has a wrong value"),
    (lambda it: first(it)["actions"][0].update(mode=True), "mode has a wrong value"),
    (lambda it: first(it)["actions"][0].update(path="/etc/\0"), "path has a wrong value"),
    (lambda it: first(it)["actions"][0].update(command="id"), "not known: command"),
    (lambda it: first(it).update(activation=[{"do": "restart", "unit": "--now x.service"}]), "name is not valid"),
    (lambda it: first(it).update(activation=[{"do": "restart", "unit": "x.target"}]), "name is not valid"),
    (lambda it: first(it).update(probe=[{"do": "mode_is", "path": "/x"}]), "needs mode"),
    (lambda it: first(it).update(preconditions=[{"path": "/x", "type": "file"}]), "needs path, resolved"),
    (lambda it: first(it)["actions"].append({"do": "make_key"}), "needs subject"),
    (lambda it: first(it)["actions"].append({"do": "make_key", "subject": "x", "path": "/x"}), "cannot have path"),
    (lambda it: first(it)["actions"].append(key(source="elsewhere")), "from the host or from the controller"),
    (lambda it: first(it)["actions"].append(key(public_sha256="abc")), "public_sha256 has a wrong value"),
    (lambda it: first(it)["actions"].append(key(content="eA==")), "cannot have content"),
    (lambda it: first(it)["actions"].append(edit([])), "must be a list of mappings"),
    (lambda it: first(it)["actions"].append(edit([{"offset": 1, "length": 2}])), "lack a field"),
    (lambda it: first(it)["actions"].append(edit([splice(5, 1), splice(0, 1)])), "out of order"),
    (lambda it: first(it)["actions"].append(edit([splice(0, 2), splice(1, 1)])), "overlap"),
    (lambda it: first(it)["actions"].append(edit([splice(-1, 1)])), "offset has a wrong value"),
]


@pytest.mark.parametrize(("spoil", "words"), BAD)
def test_a_request_with_anything_unknown_is_refused_before_a_write(
    host: CommitHost, spoil: Callable[[dict[str, Any]], object], words: str
) -> None:
    path = host.file("daemon.json")
    document = copy.deepcopy(host.request(transaction(chmod(path, 0o600))))
    spoil(document)
    resign(document)
    error = host.start(document).answer()["error"]
    assert error["kind"] == "request"
    assert words in error["message"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_transaction_whose_digest_is_not_its_contents_is_refused(host: CommitHost) -> None:
    path = host.file("daemon.json")
    document = host.request(transaction(chmod(path, 0o600)))
    first(document)["actions"][0]["mode"] = 0o777
    error = host.start(document).answer()["error"]
    assert error["kind"] == "request"
    assert "digest of transaction files" in error["message"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_without_root_it_says_what_to_do(host: CommitHost) -> None:
    path = host.file("daemon.json")
    running = host.start(host.request(transaction(chmod(path, 0o600))), user="setpriv --reuid 65534 --clear-groups")
    error = running.answer()["error"]
    assert error["kind"] == "become"
    assert "give -b" in error["message"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_log_daemon_that_is_stuck_or_missing_holds_nobody_up(host: CommitHost) -> None:
    path = host.file("daemon.json")
    # Nobody reads: more lines than the kernel queues for such sockets.
    begun = time.monotonic()
    many = [host.file(f"file{number}") for number in range(600)]
    assert host.run(transaction(*[chmod(item, 0o600) for item in many]))[0]["outcome"] == "applied"
    host.log.close()
    (host.base / "log").unlink()
    assert host.run(transaction(chmod(path, 0o644)))[0]["outcome"] == "applied"
    assert time.monotonic() - begun < 30


def test_the_hosts_log_has_one_line_a_path_whatever_was_typed_as_reason(host: CommitHost) -> None:
    path = host.file("daemon.json")
    order = {"run": "01JD0000000000000000000000", "who": "m\u202ea"}
    host.run(transaction(chmod(path, 0o600)), reason='x\nNov 1 root: "faked"\x1b[2J', **order)
    [line] = host.journal()
    assert "\n" not in line
    assert "\x1b" not in line
    assert f'path="{path}" outcome=applied' in line
    assert "run=01JD0000000000000000000000" in line
