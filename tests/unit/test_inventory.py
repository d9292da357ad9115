"""Inventories as users have them, read with the real Ansible."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from remediator.access import Access, Secret
from remediator.errors import UsageError
from remediator.inventory import Host, Inventory, load_inventory
from remediator.inventory_process import InventoryProcess

VAULT = Path(sys.executable).with_name("ansible-vault")
DEFAULTS = {"docker_audit_key": "docker", "docker_audit_watch": ["a"]}


def load(*sources: Path | str, **access: Any) -> Inventory:
    return load_inventory(Access(sources=tuple(str(source) for source in sources), **access), DEFAULTS)


def only(*sources: Path | str, **access: Any) -> Host:
    (host,) = load(*sources, **access).hosts
    return host


def complaint(*sources: Path | str, **access: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(*sources, **access)
    return str(caught.value)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """An INI inventory with groups, and group_vars and host_vars beside it."""
    write(
        tmp_path / "group_vars" / "web.yml",
        "docker_audit_key: web\nansible_user: deploy\nremediator_allow: [docker_audit]\n",
    )
    write(tmp_path / "host_vars" / "web2.yml", "docker_audit_key: second\n")
    return write(tmp_path / "hosts", "[web]\nweb[1:3]\n[db]\ndb1 ansible_host=10.0.0.9 ansible_port=2222\n")


def test_hosts_come_in_inventory_order_with_group_and_host_variables_over_role_defaults(fleet: Path) -> None:
    inventory = load(fleet)
    assert [host.name for host in inventory.hosts] == ["web1", "web2", "web3", "db1"]
    assert inventory.get("web1").variables == {
        "docker_audit_key": "web",
        "docker_audit_watch": ["a"],
        "remediator_allow": ["docker_audit"],
    }
    assert inventory.get("web2").variables["docker_audit_key"] == "second"
    assert inventory.get("db1").variables == DEFAULTS
    assert (inventory.get("db1").connection.address, inventory.get("db1").connection.port) == ("10.0.0.9", 2222)
    assert inventory.get("web1").connection.user == "deploy"


def test_variables_that_nobody_asked_for_are_left_out_and_not_templated(tmp_path: Path) -> None:
    inventory = write(tmp_path / "hosts", 'h1 other="{{ undefined_thing }}"\n')
    assert only(inventory).variables == DEFAULTS


def test_templates_see_other_variables_groups_and_hosts(tmp_path: Path) -> None:
    text = (
        "all:\n  vars:\n    who: bob\n  hosts:\n    h1:\n      ansible_user: '{{ who }}'\n"
        "      docker_audit_watch: ['{{ inventory_hostname }}', '{{ groups.all | length }}', '{{ hostvars.h2.n }}']\n"
        "    h2: {n: 99}\n"
    )
    host = load(write(tmp_path / "hosts.yml", text)).get("h1")
    assert host.connection.user == "bob"
    assert host.variables["docker_audit_watch"] == ["h1", 2, 99]


def test_values_are_plain_python(tmp_path: Path) -> None:
    text = "all: {hosts: {h1: {docker_audit_watch: {text: a, number: 1, yes_: true, list: [x, null]}}}}\n"
    value = only(write(tmp_path / "hosts.yml", text)).variables["docker_audit_watch"]
    assert value == {"text": "a", "number": 1, "yes_": True, "list": ["x", None]}
    assert {type(item) for item in [*value, *value.values(), *value["list"]]} == {str, int, bool, list, type(None)}


def test_json_several_sources_scripts_and_host_lists_are_read(tmp_path: Path) -> None:
    script = write(
        tmp_path / "dynamic", '#!/bin/sh\necho \'{"g": {"hosts": ["from-script"]}, "_meta": {"hostvars": {}}}\'\n'
    )
    script.chmod(0o755)
    other = write(tmp_path / "other.json", '{"all": {"hosts": {"from-json": {}}}}')
    assert {host.name for host in load(script, other, "listed,").hosts} == {"from-script", "from-json", "listed"}


def test_limits_select_and_each_part_must_match(fleet: Path, tmp_path: Path) -> None:
    assert [host.name for host in load(fleet, limit="web:!web2").hosts] == ["web1", "web3"]
    assert [host.name for host in load(fleet, limit="all:&db").hosts] == ["db1"]
    retry = write(tmp_path / "retry", "web3\ndb1\n")
    assert [host.name for host in load(fleet, limit=f"@{retry}").hosts] == ["web3", "db1"]
    for limit, part in (("web,wbe", "wbe"), ("web:!wbe", "!wbe"), ("localhost", "localhost"), ("web[7]", "web[7]")):
        assert complaint(fleet, limit=limit).startswith(f"{part}: no host or group")
    assert "No hosts matched" in complaint(fleet, limit="web:&db")
    assert "missing" in complaint(fleet, limit="@/missing")


def test_extra_variables_win_over_everything(fleet: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "extra.yml", "docker_audit_watch: [from-file]\n")
    given = ("ansible_user=winner docker_audit_key=k", '{"ansible_port": 7}', f"@{file}")
    host = load(fleet, extra_vars=given, user="loser").get("db1")
    assert (host.connection.user, host.connection.port) == ("winner", 7)
    assert host.variables == {"docker_audit_key": "k", "docker_audit_watch": ["from-file"]}
    assert "/no/such" in complaint(fleet, extra_vars=("@/no/such",))


def test_a_second_inventory_does_not_see_the_first_ones_extra_variables(fleet: Path) -> None:
    load(fleet, extra_vars=("ansible_user=first",))
    assert load(fleet).get("db1").connection.user is None


def test_the_command_line_is_weaker_than_variables_as_in_ansible(tmp_path: Path) -> None:
    text = (
        "said ansible_user=u ansible_password=p ansible_ssh_private_key_file=/k ansible_become=false\nsilent\n"
        "owner ansible_become_password=b\n"
    )
    inventory = load(
        write(tmp_path / "hosts", text),
        user="cli",
        password=Secret("hidden"),
        private_key="/cli",
        become=True,
        become_password=Secret("hidden"),
    )
    said, silent = (inventory.get(name).connection for name in ("said", "silent"))
    assert (said.user, said.private_key, said.become) == ("u", "/k", None)
    assert said.password is not None
    assert said.password.reveal() == "p"
    assert (silent.user, silent.private_key) == ("cli", "/cli")
    assert silent.password is not None
    assert silent.password.reveal() == "hidden"
    assert silent.become is not None
    assert silent.become.password is not None
    assert (silent.become.method, silent.become.user, silent.become.password.reveal()) == ("sudo", "root", "hidden")
    owner = inventory.get("owner").connection.become
    assert owner is not None
    assert owner.password is not None
    assert owner.password.reveal() == "b"
    assert "hidden" not in repr(silent)


def test_connection_variables_mean_what_they_mean_in_ansible(tmp_path: Path) -> None:
    text = (
        "h1 ansible_become=yes ansible_become_user=admin ansible_become_flags='-E -S' ansible_become_exe=/opt/sudo "
        "ansible_python_interpreter=/opt/python3 ansible_ssh_common_args='-o ProxyJump=\"a b\"' ansible_ssh_timeout=3\n"
    )
    connection = only(write(tmp_path / "hosts", text)).connection
    assert connection.become is not None
    assert (connection.become.user, connection.become.flags) == ("admin", ("-E", "-S"))
    assert connection.become.executable == "/opt/sudo"
    assert connection.python == "/opt/python3"
    assert connection.ssh_more_arguments == ("-o", "ProxyJump=a b")
    assert connection.timeout == 3
    assert connection.ansible_only is None


def test_the_environment_and_ansible_cfg_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = write(tmp_path / "hosts", "h1\n")
    monkeypatch.setenv("ANSIBLE_REMOTE_USER", "env")
    monkeypatch.setenv("ANSIBLE_SSH_COMMON_ARGS", "-o Port=9")
    connection = only(inventory).connection
    assert (connection.user, connection.ssh_more_arguments) == ("env", ("-o", "Port=9"))
    write(tmp_path / "ansible.cfg", "[defaults]\nremote_user = cfg\n[privilege_escalation]\nbecome = true\n")
    program = (
        "from remediator.access import Access; from remediator.inventory import load_inventory\n"
        "c = load_inventory(Access(sources=('hosts',)), {}).hosts[0].connection; print(c.user, c.become.method)"
    )
    monkeypatch.delenv("ANSIBLE_REMOTE_USER")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["cfg", "sudo"]


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ("ansible_connection=local", "local"),
        ("ansible_connection=community.docker.docker", "docker"),
        ("ansible_become=true ansible_become_method=su", "su"),
        ("ansible_ssh_executable=/opt/tsh", "ansible_ssh_executable"),
        ("ansible_connection=paramiko ansible_paramiko_proxy_command=x", "paramiko"),
    ],
)
def test_what_only_ansible_can_reach_says_why(variables: str, reason: str, tmp_path: Path) -> None:
    connection = only(write(tmp_path / "hosts", f"h1 {variables}\n")).connection
    assert connection.ansible_only is not None
    assert reason in connection.ansible_only


@pytest.mark.parametrize("plugin", ["ssh", "smart", "paramiko_ssh", "ansible.builtin.ssh"])
def test_every_name_of_ssh_is_for_the_sweep(plugin: str, tmp_path: Path) -> None:
    connection = only(write(tmp_path / "hosts", f"h1 ansible_connection={plugin}\n")).connection
    assert connection.is_ssh
    assert connection.ansible_only is None


def test_no_source_and_a_listed_localhost_are_this_machine(tmp_path: Path) -> None:
    for inventory in (load(), load("localhost,")):
        assert inventory.hosts[0].name == "localhost"
        assert inventory.hosts[0].connection.plugin == "local"
        assert inventory.overrides["localhost"]["ansible_connection"] == "local"
    named = load(write(tmp_path / "hosts", "localhost ansible_host=10.0.0.1\n"))
    assert named.hosts[0].connection.plugin == "ssh"
    assert named.overrides == {}
    assert load("localhost,", extra_vars=("ansible_connection=ssh",)).hosts[0].connection.plugin == "ssh"


def test_a_missing_source_is_an_error_and_not_a_host(tmp_path: Path) -> None:
    assert f"{tmp_path}/none" in complaint(tmp_path / "none")
    assert "there is no such" in complaint("web1")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("broken.yml", "all:\n  hosts: [a\n", "broken.yml:3"),
        ("list.yml", "all:\n  hosts: [a]\n", "dictionary"),
        ("broken.json", '{"all": ', "broken.json"),
        ("broken.ini", "[web]\nfoo 'bar\n", "No closing quotation"),
        ("empty.yml", "all:\n  hosts: {}\n", "no host"),
        ("port.yml", "all: {hosts: {h9: {ansible_port: x}}}\n", "h9"),
        ("undefined.yml", 'all: {hosts: {h9: {ansible_user: "{{ nobody }}"}}}\n', "nobody"),
    ],
)
def test_a_broken_inventory_names_file_and_reason(name: str, text: str, said: str, tmp_path: Path) -> None:
    message = complaint(write(tmp_path / name, text))
    assert said in message
    assert "Traceback" not in message
    assert "\n" not in message
    if name != "port.yml":
        assert name in message


def test_one_broken_source_is_an_error_beside_a_good_one(fleet: Path, tmp_path: Path) -> None:
    assert "bad.yml" in complaint(fleet, write(tmp_path / "sub" / "bad.yml", "all: [\n"))


def test_a_broken_group_vars_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "group_vars" / "all.yml", "a: [1\n")
    assert "group_vars/all.yml" in complaint(write(tmp_path / "hosts", "h1\n"))


@pytest.fixture
def vaulted(tmp_path: Path) -> Path:
    """An inventory with an encrypted file, and the password beside it in `password`."""
    write(tmp_path / "password", "open\n")
    secret = write(tmp_path / "group_vars" / "all.yml", "ansible_password: treasure\n")
    command = [str(VAULT), "encrypt", "--vault-password-file", str(tmp_path / "password"), str(secret)]
    subprocess.run(command, check=True, capture_output=True)
    return write(tmp_path / "hosts", "h1\n")


def test_vaults_open_with_a_file_a_script_or_a_prompted_password(vaulted: Path) -> None:
    file = vaulted.with_name("password")
    script = write(vaulted.with_name("script"), "#!/bin/sh\necho open\n")
    script.chmod(0o755)
    ways: list[dict[str, Any]] = [
        {"vault_password_files": (str(file),)},
        {"vault_password_files": (str(script),)},
        {"vault_password": Secret("open")},
    ]
    for way in ways:
        password = only(vaulted, **way).connection.password
        assert password is not None
        assert password.reveal() == "treasure"


def test_a_vault_that_stays_shut_is_an_error_with_the_remedy(vaulted: Path) -> None:
    for way in ({}, {"vault_password": Secret("wrong")}):
        message = complaint(vaulted, **way)
        assert "--ask-vault-pass" in message
        assert "group_vars/all.yml" in message
    assert "/no/such/file" in complaint(vaulted, vault_password_files=("/no/such/file",))


def test_single_vaulted_values_open_only_where_they_are_wanted(vaulted: Path) -> None:
    command = [str(VAULT), "encrypt_string", "--vault-password-file", str(vaulted.with_name("password")), "x"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    vaulted.with_name("group_vars").joinpath("all.yml").write_text(f"other: {text}\n")
    assert only(vaulted).variables == DEFAULTS
    vaulted.with_name("group_vars").joinpath("all.yml").write_text(f"docker_audit_key: {text}\n")
    assert "docker_audit_key" in complaint(vaulted)
    assert only(vaulted, vault_password=Secret("open")).variables["docker_audit_key"] == "x"


def test_a_process_of_its_own_reads_the_same_inventory_and_the_same_errors(fleet: Path, tmp_path: Path) -> None:
    access = Access(sources=(str(fleet),), password=Secret("p"))
    with InventoryProcess(access) as process:
        assert process.load(DEFAULTS) == load_inventory(access, DEFAULTS)
    missing = Access(sources=(str(tmp_path / "none"),))
    for pause in (0, 1):  # asked while it reads, and after it has ended
        with InventoryProcess(missing) as process:
            time.sleep(pause)
            with pytest.raises(UsageError, match="there is no such inventory"):
                process.load(DEFAULTS)


def test_a_process_that_nobody_asks_is_ended(tmp_path: Path) -> None:
    script = write(tmp_path / "slow", "#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    began = time.monotonic()
    with InventoryProcess(Access(sources=(str(script),))):
        pass
    assert time.monotonic() - began < 10
