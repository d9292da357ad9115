"""`remediate tls issue` as a user calls it, with stand-in hosts and a CA of its own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pexpect
import pytest

from remediator.access import Secret
from remediator.tls.authority import create_authority
from remediator.tls.store import Store
from remediator.views.documents import json_schema
from tests.unit import stand_in
from tests.unit.stand_in_keys import Made, host_seen, pair

Remediate = Callable[..., Any]
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A CA where the `remediate` fixture's home directory is."""
    made = Store(tmp_path / "home" / ".local" / "share" / "remediator" / "tls")
    create_authority(made, Secret(PASSPHRASE), datetime.now(UTC))
    return made


@pytest.fixture
def web1(tmp_path: Path) -> Made:
    """One host of hosts.ini that will have made this pair, beside one without Docker and one that is locked."""
    made = pair("web1")
    stand_in.fleet(tmp_path, {"web1": "applied", "nas": "applied", "db1": "locked"})
    answers = {
        "web1": (host_seen(None), host_seen(made)),
        "nas": (host_seen(None, docker=False), {}),
        "db1": (host_seen(None), {}),
    }
    for name, (before, after) in answers.items():
        (tmp_path / name / "observation.json").write_text(json.dumps(before))
        (tmp_path / name / "after.json").write_text(json.dumps(after))
    return made


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text(f"{PASSPHRASE}\n")
    return str(path)


def test_every_host_has_a_line_and_the_next_step_is_named(
    remediate: Remediate, store: Store, web1: Made, passphrase: str
) -> None:
    call = ("tls", "issue", "-i", "hosts.ini", "-l", "web1:nas", "-f", "5", "--passphrase-file", passphrase)
    first = remediate(*call)
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert lines[0].split()[:3] == ["web1", "issued", "until"]
    assert lines[0].endswith("for web1 (none was issued yet)")
    assert lines[1].split()[:2] == ["nas", "skipped"]
    assert shlex.split(lines[-1]) == [
        *("remediate", "--check", "--role", "docker_tls", "-i", "hosts.ini"),
        *("-l", "web1:nas", "-f", "5"),
    ]
    assert store.host_certificate("web1").is_file()

    again = remediate(*call)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[0].split()[:3] == ["web1", "still", "valid"]
    assert PASSPHRASE not in first.stdout + first.stderr + again.stdout + again.stderr


def test_a_host_that_fails_is_named_and_the_others_go_on(
    remediate: Remediate, store: Store, web1: Made, passphrase: str
) -> None:
    done = remediate("tls", "issue", "-i", "hosts.ini", "--passphrase-file", passphrase, "--format", "json")
    assert done.returncode == 5, done.stderr
    document = json.loads(done.stdout)
    schema = json_schema()
    jsonschema.Draft202012Validator(schema).validate(document)
    assert (document["format_version"], document["document"]) == (1, "issue")
    hosts = {host["host"]: host for host in document["hosts"]}
    assert list(hosts) == ["web1", "nas", "db1"]
    assert (hosts["web1"]["result"], hosts["web1"]["names"]) == ("issued", ["web1"])
    assert datetime.fromisoformat(hosts["web1"]["not_after"]) > datetime.now(UTC)
    assert (hosts["db1"]["result"], hosts["db1"]["kind"]) == ("failed", "locked")
    assert hosts["nas"]["result"] == "skipped"
    said = remediate("tls", "issue", "-i", "hosts.ini", "-l", "db1", "--passphrase-file", passphrase)
    assert said.returncode == 5
    assert said.stdout.splitlines()[0].split()[:2] == ["db1", "FAILED"]
    assert "has the lock" in said.stdout
    assert "--check" not in said.stdout


def test_a_wrong_passphrase_ends_before_any_host_is_asked(
    remediate: Remediate, store: Store, web1: Made, tmp_path: Path
) -> None:
    done = remediate("tls", "issue", "-i", "hosts.ini", more={"REMEDIATOR_CA_PASSPHRASE": "incorrect horse"})
    assert done.returncode == 2
    assert "passphrase is wrong" in done.stderr
    assert "incorrect horse" not in done.stdout + done.stderr
    assert stand_in.told(tmp_path, "web1") == []
    assert sorted(path.name for path in store.directory.iterdir()) == ["ca-key.pem", "ca.pem"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "-i INVENTORY"),
        (("-i", "localhost,"), "remediate tls init"),
        (("-i", "localhost,", "--role", "docker_tls"), "No such option"),
    ],
)
def test_a_call_that_cannot_be_meant_ends_2(remediate: Remediate, arguments: tuple[str, ...], said: str) -> None:
    done = remediate("tls", "issue", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_terminal_to_ask_at_it_says_where_a_passphrase_can_come_from(
    remediate: Remediate, store: Store, web1: Made
) -> None:
    done = remediate("tls", "issue", "-i", "hosts.ini")
    assert done.returncode == 2
    assert "--passphrase-file" in done.stderr
    assert "REMEDIATOR_CA_PASSPHRASE" in done.stderr


def test_the_passphrase_is_asked_for_and_never_shown(store: Store, web1: Made, tmp_path: Path) -> None:
    command = str(Path(sys.executable).with_name("remediate"))
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_DATA_HOME": ""}
    child = pexpect.spawn(
        command,
        ["tls", "issue", "-i", str(tmp_path / "hosts.ini"), "-l", "nas"],
        env=environment,  # type: ignore[arg-type]
        encoding="utf-8",
        timeout=60,
    )
    child.expect_exact("Passphrase of the CA's key: ")
    child.sendline(PASSPHRASE)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    assert "skipped" in str(child.before)
    assert PASSPHRASE not in str(child.before)


def test_ctrl_c_while_hosts_make_keys_signs_nothing_and_ends_130(
    store: Store, web1: Made, passphrase: str, tmp_path: Path
) -> None:
    (tmp_path / "web1" / "commit").write_text("slow")
    command = [str(Path(sys.executable).with_name("remediate")), "tls", "issue", "-i", str(tmp_path / "hosts.ini")]
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_DATA_HOME": ""}
    call = subprocess.Popen([*command, "--passphrase-file", passphrase], env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "web1" / "committing").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    call.send_signal(signal.SIGINT)
    _, said = call.communicate(timeout=60)
    (tmp_path / "web1" / "go").touch()  # what was left running on the host ends
    assert call.returncode == 130, said
    assert b"stopped" in said
    assert b"Traceback" not in said
    assert store.hosts() == {}
