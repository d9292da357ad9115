"""The Ansible carrier against stand-in hosts: real ansible-runner, playbooks, action and connection plugin."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from remediator.access import Access, Secret
from remediator.ansible import RunInterrupted, apply_plan, observe_hosts
from remediator.catalogue import Catalogue, load_catalogue
from remediator.decide import decide
from remediator.errors import HostError, UsageError
from remediator.inventory import Inventory, load_inventory
from remediator.observation import parse_observation
from remediator.plan import HostResult, Plan
from remediator.policy import Policy
from remediator.request import compile_request
from remediator.surroundings import Surroundings
from tests.unit import stand_in
from tests.unit.sshd import Sshd

RUN = "01JD0000000000000000000000"
HERE = Path(__file__).resolve().parents[2]


@pytest.fixture
def catalogue() -> Catalogue:
    return load_catalogue().select(controls=[stand_in.MODE])


def observed(inventory: Inventory, access: Access, catalogue: Catalogue) -> dict[str, bytes | HostError]:
    names = [host.name for host in inventory.hosts]
    return observe_hosts(inventory, names, access, compile_request(catalogue.needs()), lambda host: None)


def previewed(inventory: Inventory, directory: Path, catalogue: Catalogue) -> Plan:
    """The plan of what the hosts' observation files say now."""
    hosts = []
    for host in inventory.hosts:
        answer = (directory / host.name / "observation.json").read_bytes()
        seen = parse_observation(host.name, answer)
        around = Surroundings(datetime.now(UTC))
        hosts.append(decide(host.name, seen, catalogue, Policy(), catalogue.defaults, around))
    return Plan(controls=tuple(control.id for control in catalogue.controls), hosts=tuple(hosts))


def applied(
    inventory: Inventory,
    plan: Plan,
    access: Access,
    log: list[tuple[str, str]] | None = None,
    serial: tuple[str | int, ...] = (1,),
    max_fail_percentage: int = 0,
) -> dict[str, HostResult]:
    events = log if log is not None else []
    return apply_plan(
        inventory,
        plan,
        access,
        Policy(),
        run=RUN,
        who="ann@controller",
        reason="ticket 7",
        serial=serial,
        max_fail_percentage=max_fail_percentage,
        on_event=lambda host, text: events.append((host, text)),
    )


def outcomes(results: Mapping[str, HostResult]) -> dict[str, list[str]]:
    return {name: [result.outcome for result in results[name].results] for name in results}


def opened(directory: Path, commits: Mapping[str, str], catalogue: Catalogue, uid: int = 0) -> tuple[Inventory, Access]:
    access = Access(sources=(str(stand_in.fleet(directory, commits, uid=uid)),))
    return load_inventory(access, catalogue.defaults), access


def test_every_host_answers_observe_or_says_why_not(tmp_path: Path, catalogue: Catalogue) -> None:
    inventory, access = opened(tmp_path, {"fine": "applied", "flood": "endless"}, catalogue)
    source = Path(inventory.sources[0])
    closed = "ansible_host=127.0.0.1 ansible_port=1 ansible_user=root"
    source.write_text(source.read_text() + f"down {closed}\n")
    inventory = load_inventory(access, catalogue.defaults)

    answers = observed(inventory, access, catalogue)

    fine = answers["fine"]
    assert isinstance(fine, bytes)
    assert parse_observation("fine", fine).files[stand_in.UNIT].mode == 0o666
    flood, down = answers["flood"], answers["down"]
    assert isinstance(flood, HostError)
    assert "more than can be taken in" in str(flood)
    assert isinstance(down, HostError)
    assert down.kind == "unreachable"
    assert "down" in str(down)


