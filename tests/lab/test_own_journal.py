"""What a host holds of our own: the line in its log, what is kept and what goes, and a journal that cannot be believed.

One Docker host without a restart anywhere: an environment file that its group may write to is the change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .hosts.container import ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.interface import LAB_POLICY, inventory
from .hosts.keys import Keys
from .product import Answer, Product

OURS = "/var/lib/remediator"
DEFAULTS = "/etc/default/docker"
CONTROL = "docker.files.default-file-mode"
RUN = "01JD0000000000000000000000"
HOSTILE = {
    "no JSON": "printf '{\"run\": ' >journal.json",
    "another's": """printf '{"format_version": 1, "run": "01X", "group": "files"}' >journal.json""",
    "a pipe": "mkfifo journal.json",
    "a link": "ln -s /etc/shadow journal.json",
    "without an end": "truncate -s 5G journal.json",
}


@pytest.fixture(scope="module")
def host(engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Debian 12 Docker host."""
    started = start_docker_host(engine, lab_keys, "debian12", "own-journal")
    yield started
    started.remove()


@pytest.fixture
def drifted(host: ContainerHost) -> Iterator[ContainerHost]:
    """The host, with a file to correct and nothing of ours."""
    host.script(f"chmod 0664 {DEFAULTS}\nrm -rf {OURS}")
    yield host
    host.script(f"umount {OURS} 2>/dev/null || true\nrm -rf {OURS}")


def hosts_file(host: ContainerHost, directory: Path, **policy: object) -> Path:
    path = directory / "hosts.yml"
    path.write_text(inventory([host], {host.name: {"remediator_policy": {**LAB_POLICY, **policy}}}))
    return path


def mode(host: ContainerHost) -> str:
    return host.text("stat", "-c", "%a", DEFAULTS)


def apply(remediate: Product, path: Path) -> Answer:
    return remediate.apply(path, "--control", CONTROL, "--reason", "change 4711")


