"""What a daemon answers of its own settings, when its process was started, and whether its program was replaced."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remediator.host.observe.daemon_answers import MAX_LISTED, MAX_TEXT, daemon_settings
from remediator.host.observe.processes import HostProcess, process_start
from remediator.host.observe.units import unit_from_block
from remediator.observation import DaemonSettings

# What Docker 26.1 answers, as far as it matters here.
INFO: dict[str, Any] = {
    "Driver": "overlay2",
    "LoggingDriver": "local",
    "CgroupDriver": "systemd",
    "DefaultRuntime": "runc",
    "InitBinary": "docker-init",
    "LiveRestoreEnabled": True,
    "Debug": False,
    "ExperimentalBuild": False,
    "Labels": None,
    "Runtimes": {"runc": {"path": "runc"}, "io.containerd.runc.v2": {"path": "runc"}},
    "RegistryConfig": {
        "InsecureRegistryCIDRs": ["10.1.0.0/16", "127.0.0.0/8"],
        "IndexConfigs": {
            "docker.io": {"Secure": True},
            "reg.lab:5000": {"Secure": False},
        },
        "Mirrors": ["https://ann:geheim@mirror.lab/"],
    },
    "Plugins": {"Authorization": None, "Log": ["local"]},
    "DefaultAddressPools": [{"Base": "172.30.0.0/16", "Size": 24}],
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=no-new-privileges"],
}


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process whose program may be replaced."""
    copy = tmp_path / "sleeper"
    shutil.copy("/bin/sleep", copy)
    with subprocess.Popen([copy, "60"]) as process:
        yield process, copy
        process.kill()


def test_a_daemons_settings_are_what_it_answers() -> None:
    assert daemon_settings(INFO) == {
        "storage_driver": "overlay2",
        "log_driver": "local",
        "cgroup_driver": "systemd",
        "default_runtime": "runc",
        "init_binary": "docker-init",
        "live_restore": True,
        "debug": False,
        "experimental": False,
        "labels": [],
        "runtimes": ["io.containerd.runc.v2", "runc"],
        "registry_mirrors": ["https://xxxxxxxxxx@mirror.lab/"],
        "insecure_registries": ["10.1.0.0/16", "127.0.0.0/8", "reg.lab:5000"],
        "authorization_plugins": [],
        "address_pools": ["172.30.0.0/16 24"],
        "security_options": ["name=seccomp,profile=builtin", "name=no-new-privileges"],
    }


@pytest.mark.parametrize("value", [7, "text", [], {}, ["a", 7], [["a"]], {"a": 7}, None, True, [None], ["a"] * 5000])
def test_an_answer_of_another_shape_is_none_and_takes_no_other_along(value: Any) -> None:
    for key in INFO:
        found = daemon_settings({**INFO, key: value})
        DaemonSettings.model_validate(json.loads(json.dumps(found)))
        assert found["log_driver"] == "local" or key == "LoggingDriver"
    for key in INFO["RegistryConfig"]:
        DaemonSettings.model_validate(daemon_settings({"RegistryConfig": {key: value}}))


def test_a_hostile_answer_is_bounded_before_it_leaves_the_host() -> None:
    found = daemon_settings(
        {
            "Driver": "x" * 1_000_000,
            "Labels": ["a"] * (MAX_LISTED + 1),
            "RegistryConfig": {"IndexConfigs": {str(number): {"Secure": False} for number in range(MAX_LISTED + 1)}},
            "LoggingDriver": "\ud800\udfff",
        }
    )
    assert len(found["storage_driver"]) == MAX_TEXT
    assert (found["labels"], found["insecure_registries"]) == (None, None)
    assert found["log_driver"].isascii()


def test_a_label_that_holds_a_secret_is_masked_as_it_is_in_the_file() -> None:
    assert daemon_settings({"Labels": ["token=abcdef"]})["labels"] == ["token=xxxxxx"]


def test_the_start_of_a_process_is_told_by_the_clock_of_the_host(
    program: tuple[subprocess.Popen[bytes], Path],
) -> None:
    started = process_start(program[0].pid)
    assert started is not None
    assert abs(time.time() - started / 1e9) < 5
    elder = process_start(os.getpid())
    assert elder is not None
    assert elder <= started


def test_a_process_that_is_gone_has_no_start() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert process_start(process.pid) is None


def test_a_name_with_brackets_and_blanks_does_not_move_the_start(tmp_path: Path) -> None:
    copy = tmp_path / "a) S 1 (b"
    shutil.copy("/bin/sleep", copy)
    with subprocess.Popen([copy, "60"]) as process:
        started = process_start(process.pid)
        process.kill()
    assert started is not None
    assert abs(time.time() - started / 1e9) < 5


def test_a_program_that_was_replaced_since_its_start_is_told_as_such(
    program: tuple[subprocess.Popen[bytes], Path],
) -> None:
    process, copy = program
    before = HostProcess(process.pid, "unit", "x.service").answer()
    assert (before["exe"], before["replaced"]) == (str(copy), False)
    shutil.copy(copy, copy.with_suffix(".new"))
    copy.with_suffix(".new").replace(copy)
    after = HostProcess(process.pid, "unit", "x.service").answer()
    assert (after["exe"], after["replaced"]) == (str(copy), True)


def test_the_last_change_of_a_unit_is_told_by_the_clock_of_the_host() -> None:
    block = f"LoadState=loaded\nCanReload=yes\nStateChangeTimestampMonotonic={int((time.monotonic() - 60) * 1e6)}"
    answer = unit_from_block("docker.service", block).answer()
    assert abs(time.time() - 60 - answer["state_changed_ns"] / 1e9) < 5
    assert answer["properties"]["CanReload"] == "yes"


@pytest.mark.parametrize("value", ["0", "", "n/a", "-5"])
def test_a_unit_that_never_changed_has_no_time(value: str) -> None:
    block = f"LoadState=loaded\nStateChangeTimestampMonotonic={value}"
    assert unit_from_block("docker.service", block).answer()["state_changed_ns"] is None