def test_nothing_of_the_callers_environment_or_passwords_reaches_ansible_or_the_disk(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_TOKEN", "hunter2-cloud")
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    monkeypatch.setenv("ANSIBLE_TIMEOUT", "17")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    inventory, access = opened(tmp_path, {"one": "applied"}, catalogue)
    access = Access(
        sources=access.sources,
        password=Secret("hunter2-connection"),
        become_password=Secret("hunter2-become"),
        vault_password=Secret("hunter2-vault"),
    )

    observed(inventory, access, catalogue)

    saw = stand_in.circumstances(tmp_path, "one")
    own = "".join(text for text in saw["processes"] if "ansible.cli.playbook" in text)
    assert own
    assert "hunter2" not in own
    assert "CLOUD_TOKEN" not in saw["environment"]
    assert saw["environment"]["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert saw["environment"]["ANSIBLE_TIMEOUT"] == "17"
    assert any(path.endswith("session.json") for path in saw["modes"])
    assert all(stat.S_IMODE(mode) & 0o077 == 0 for path, mode in saw["modes"].items() if "session" in path)
    assert list(temporary.iterdir()) == []


def test_a_vaulted_inventory_opens_with_the_password_that_was_typed(tmp_path: Path, catalogue: Catalogue) -> None:
    inventory, access = opened(tmp_path, {"one": "applied"}, catalogue)
    variables = tmp_path / "group_vars" / "all.yml"
    variables.parent.mkdir()
    variables.write_text("docker_files_socket_group: docker\n")
    password = tmp_path / "password"
    password.write_text("open sesame\n")
    vault = [sys.executable, "-m", "ansible.cli.vault", "encrypt", "--vault-password-file", str(password)]
    subprocess.run([*vault, str(variables)], check=True, capture_output=True, timeout=60)

    right = Access(sources=access.sources, vault_password=Secret("open sesame"))
    wrong = Access(sources=access.sources, vault_password=Secret("open barley"))

    assert isinstance(observed(inventory, right, catalogue)["one"], bytes)
    with pytest.raises(UsageError, match=r"Ansible could not start: .*[Dd]ecrypt"):
        observed(inventory, wrong, catalogue)


def test_a_change_that_was_rolled_back_stops_the_batches_after_it(tmp_path: Path, catalogue: Catalogue) -> None:
    inventory, access = opened(tmp_path, {"a": "applied", "b": "rolled_back", "c": "applied"}, catalogue)
    plan = previewed(inventory, tmp_path, catalogue)
    log: list[tuple[str, str]] = []

    results = applied(inventory, plan, access, log)

    assert outcomes(results) == {"a": ["applied"], "b": ["rolled_back"], "c": ["held"]}
    assert stand_in.told(tmp_path, "a") == ["observe", "commit", "observe"]
    assert stand_in.told(tmp_path, "c") == []
    after = results["a"].after
    assert after is not None
    assert after.verdicts[0].verdict == "compliant"
    assert results["b"].results[0].reason == "\\x1b[31mrolled_back"
    assert log == [("a", "applying"), ("a", "files applied"), ("b", "applying"), ("b", "files rolled back")]
    order = json.loads((tmp_path / "a" / "order.json").read_text())
    assert (order["run"], order["host"], order["who"], order["reason"]) == (RUN, "a", "ann@controller", "ticket 7")
    assert order["transactions"][0]["digest"] == plan.hosts[0].transactions[0].digest


@pytest.mark.parametrize(("tolerated", "last"), [(0, "held"), (60, "applied")])
def test_batches_and_the_share_of_failures_that_stops_them_are_the_callers(
    tmp_path: Path, catalogue: Catalogue, tolerated: int, last: str
) -> None:
    inventory, access = opened(tmp_path, {"a": "rolled_back", "b": "applied", "c": "applied"}, catalogue)
    plan = previewed(inventory, tmp_path, catalogue)

    results = applied(inventory, plan, access, serial=(2, "100%"), max_fail_percentage=tolerated)

    assert outcomes(results) == {"a": ["rolled_back"], "b": ["applied"], "c": [last]}


def test_a_host_that_is_stale_locked_or_down_does_not_stop_the_others(tmp_path: Path, catalogue: Catalogue) -> None:
    inventory, access = opened(tmp_path, {"stale": "applied", "lock": "locked", "last": "applied"}, catalogue)
    source = Path(inventory.sources[0])
    down = "down ansible_host=127.0.0.1 ansible_port=1 ansible_user=root ansible_connection=ssh\n"
    source.write_text(down + source.read_text())
    plan = previewed(inventory, tmp_path, catalogue)
    plan = plan.model_copy(update={"hosts": (plan.hosts[0].model_copy(update={"host": "down"}), *plan.hosts)})
    inventory = load_inventory(access, catalogue.defaults)
    (tmp_path / "stale" / "observation.json").write_text(json.dumps(stand_in.observation(0o646)))

    results = applied(inventory, plan, access)

    assert outcomes(results) == {"down": [], "stale": ["stale"], "lock": [], "last": ["applied"]}
    assert {name: result.error and result.error.kind for name, result in results.items()} == {
        "down": "unreachable",
        "stale": None,
        "lock": "locked",
        "last": None,
    }
    assert stand_in.told(tmp_path, "stale") == ["observe"]


def test_a_host_that_falls_silent_in_its_commit_is_unreported_and_stops_the_run(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    inventory, access = opened(tmp_path, {"a": "dies", "b": "applied"}, catalogue)

    results = applied(inventory, previewed(inventory, tmp_path, catalogue), access)

    assert outcomes(results) == {"a": ["unreported"], "b": ["held"]}
    assert "check this host" in results["a"].results[0].reason


def test_without_root_nothing_is_committed_and_the_remedy_is_named(tmp_path: Path, catalogue: Catalogue) -> None:
    inventory, access = opened(tmp_path, {"a": "applied"}, catalogue, uid=1000)

    results = applied(inventory, previewed(inventory, tmp_path, catalogue), access)

    error = results["a"].error
    assert error is not None
    assert error.kind == "become", error.message
    assert "--become" in error.message
    assert stand_in.told(tmp_path, "a") == ["observe"]


def test_ctrl_c_lets_the_running_host_finish_and_begins_no_other(tmp_path: Path, catalogue: Catalogue) -> None:
    inventory, access = opened(tmp_path, {"a": "slow", "b": "applied"}, catalogue)
    plan = previewed(inventory, tmp_path, catalogue)

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not (tmp_path / "a" / "committing").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        (tmp_path / "a" / "go").touch()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(RunInterrupted) as interrupted:
        applied(inventory, plan, access)
    thread.join()

    assert outcomes(interrupted.value.results) == {"a": ["applied"], "b": ["held"]}
    assert stand_in.told(tmp_path, "b") == []


def playbook(name: str, inventory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A user's own call of ansible-playbook, as in a shell."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "PYTHONPATH": str(HERE),
        "ANSIBLE_COLLECTIONS_PATH": str(HERE),
        "ANSIBLE_NOCOLOR": "1",
        "LANG": "C.UTF-8",
    }
    command = [sys.executable, "-m", "ansible.cli.playbook", "-i", str(inventory), *arguments, name]
    return subprocess.run(
        command, env=environment, cwd=inventory.parent, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_plain_check_playbook_shows_the_exact_change_and_makes_none(tmp_path: Path) -> None:
    inventory = stand_in.fleet(tmp_path, {"a": "applied"})

    ran = playbook("remediator.hardening.check", inventory, "--check", "--diff", "-vvv")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"--- before: {stand_in.UNIT} (access)" in ran.stdout
    assert "-mode: 0666" in ran.stdout
    assert "+mode: 0644" in ran.stdout
    assert "changed=1" in ran.stdout
    assert '"references"' not in ran.stdout
    assert stand_in.told(tmp_path, "a") == ["observe"]


def test_a_play_that_lists_a_role_applies_it_once(tmp_path: Path) -> None:
    inventory = stand_in.fleet(tmp_path, {"a": "applied"})
    play = tmp_path / "site.yml"
    play.write_text("- hosts: all\n  gather_facts: false\n  roles: [remediator.hardening.docker_files]\n")

    first = playbook(str(play), inventory)
    second = playbook(str(play), inventory)

    assert "changed=1" in first.stdout, first.stdout + first.stderr
    assert "changed=0" in second.stdout
    assert second.returncode == 0
    assert stand_in.told(tmp_path, "a") == ["observe", "commit", "observe", "observe"]


def test_what_a_host_answers_as_a_fact_of_its_own_sets_no_policy(tmp_path: Path) -> None:
    inventory = stand_in.fleet(tmp_path, {"a": "applied"})
    made = tmp_path / "made"
    modules = tmp_path / "library"
    modules.mkdir()
    facts = {"ansible_facts": {"remediator_policy": {"before_restart": [["touch", str(made)]], "restarts": "always"}}}
    program = Path(sys.executable).resolve()  # for one called `python` Ansible would take the stand-in
    (modules / "hostile_facts.py").write_text(f"#!{program}\nprint({json.dumps(json.dumps(facts))})\n")
    play = tmp_path / "site.yml"
    play.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - hostile_facts:\n"
        "    - remediator.hardening.harden: {roles: [docker_files]}\n"
    )

    ran = playbook(str(play), inventory)

    assert ran.returncode == 2, ran.stdout
    assert "a: remediator_policy came as a fact of this host" in ran.stdout + ran.stderr
    assert stand_in.told(tmp_path, "a") == []
    assert not made.exists()


@pytest.mark.parametrize("commit", ["rolled_back", "broken", "dies"])
def test_a_bare_play_fails_when_a_change_does_not_come_through(tmp_path: Path, commit: str) -> None:
    inventory = stand_in.fleet(tmp_path, {"a": commit})

    ran = playbook("remediator.hardening.apply", inventory, "-e", '{"remediator_roles": ["docker_files"]}')

    assert ran.returncode == 2
    assert "a: files " in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr


def test_over_ssh_not_even_verbose_output_holds_the_observation_and_no_configuration_skips_the_host_key(
    tmp_path: Path,
) -> None:
    server = Sshd(tmp_path / "sshd")
    common = f"-F none -o UserKnownHostsFile={server.known_hosts} -o ControlMaster=no"
    reach = f"ansible_port={server.port} ansible_user={server.user} ansible_ssh_private_key_file={server.key}"
    reach += f" ansible_python_interpreter={sys.executable} ansible_host_key_checking=false"
    inventory = tmp_path / "hosts.ini"
    inventory.write_text(
        f"known ansible_host=127.0.0.1 {reach} ansible_ssh_common_args='{common}'\n"
        f"stranger ansible_host=127.0.0.9 {reach} ansible_ssh_common_args='{common}'\n"
    )
    try:
        ran = playbook("remediator.hardening.check", inventory, "-vvv")
    finally:
        server.stop()

    recap = ran.stdout.split("PLAY RECAP")[1]
    assert re.search(r"known +: ok=1", recap), ran.stdout
    assert re.search(r"stranger +: ok=0 +changed=0 +unreachable=1", recap)
    assert "Host key verification failed" in ran.stdout + ran.stderr
    assert re.search(r"[0-9a-f]{32} answer [0-9]+", ran.stdout) is None


def test_a_local_host_behind_a_sudo_password_gets_the_program_and_not_only_the_password(tmp_path: Path) -> None:
    inventory = stand_in.fleet(tmp_path, {"a": "applied"})
    sudo = tmp_path / "sudo"
    sudo.write_text(
        "#!/bin/sh\n"
        "# What sudo -S -p PROMPT ... /bin/sh -c COMMAND does, without an account.\n"
        'while [ "$1" != -p ]; do shift; done\n'
        'printf %s "$2" >&2\n'
        "read -r given\n"
        '[ "$given" = open-sesame ] || exit 1\n'
        'while [ "$1" != /bin/sh ]; do shift; done\n'
        'exec "$@"\n'
    )
    sudo.chmod(0o755)
    become = f"ansible_become_exe={sudo} ansible_become_user=daemon ansible_become_password=open-sesame"
    inventory.write_text(f"{inventory.read_text().strip()} ansible_become=true {become}\n")

    ran = playbook("remediator.hardening.check", inventory, "--check")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert stand_in.told(tmp_path, "a") == ["observe"]


def test_a_bare_play_is_refused_where_host_keys_would_go_unchecked(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text(
        "a ansible_host=127.0.0.1 ansible_port=1 ansible_ssh_common_args='-o StrictHostKeyChecking=no'\n"
    )

    ran = playbook("remediator.hardening.check", inventory)

    assert ran.returncode == 2
    assert "StrictHostKeyChecking is off in its ssh_common_args" in ran.stdout + ran.stderr
    assert "Host keys are always checked" in ran.stdout + ran.stderr


def test_a_role_that_does_not_exist_is_named_with_the_ones_that_do(tmp_path: Path) -> None:
    inventory = stand_in.fleet(tmp_path, {"a": "applied"})

    ran = playbook("remediator.hardening.check", inventory, "-e", '{"remediator_roles": ["docker_fils"]}')

    assert ran.returncode == 2
    assert "There is no role docker_fils. The roles are docker_audit" in ran.stdout + ran.stderr
