"""How users set up Docker's CLI, from homes that really lie on a disk, hostile ones among them."""

import hashlib
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from remediator.host.observe.command import UNIT_NAMES
from remediator.host.observe.docker_clients import (
    MAX_CLIENT_FILE,
    MAX_CLIENTS,
    MAX_CONTEXTS,
    MAX_ENTRIES,
    docker_clients,
)
from remediator.host.observe.state import HostState
from remediator.host.observe.units import HostUnit

SECRET = "c2VjcmV0OnBhc3N3b3Jk"


class Homes:
    """Accounts with homes in a temporary directory, all of this process's own user unless said otherwise."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.passwd = ""
        self.state = HostState({name: HostUnit(name) for name in UNIT_NAMES}, {})

    def user(self, name: str, uid: int | None = None) -> Path:
        """The `~/.docker` of a new account, not made yet."""
        home = self.base / name
        home.mkdir()
        self.passwd += f"{name}:x:{os.getuid() if uid is None else uid}:100::{home}:/bin/sh\n"
        return home / ".docker"

    def clients(self) -> list[dict[str, Any]]:
        return docker_clients(self.state, self.passwd.encode())

    def problem(self) -> str:
        (problem,) = self.state.files.problems
        return problem


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    return Homes(tmp_path)


def context(docker: Path, name: str, host: str = "tcp://192.0.2.7:2376", key: bool = False, **endpoint: Any) -> str:
    """A context as the CLI lays it down; its id."""
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = docker / "contexts" / "meta" / identity
    meta.mkdir(parents=True)
    document = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, **endpoint}}}
    (meta / "meta.json").write_text(json.dumps(document))
    if key:
        tls = docker / "contexts" / "tls" / identity / "docker"
        tls.mkdir(parents=True)
        (tls / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    return identity


def test_a_users_key_and_contexts_are_told(homes: Homes) -> None:
    docker = homes.user("ann")
    docker.mkdir()
    (docker / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    (docker / "key.pem").chmod(0o644)
    (docker / "config.json").write_text('{"currentContext": "prod"}')
    prod = context(docker, "prod", key=True, SkipTLSVerify=False)
    context(docker, "lab", "ssh://ann@lab", SkipTLSVerify=True)
    (client,) = homes.clients()
    contexts = {item["name"]: item for item in client.pop("contexts")}
    key = f"{docker}/contexts/tls/{prod}/docker/key.pem"
    assert client == {
        "user": "ann",
        "uid": os.getuid(),
        "directory": str(docker),
        "key": f"{docker}/key.pem",
        "current_context": "prod",
    }
    assert contexts["prod"] == {"name": "prod", "address": "tcp://192.0.2.7:2376", "skip_verify": False, "key": key}
    assert contexts["lab"]["skip_verify"] is True
    assert contexts["lab"]["key"] is None
    files = homes.state.files.answer()
    assert files[f"{docker}/key.pem"]["mode"] == 0o644
    assert files[key]["type"] == "file"
    assert "content" not in files[key]
    assert homes.state.files.problems == []


def test_an_empty_directory_is_a_client_without_settings(homes: Homes) -> None:
    homes.user("ann").mkdir()
    (client,) = homes.clients()
    assert (client["key"], client["current_context"], client["contexts"]) == (None, "", [])
    assert homes.state.files.problems == []


def test_users_without_one_and_homes_that_are_none_are_passed_over(homes: Homes) -> None:
    homes.user("ann")
    homes.passwd += "bob:x:1001:1::/nonexistent:/bin/sh\ncat:x:1002:1::/dev/null:/bin/sh\ndog:x:1003:1::rel:/bin/sh\n"
    homes.passwd += "broken\nelk:x:1:1:::/bin/sh\n"
    homes.user("fox").mkdir()
    assert [client["user"] for client in homes.clients()] == ["fox"]
    assert homes.state.files.problems == []


def test_registry_passwords_and_everything_else_of_the_settings_stay(homes: Homes) -> None:
    docker = homes.user("ann")
    docker.mkdir()
    settings = {"auths": {"r.example": {"auth": SECRET}}, "HttpHeaders": {"X": SECRET}, "currentContext": "a"}
    (docker / "config.json").write_text(json.dumps(settings))
    context(docker, "a", f"tcp://ann:{SECRET}@192.0.2.7:2376")
    meta = next((docker / "contexts" / "meta").iterdir()) / "meta.json"
    document = json.loads(meta.read_text())
    document["Metadata"] = {"Description": SECRET}
    meta.write_text(json.dumps(document))
    answer = json.dumps([homes.clients(), homes.state.files.answer(), homes.state.files.problems])
    assert SECRET not in answer
    assert "192.0.2.7:2376" in answer
    assert "r.example" not in answer


def test_a_password_in_a_very_long_address_is_masked_before_it_is_cut(homes: Homes) -> None:
    docker = homes.user("ann")
    docker.mkdir()
    context(docker, "a", "tcp://ann:" + "Pw" * 400 + "@192.0.2.7")
    assert "Pw" not in json.dumps(homes.clients())


@pytest.mark.parametrize("place", [".docker", "config.json", "contexts", "meta", "entry", "meta.json"])
def test_no_link_of_a_users_leads_root_anywhere(homes: Homes, place: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / ".docker"
    outside.mkdir(parents=True)
    (outside / "config.json").write_text('{"currentContext": "stolen"}')
    identity = context(outside, "stolen")
    docker = homes.user("ann")
    own = {
        ".docker": docker,
        "config.json": docker / "config.json",
        "contexts": docker / "contexts",
        "meta": docker / "contexts" / "meta",
        "entry": docker / "contexts" / "meta" / identity,
        "meta.json": docker / "contexts" / "meta" / identity / "meta.json",
    }[place]
    own.parent.mkdir(parents=True, exist_ok=True)
    own.symlink_to(outside / own.relative_to(docker))
    assert "stolen" not in json.dumps(homes.clients())
    assert str(own) in homes.problem()


@pytest.mark.parametrize("place", ["tls", "entry", "docker"])
def test_no_link_of_a_users_makes_another_key_theirs(homes: Homes, place: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / ".docker"
    identity = context(outside, "prod", key=True)
    docker = homes.user("ann")
    context(docker, "prod")
    own = {
        "tls": docker / "contexts" / "tls",
        "entry": docker / "contexts" / "tls" / identity,
        "docker": docker / "contexts" / "tls" / identity / "docker",
    }[place]
    own.parent.mkdir(parents=True, exist_ok=True)
    own.symlink_to(outside / own.relative_to(docker))
    assert homes.clients()[0]["contexts"][0]["key"] is None


def test_a_key_that_is_a_symlink_is_told_as_one_and_its_target_is_not_looked_at(homes: Homes, tmp_path: Path) -> None:
    (tmp_path / "shadow").touch(0o640)
    docker = homes.user("ann")
    identity = context(docker, "prod", key=True)
    keys = [docker / "key.pem", docker / "contexts" / "tls" / identity / "docker" / "key.pem"]
    keys[1].unlink()
    for key in keys:
        key.symlink_to(tmp_path / "shadow")
    (client,) = homes.clients()
    assert [client["key"], client["contexts"][0]["key"]] == [str(key) for key in keys]
    files = homes.state.files.answer()
    assert [files[str(key)]["type"] for key in keys] == ["symlink", "symlink"]
    assert sorted(files) == sorted(str(key) for key in keys)
    assert "resolved" not in files[str(keys[0])]


def test_a_key_of_several_names_is_told_with_their_number(homes: Homes, tmp_path: Path) -> None:
    docker = homes.user("ann")
    docker.mkdir()
    (docker / "key.pem").touch()
    os.link(docker / "key.pem", tmp_path / "other")
    homes.clients()
    assert homes.state.files.answer()[f"{docker}/key.pem"]["nlink"] == 2


def test_an_acl_that_opens_a_key_is_told(homes: Homes) -> None:
    docker = homes.user("ann")
    docker.mkdir()
    (docker / "key.pem").touch(0o600)
    # Version 2; (tag, permissions, id) of the owner, user 33, the group, the mask and others.
    entries = ((1, 6, -1), (2, 4, 33), (4, 0, -1), (16, 4, -1), (32, 0, -1))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(docker / "key.pem", "system.posix_acl_access", acl)
    homes.clients()
    assert homes.state.files.answer()[f"{docker}/key.pem"]["acl"] is True


def test_a_home_behind_the_administrators_own_link_is_looked_at(homes: Homes, tmp_path: Path) -> None:
    homes.user("ann").mkdir()
    (tmp_path / "ann").rename(tmp_path / "moved")
    (tmp_path / "ann").symlink_to("moved")
    assert [client["user"] for client in homes.clients()] == ["ann"]


def test_a_fifo_in_place_of_the_settings_holds_nobody_up(homes: Homes) -> None:
    docker = homes.user("ann")
    docker.mkdir()
    os.mkfifo(docker / "config.json")
    assert homes.clients()[0]["current_context"] == ""
    assert "config.json is not a regular file" in homes.problem()


@pytest.mark.root
def test_settings_of_another_user_are_not_read(homes: Homes) -> None:
    for name, uid, owner in (("ann", 1000, 1001), ("bob", 1001, 1001), ("cat", 1002, 0)):
        docker = homes.user(name, uid)
        docker.mkdir()
        (docker / "config.json").write_text('{"currentContext": "here"}')
        os.chown(docker / "config.json", owner, 0)
    assert [client["current_context"] for client in homes.clients()] == ["", "here", "here"]
    assert "ann" in homes.problem()
    assert "another user's" in homes.problem()


@pytest.mark.root
def test_a_hard_link_to_roots_own_settings_is_not_read(homes: Homes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"currentContext": "stolen"}')
    docker = homes.user("ann", 1000)
    docker.mkdir()
    os.link(tmp_path / "config.json", docker / "config.json")
    assert homes.clients()[0]["current_context"] == ""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100000,
        b'{"currentContext": ' + b"9" * 200000 + b"}",
        b'{"currentContext": ["a"]}',
        b'["currentContext"]',
        b"\xff\xfe\0",
        b" " * (MAX_CLIENT_FILE + 1),
    ],
)
def test_settings_that_make_no_sense_cost_nothing_but_themselves(homes: Homes, content: bytes) -> None:
    docker = homes.user("ann")
    docker.mkdir()
    (docker / "config.json").write_bytes(content)
    context(docker, "prod")
    started = time.process_time()
    (client,) = homes.clients()
    assert time.process_time() - started < 1
    assert client["current_context"] == ""
    assert [item["name"] for item in client["contexts"]] == ["prod"]


@pytest.mark.parametrize("text", ["\ud800", "a\x1b[2J\0b", "x" * 100000])
def test_hostile_texts_can_be_sent(homes: Homes, text: str) -> None:
    docker = homes.user("ann")
    docker.mkdir()
    (docker / "config.json").write_text(json.dumps({"currentContext": text}))
    current = homes.clients()[0]["current_context"]
    current.encode("utf-8")
    assert len(current) <= 300


@pytest.mark.parametrize("document", [[], {"Endpoints": 5}, {"Endpoints": {"docker": []}}, {"Name": 7}])
def test_a_context_of_another_shape_has_no_address(homes: Homes, document: Any) -> None:
    docker = homes.user("ann")
    meta = docker / "contexts" / "meta" / "a"
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps(document))
    assert [item["address"] for item in homes.clients()[0]["contexts"]] == ([""] if document else [])


def test_a_name_that_is_no_utf_8_is_shown_as_escapes(homes: Homes) -> None:
    docker = homes.user("ann")
    context(docker, "prod", key=True)
    for part in ("meta", "tls"):
        entry = next((docker / "contexts" / part).iterdir())
        os.rename(entry, os.fsencode(entry.parent) + b"/caf\xe9\x1b")
    key = homes.clients()[0]["contexts"][0]["key"]
    assert key == f"{docker}/contexts/tls/caf\\xe9\\x1b/docker/key.pem"
    assert homes.state.files.answer()[key]["plain"] is False


def test_many_contexts_are_bounded_and_told(homes: Homes) -> None:
    docker = homes.user("ann")
    for number in range(MAX_CONTEXTS + 3):
        context(docker, f"c{number}")
    assert len(homes.clients()[0]["contexts"]) == MAX_CONTEXTS
    assert "and those after it" in homes.problem()


def test_a_directory_of_very_many_entries_is_not_read_to_its_end(homes: Homes) -> None:
    docker = homes.user("ann")
    (docker / "contexts" / "meta").mkdir(parents=True)
    for number in range(20000):
        (docker / "contexts" / "meta" / f"{number}").touch()
    started = time.process_time()
    homes.clients()
    assert time.process_time() - started < 1
    assert "and 996 more" in homes.problem()


def test_entries_that_are_left_out_are_told(homes: Homes) -> None:
    docker = homes.user("ann")
    for number in range(MAX_ENTRIES + 1):
        (docker / "contexts" / "meta" / f"{number}").mkdir(parents=True)
    homes.clients()
    assert f"ann: {docker}/contexts/meta has more than {MAX_ENTRIES} entries: the rest" in homes.problem()


def test_many_users_are_bounded_and_told(homes: Homes) -> None:
    for number in range(MAX_CLIENTS + 2):
        homes.user(f"u{number}").mkdir()
    assert len(homes.clients()) == MAX_CLIENTS
    assert f"u{MAX_CLIENTS} and those after it" in homes.problem()


def test_a_deadline_ends_the_looking(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    homes.user("ann").mkdir()
    monkeypatch.setattr("remediator.host.observe.docker_clients.CLIENT_SECONDS", -1)
    assert homes.clients() == []
    assert "ann and those after it" in homes.problem()


def test_descriptors_are_closed(homes: Homes) -> None:
    docker = homes.user("ann")
    context(docker, "prod", key=True)
    (docker / "config.json").write_text("{")
    before = os.listdir("/proc/self/fd")
    homes.clients()
    assert os.listdir("/proc/self/fd") == before
