"""The lab's emulated machines are what they claim to be: own kernel, audit, AppArmor, reboots, power cuts."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .hosts.container import OPSPW_PASSWORD
from .hosts.interface import LabError
from .hosts.machine import Machine
from .hosts.workload import running_containers

KERNELS = {"machine12": "6.1.", "machine13": "6.12."}
WATCH = ("-w", "/usr/bin/dockerd", "-p", "wa", "-k", "lab")
REPOSITORY = Path(__file__).parents[2]
START_AND_WAIT = """
from tests.lab.hosts.machine import Machine
import time
machine = Machine.start("trixie")
print(machine.pid, flush=True)
time.sleep(600)
"""
RULE = "-w /usr/bin/dockerd -p wa -k lab"


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with Machine.start(request.param) as started:
        yield started


def clock_error(machine: Machine) -> float:
    before = time.time()
    told = float(machine.host.text("date", "+%s.%N"))
    return max(0.0, before - told, told - time.time())


def failed_units(machine: Machine) -> str:
    return machine.host.text("systemctl", "list-units", "--failed", "--plain", "--no-legend")


def test_it_runs_debians_kernel_with_every_unit_up_and_the_right_time(machine: Machine) -> None:
    assert machine.host.text("uname", "--kernel-release").startswith(KERNELS[machine.host.name])
    assert machine.host.text("uname", "--nodename") == machine.host.name
    assert failed_units(machine) == ""
    assert clock_error(machine) < 3


def test_its_kernel_takes_an_audit_rule_records_the_event_and_gives_the_rule_back(machine: Machine) -> None:
    host = machine.host
    assert "enabled 1" in host.text("auditctl", "-s").splitlines()
    host.run("auditctl", *WATCH)
    try:
        assert host.text("auditctl", "-l") == RULE
        host.run("touch", "/usr/bin/dockerd")
        found = host.text("ausearch", "--input-logs", "--key", "lab", "--comm", "touch", "--interpret")
    finally:
        host.run("auditctl", "-W", *WATCH[1:])
    assert "name=/usr/bin/dockerd" in found
    assert host.text("auditctl", "-l") == "No rules"


def test_its_docker_runs_web_and_job_under_cgroup_v2_and_apparmor(machine: Machine) -> None:
    host = machine.host
    assert running_containers(host) == ["job", "web"]
    assert host.text("docker", "info", "--format", "{{.CgroupVersion}} {{.Driver}}") == "2 overlay2"
    assert host.text("stat", "--file-system", "--format", "%T", "/sys/fs/cgroup") == "cgroup2fs"
    assert host.text("cat", "/sys/module/apparmor/parameters/enabled") == "Y"
    pid = host.text("docker", "inspect", "--format", "{{.State.Pid}}", "web")
    assert host.text("cat", f"/proc/{pid}/attr/current") == "docker-default (enforce)"


def test_ops_needs_no_password_for_sudo_opspw_needs_one_and_plain_has_none(machine: Machine) -> None:
    host = machine.host
    assert host.as_user("ops").text("sudo", "-n", "id", "-u") == "0"
    opspw = host.as_user("opspw")
    assert opspw.run("sudo", "-n", "true", check=False).returncode == 1
    right = opspw.run("sudo", "-S", "id", "-u", input=f"{OPSPW_PASSWORD}\n".encode())
    assert right.stdout == b"0\n"
    assert host.as_user("plain").run("sudo", "-n", "true", check=False).returncode == 1


def test_it_reaches_nothing_of_the_computer_that_it_runs_on(machine: Machine) -> None:
    connect = "import socket; socket.create_connection(('10.0.2.2', {}), timeout=5)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = machine.host.run("python3", "-c", connect.format(port), check=False)
    assert result.returncode == 1
    assert b"timed out" in result.stderr or b"refused" in result.stderr or b"unreachable" in result.stderr


def test_a_power_cut_keeps_what_was_synced_and_loses_what_was_not() -> None:
    with Machine.start("bookworm") as machine:
        machine.host.script("echo kept >/root/synced; sync /root/synced; echo lost >/root/unsynced")
        machine.pull_plug()
        with pytest.raises(LabError, match="switched off"):
            machine.pull_plug()
        machine.boot()
        assert machine.host.text("cat", "/root/synced") == "kept"
        assert machine.host.run("cat", "/root/unsynced", check=False).stdout == b""
        with pytest.raises(LabError, match="is running"):
            machine.boot()


def test_every_machine_starts_alike_and_leaves_nothing() -> None:
    for _ in range(2):
        with Machine.start("trixie") as machine:
            assert machine.host.run("test", "-e", "/root/mine", check=False).returncode == 1
            machine.host.script("echo mine >/root/mine; sync")
            process = Path("/proc", str(machine.pid))
            directory = (process / "cwd").readlink()
            assert (directory / "disk.qcow2").exists()
        assert not process.exists()
        assert not directory.exists()


def test_what_a_killed_session_left_ends_with_it_and_is_removed_by_the_next() -> None:
    with subprocess.Popen([sys.executable, "-c", START_AND_WAIT], cwd=REPOSITORY, stdout=subprocess.PIPE) as session:
        assert session.stdout is not None
        process = Path("/proc", session.stdout.readline().decode().strip())
        directory = (process / "cwd").readlink()
        session.kill()
    deadline = time.monotonic() + 10
    while process.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not process.exists()
    assert directory.exists()
    os.utime(directory / "lock", (0, 0))  # only what is old enough to be nobody's is removed
    with Machine.start("trixie"):
        assert not directory.exists()


def test_a_suite_that_no_machine_is_made_of_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(LabError, match="buster: no machine is made of it, only of bookworm and trixie"):
        Machine.start("buster")
