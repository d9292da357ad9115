"""The lab's hosts are what they claim to be, and leave nothing behind."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Fresh, WriteInventory
from .hosts.container import OPSPW_PASSWORD, ContainerHost, start_host
from .hosts.decoys import start_decoys
from .hosts.engine import engine as lab_engine
from .hosts.interface import CommandError, ssh_config
from .hosts.keys import make_keys
from .hosts.leftovers import leftovers
from .hosts.recipe import recipe
from .hosts.witness import changes_of, diff, snapshot
from .hosts.workload import running_containers

# A log-in is written down in the journal, by systemd's own design.
JOURNAL = "/var/log/journal"


@pytest.fixture(params=["debian12", "debian13"])
def docker_host(request: pytest.FixtureRequest) -> ContainerHost:
    host = request.getfixturevalue(request.param)
    assert isinstance(host, ContainerHost)
    return host


def test_systemd_runs_as_pid_1_and_only_kernel_audit_is_missing(docker_host: ContainerHost) -> None:
    assert docker_host.text("cat", "/proc/1/comm") == "systemd"
    failed = docker_host.text("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    assert [line.split()[0] for line in failed.splitlines()] in (["auditd.service"], ["audit-rules.service"])


def test_the_hosts_docker_is_debians_and_runs_web_and_job_on_overlay2(docker_host: ContainerHost) -> None:
    version = {"debian12": "20.10", "debian13": "26.1"}[docker_host.name]
    assert docker_host.text("docker", "version", "--format", "{{.Server.Version}}").startswith(version)
    assert docker_host.text("docker", "info", "--format", "{{.Driver}}") == "overlay2"
    assert running_containers(docker_host) == ["job", "web"]


def test_after_a_restart_of_docker_web_is_back_and_job_is_not(fresh: Fresh) -> None:
    host = fresh("debian13")
    host.run("systemctl", "restart", "docker.service")
    assert running_containers(host) == ["web"]


def test_a_host_cannot_change_the_machines_kernel_settings(docker_host: ContainerHost) -> None:
    write_back = 'value=$(cat "/proc/sys/$1") && echo "$value" >"/proc/sys/$1"'
    for setting, own in (("vm/overcommit_memory", False), ("fs/nr_open", False), ("net/ipv4/ip_forward", True)):
        answer = docker_host.run("sh", "-euc", write_back, "write", setting, check=False)
        assert (answer.returncode == 0) is own, (setting, answer.stderr)


def test_ops_needs_no_password_for_sudo_opspw_needs_its_own_and_plain_may_not(docker_host: ContainerHost) -> None:
    assert docker_host.as_user("ops").text("sudo", "-n", "id", "-u") == "0"
    opspw = docker_host.as_user("opspw")
    with pytest.raises(CommandError, match="a password is required"):
        opspw.run("sudo", "-n", "id", "-u")
    answered = opspw.run("sudo", "-S", "-p", "", "id", "-u", input=f"{OPSPW_PASSWORD}\n".encode())
    assert answered.stdout.strip() == b"0"
    with pytest.raises(CommandError):
        docker_host.as_user("plain").run("sudo", "-S", "id", input=f"{OPSPW_PASSWORD}\n".encode())


def test_only_opspw_may_log_in_with_a_password(docker_host: ContainerHost) -> None:
    for user, offered in (("opspw", True), ("ops", False), ("root", False)):
        options = ["-o", "PreferredAuthentications=none", "-o", "PubkeyAuthentication=no"]
        command = ["ssh", *options, *docker_host.ssh_options(), "-o", "LogLevel=INFO", f"{user}@{docker_host.address}"]
        answer = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        assert (b"password" in answer.stderr) is offered, answer.stderr


def test_put_writes_content_mode_and_owner(docker_host: ContainerHost) -> None:
    docker_host.put("/etc/lab put", b"a\0b\n", mode="0640", owner="root:docker")
    assert docker_host.text("stat", "-c", "%a %U:%G %s", "/etc/lab put") == "640 root:docker 4"
    docker_host.run("rm", "/etc/lab put")


def test_a_host_with_another_key_is_refused(docker_host: ContainerHost, engine: object, tmp_path: Path) -> None:
    others = make_keys(tmp_path / "keys")
    others.pin(docker_host.name, docker_host.address, 22, others.make_host_key("other").public)
    command = ["ssh", *docker_host.ssh_options(), f"root@{docker_host.address}", "true"]
    command[command.index(f"UserKnownHostsFile={docker_host.known_hosts}")] = f"UserKnownHostsFile={others.known_hosts}"
    answer = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    assert answer.returncode == 255
    assert b"Host key verification failed" in answer.stderr


def test_the_inner_host_is_reached_through_the_jump_host_only(
    jump_pair: tuple[ContainerHost, ContainerHost], tmp_path: Path
) -> None:
    jump, inner = jump_pair
    assert inner.text("hostname") == inner.name
    straight = ["-o", "ConnectTimeout=2", *jump.ssh_options(), f"root@{inner.address}", "true"]
    assert subprocess.run(["ssh", *straight], capture_output=True, check=False).returncode == 255
    config = tmp_path / "config"
    config.write_text(ssh_config(jump_pair))
    through = subprocess.run(["ssh", "-F", config, inner.name, "hostname"], capture_output=True, check=True)
    assert through.stdout.decode().strip() == inner.name


def test_an_inventory_of_the_hosts_works_in_ansible(
    debian12: ContainerHost, jump_pair: tuple[ContainerHost, ContainerHost], write_inventory: WriteInventory
) -> None:
    path = write_inventory(debian12.as_user("ops"), jump_pair[1], debian12={"ansible_become": True})
    command = ["ansible", "-i", str(path), "all", "-m", "ansible.builtin.command", "-a", "id -u", "--one-line"]
    answer = subprocess.run(command, capture_output=True, check=False)
    assert answer.stdout.count(b"rc=0 | (stdout) 0") == 2, answer.stdout + answer.stderr


def test_the_minimal_host_has_no_python_and_the_python2_host_has_2_7(fresh: Fresh) -> None:
    found = (
        "for each in python python2 python3; do command -v $each || true; done; ls /usr/bin | grep -c ^python || true"
    )
    assert fresh("minimal").text("sh", "-c", found) == "0"
    old = fresh("python2")
    assert old.text("sh", "-c", found).split() == ["/usr/bin/python2", "2"]
    assert b"Python 2.7" in old.run("python2", "--version").stderr


def test_the_witness_sees_nothing_but_the_journal_after_a_bare_log_in(docker_host: ContainerHost) -> None:
    ops = docker_host.as_user("ops")
    ops.run("sudo", "true")
    seen = changes_of(docker_host, lambda: ops.run("sudo", "true")).without(JOURNAL)
    assert seen.paths == []
    assert "/etc" not in seen.touched


def test_the_witness_sees_every_kind_of_change(fresh: Fresh) -> None:
    host = fresh("debian12")
    host.script("mkdir /srv/w; cd /srv/w; echo one >content; touch mode owner xattr gone same; ln -s one link")
    before = snapshot(host)
    host.script(
        "cd /srv/w; echo two >content; chmod 0600 mode; chown daemon owner; rm gone; ln -sfn two link; touch new\n"
        'python3 -c \'import os; os.setxattr("xattr", "user.w", b"1")\'\n'
        "touch -d @1 same; touch -r content content"
    )
    seen = diff(before.disk, snapshot(host, since=before).disk).without(JOURNAL)
    assert list(seen.added) == ["/srv/w/new"]
    assert list(seen.removed) == ["/srv/w/gone"]
    assert list(seen.changed) == [f"/srv/w/{name}" for name in ("content", "link", "mode", "owner", "xattr")]
    assert {"/srv/w", "/srv/w/same"} <= set(seen.touched)
    assert seen.changed["/srv/w/mode"][1].mode == "0600"


def test_decoys_run_beside_the_hosts_own_daemon(fresh: Fresh) -> None:
    host = fresh("debian12")
    start_decoys(host)
    named = host.text("ps", "-C", "dockerd,etcd", "-o", "user=,args=").splitlines()
    assert len([line for line in named if "dockerd" in line]) == 3
    assert len([line for line in named if "etcd" in line]) == 2
    ours = host.text("systemctl", "show", "--property=MainPID", "--value", "docker.service")
    assert host.text("ps", "-p", ours, "-o", "args=").startswith("/usr/sbin/dockerd -H fd://")
    assert running_containers(host) == ["etcd", "job", "nested", "web"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """The killed one takes its engine with it: the host runs on, without anybody who knows it."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.lab.hosts.container import start_host\n"
        "from tests.lab.hosts.engine import engine\n"
        "from tests.lab.hosts.keys import make_keys\n"
        "from tests.lab.hosts.recipe import recipe\n"
        "place = Path(sys.argv[1])\n"
        "with engine(place / 'engine') as lab:\n"
        "    start_host(lab, make_keys(place / 'keys'), recipe('minimal'), 'orphan', volumes=())\n"
        "    for name in ('dockerd', 'containerd'):\n"
        "        os.kill(int((lab.runtime / f'{name}.lab-pid').read_text().split('.')[0]), signal.SIGKILL)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    dead = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=root, capture_output=True, check=False)
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
    with lab_engine(tmp_path / "engine") as own:
        assert own.text("ps", "-aq") == ""
    assert leftovers(own) == []


def test_an_engine_of_its_own_leaves_nothing_on_the_machine(tmp_path: Path) -> None:
    places = [Path("/proc/self/mountinfo"), Path("/proc/sys/fs/inotify/max_user_instances")]
    before = [place.read_text() for place in places]
    with lab_engine(tmp_path / "engine") as own:
        host = start_host(own, make_keys(tmp_path / "keys"), recipe("minimal"), "short-lived")
        assert host.text("id", "-un") == "root"
        assert any("process" in each for each in leftovers(own)), "the check must see an engine that runs"
        host.remove()
    assert leftovers(own) == []
    assert [place.read_text() for place in places] == before