def listed(remediate: Product, host: ContainerHost, path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = remediate("transactions", "-i", str(path), "--format", "json").host(host.name)[
        "transactions"
    ]
    return found


def test_the_hosts_own_log_says_who_changed_what_and_why(
    drifted: ContainerHost, remediate: Product, tmp_path: Path
) -> None:
    answer = apply(remediate, hosts_file(drifted, tmp_path))
    assert answer.code == 0, answer.out + answer.err
    log = drifted.text("journalctl", "--identifier=remediator", "--output=cat", "--no-pager").splitlines()
    (line,) = [line for line in log if f"run={answer.document['run']} " in line]
    for word in ('reason="change 4711"', f'path="{DEFAULTS}"', "outcome=applied", 'who="'):
        assert word in line


def test_old_records_go_by_number_but_never_a_paths_first_or_its_last(
    drifted: ContainerHost, remediate: Product, tmp_path: Path
) -> None:
    path = hosts_file(drifted, tmp_path, keep=1)
    runs = []
    for _ in range(4):
        drifted.run("chmod", "0664", DEFAULTS)
        answer = apply(remediate, path)
        assert answer.code == 0, answer.out + answer.err
        runs.append(answer.document["run"])
    assert [each["run"] for each in listed(remediate, drifted, path)] == [runs[3], runs[0]]


def test_without_a_free_inode_nothing_is_changed(drifted: ContainerHost, remediate: Product, tmp_path: Path) -> None:
    drifted.script(f"mkdir -m 0700 {OURS}\nmount -t tmpfs -o nr_inodes=1,mode=0700 tmpfs {OURS}")
    answer = apply(remediate, hosts_file(drifted, tmp_path))
    assert answer.code == 3, answer.out
    assert "No space left" in answer.host(drifted.name)["error"]["message"]
    assert mode(drifted) == "664"


def test_a_disk_that_fills_up_while_the_journal_is_written_refuses_the_change(
    drifted: ContainerHost, remediate: Product, tmp_path: Path
) -> None:
    drifted.script(f"mkdir -m 0700 {OURS}\nmount -t tmpfs -o nr_inodes=6,size=12k,mode=0700 tmpfs {OURS}")
    answer = apply(remediate, hosts_file(drifted, tmp_path))
    assert answer.code == 3, answer.out
    assert "No space left" in answer.out
    assert mode(drifted) == "664"
    assert drifted.text("sh", "-c", f"find {OURS} -name journal.json") == ""


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
def test_a_journal_that_cannot_be_believed_is_shown_and_nothing_is_done_by_it(
    drifted: ContainerHost, remediate: Product, tmp_path: Path, script: str
) -> None:
    place = f"{OURS}/transactions/{RUN}.files"
    drifted.script(f"umask 077\nmkdir -p {place}\ncd {place}\n{script}")
    shadow = drifted.text("stat", "-c", "%i %a %U %Y %Z", "/etc/shadow")
    path = hosts_file(drifted, tmp_path)

    check = remediate.check(path, "--control", CONTROL)
    assert check.code == 3, check.out
    (alert,) = check.host(drifted.name)["alerts"]
    assert alert["kind"] == "open"
    assert RUN in alert["text"]
    assert "its journal cannot be read" in alert["text"]
    assert f"removed {place}" in alert["text"]

    answer = apply(remediate, path)
    assert (answer.code, answer.document["ended"]) == (3, "nothing_permitted"), answer.out
    assert mode(drifted) == "664"
    assert drifted.text("stat", "-c", "%i %a %U %Y %Z", "/etc/shadow") == shadow


# What an apply recorded, as the journal of one that was cut short as it opened the passwords to everybody.
FORGED = """
import json, os, sys
place, shadow = sys.argv[1], os.stat("/etc/shadow")
(name,) = os.listdir(place)
told = json.load(open(f"{place}/{name}/record.json"))
(entry,) = told["entries"]
entry["path"] = "/etc/shadow"
entry["before"]["mode"] = 0o666
entry["after"].update(mode=shadow.st_mode & 0o7777, uid=shadow.st_uid, gid=shadow.st_gid)
os.umask(0o077)
os.mkdir(f"{place}/{sys.argv[2]}.files")
json.dump({**told, "run": sys.argv[2]}, open(f"{place}/{sys.argv[2]}.files/journal.json", "w"))
"""


def test_a_journal_of_the_right_form_still_leads_to_no_path_that_remediator_would_not_change(
    drifted: ContainerHost, remediate: Product, tmp_path: Path
) -> None:
    path = hosts_file(drifted, tmp_path)
    assert apply(remediate, path).code == 0
    drifted.run("chmod", "0664", DEFAULTS)
    drifted.run("python3", "-c", FORGED, f"{OURS}/transactions", RUN)
    answer = apply(remediate, path)
    assert answer.code == 3, answer.out
    message = answer.host(drifted.name)["error"]["message"]
    assert f"{RUN}.files/journal.json: an entry names /etc/shadow" in message
    assert (mode(drifted), drifted.text("stat", "-c", "%a %U", "/etc/shadow")) == ("664", "640 root")


@pytest.mark.parametrize("script", ["mkfifo lock", "ln -s /etc/passwd lock", "mkdir lock"], ids=["fifo", "link", "dir"])
def test_a_lock_that_is_none_keeps_everybody_out_and_is_named(
    drifted: ContainerHost, remediate: Product, tmp_path: Path, script: str
) -> None:
    drifted.script(f"umask 077\nmkdir -p {OURS}\ncd {OURS}\n{script}")
    passwd = drifted.text("sha256sum", "/etc/passwd")
    answer = apply(remediate, hosts_file(drifted, tmp_path))
    assert answer.code == 3, answer.out
    assert f"{OURS}/lock" in answer.host(drifted.name)["error"]["message"]
    assert (mode(drifted), drifted.text("sha256sum", "/etc/passwd")) == ("664", passwd)


def test_backups_and_journals_are_roots_alone(drifted: ContainerHost, remediate: Product, tmp_path: Path) -> None:
    assert apply(remediate, hosts_file(drifted, tmp_path)).code == 0
    found = drifted.text("find", OURS, "-printf", "%y %m %U %G\\n").splitlines()
    assert set(found) <= {"d 700 0 0", "f 600 0 0"}
    assert json.loads(drifted.text("sh", "-c", f"cat {OURS}/transactions/*/record.json"))["result"]
