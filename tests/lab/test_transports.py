"""Every way to a host that ssh and Ansible know gives the same verdicts, by both carriers, and keeps its secrets."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from .hosts.container import OPSPW_PASSWORD, ContainerHost
from .hosts.interface import LabHost, inventory, ssh_config
from .product import REMEDIATE, Answer, Product

DEFAULTS = "/etc/default/docker"
VAULT_PASSWORD = "vault-lab-2291"
CONTROL = "seen-lab-5310"
"""What a process of the test itself shows on purpose."""
TRANSPORTS = pytest.mark.parametrize("transport", ["ssh", "ansible"])
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def host(debian12: ContainerHost) -> Iterator[ContainerHost]:
    """A Docker host with one thing to fix, put back afterwards."""
    debian12.script(f"chmod 0664 {DEFAULTS}")
    yield debian12
    debian12.script(f"chmod 0644 {DEFAULTS}\nrm -rf /var/lib/remediator")


@pytest.fixture(scope="module")
def seen(host: ContainerHost, remediate: Product, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What root sees over plain SSH."""
    path = tmp_path_factory.mktemp("seen") / "hosts.yml"
    path.write_text(inventory([host]))
    answer = remediate.check(path)
    assert answer.code == 1, answer.err
    return answer.verdicts(host.name)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an inventory: write(name={"ansible_host": ...}, ...)."""

    def written(**hosts: dict[str, object]) -> Path:
        path = tmp_path / "hosts.json"
        path.write_text(json.dumps({"all": {"hosts": hosts}}))
        return path

    return written


def without(variables: dict[str, str | int], *names: str) -> dict[str, object]:
    return {name: value for name, value in variables.items() if name not in names}


@TRANSPORTS
def test_through_a_jump_host_of_an_ssh_config(
    jump_pair: tuple[ContainerHost, ContainerHost], remediate: Product, tmp_path: Path, write: Write, transport: str
) -> None:
    jump, inner = jump_pair
    (tmp_path / "config").write_text(ssh_config([jump]))
    arguments = f"-F {tmp_path}/config -o ProxyJump={jump.name} -o UserKnownHostsFile={inner.known_hosts}"
    hosts = {
        "configured": {"ansible_host": inner.name, "ansible_ssh_common_args": f"-F {tmp_path}/both"},
        "argued": {**inner.inventory_vars(), "ansible_ssh_common_args": arguments},
    }
    (tmp_path / "both").write_text(ssh_config([jump, inner]))
    answer = remediate.check(write(**hosts), "--transport", transport)
    assert answer.code == 1, answer.err + answer.out  # a host as it comes does not set content trust
    proxied = remediate.check(write(proxied=inner.inventory_vars()))
    assert answer.verdicts("configured") == answer.verdicts("argued") == proxied.verdicts("proxied")


@TRANSPORTS
def test_a_jump_hosts_key_is_never_accepted_silently(
    jump_pair: tuple[ContainerHost, ContainerHost], remediate: Product, tmp_path: Path, write: Write, transport: str
) -> None:
    """ssh gives its jump hosts none of the target's arguments: what the configuration says of them stands."""
    known = tmp_path / "known_hosts"
    known.touch()
    jump, inner = jump_pair
    unknown = re.sub(r'UserKnownHostsFile ".*"', f'UserKnownHostsFile "{known}"', ssh_config([jump]))
    trusting = unknown.replace("StrictHostKeyChecking yes", "StrictHostKeyChecking accept-new")
    (tmp_path / "config").write_text(trusting + ssh_config([inner]))
    hosts = {"behind": {"ansible_host": inner.name, "ansible_ssh_common_args": f"-F {tmp_path}/config"}}
    answer = remediate.check(write(**hosts), "--transport", transport)
    assert answer.host("behind")["error"]["kind"] == "host_key"
    assert known.read_text() == ""


@TRANSPORTS
def test_the_users_own_ssh_config_with_its_include_and_match_says_how(
    host: ContainerHost,
    jump_pair: tuple[ContainerHost, ContainerHost],
    seen: dict[str, str],
    tmp_path: Path,
    transport: str,
) -> None:
    """As another user's: ssh takes the home directory from the user database, which is replaced for this one call."""
    own = tmp_path / ".ssh"
    own.mkdir(mode=0o700)
    (own / "conf.d").mkdir()
    (own / "config").write_text("Include conf.d/*.conf\n" + ssh_config(jump_pair))
    lines = ssh_config([host]).splitlines()
    (own / "conf.d" / "lab.conf").write_text(
        "\n".join([f"Host {host.name}.lab", lines[1], *_matched(host), *lines[2:]])
    )
    users = tmp_path / "passwd"
    users.write_text(re.sub(r"^(root:.*):/root:", rf"\1:{tmp_path}:", Path("/etc/passwd").read_text(), flags=re.M))
    names = f"{host.name}.lab,{jump_pair[1].name},"
    command = [str(REMEDIATE), "check", "-i", names, "--transport", transport, "--format", "json"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", 'mount --bind "$0" /etc/passwd; exec "$@"', users, *command],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        check=False,
    )
    answer = Answer(done.returncode, done.stdout, done.stderr)
    assert answer.code == 1, answer.err + answer.out
    assert answer.verdicts(f"{host.name}.lab") == seen
    assert "unknown" not in answer.verdicts(jump_pair[1].name).values()


def _matched(host: LabHost) -> list[str]:
    """The rest is said in a block that only holds when a program says so."""
    return [f'Match originalhost {host.name}.lab exec "test %p -eq {host.port}"']


def at_terminal(product: Product, words: list[str]) -> pexpect.spawn[str]:
    """A call with -k and -K at a real terminal, once it has been told opspw's password for both."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(product.home), "LC_ALL": "C.UTF-8", **product.environment}
    child = pexpect.spawn(str(REMEDIATE), words, env=environment, encoding="utf-8", timeout=120, dimensions=(50, 5000))
    child.expect_exact("SSH password: ")
    child.sendline(OPSPW_PASSWORD)
    child.expect_exact("Become password [as the SSH password]: ")
    child.sendline("")
    return child


@TRANSPORTS
def test_passwords_are_asked_for_at_a_terminal(
    host: ContainerHost, seen: dict[str, str], remediate: Product, write: Write, transport: str
) -> None:
    path = write(asked=without(host.inventory_vars(), "ansible_user", "ansible_ssh_private_key_file"))
    words = ["check", "-i", str(path), "-u", "opspw", "-k", "-b", "-K", "--transport", transport, "--format", "json"]
    child = at_terminal(remediate, words)
    child.expect(pexpect.EOF)
    child.close()
    shown = str(child.before)
    answer = Answer(child.exitstatus or 0, shown[shown.index("{") : shown.rindex("}") + 1], shown)
    assert answer.verdicts("asked") == seen, answer.err
    assert OPSPW_PASSWORD not in answer.out + answer.err


@TRANSPORTS
def test_user_key_and_become_come_from_the_command_line(
    host: ContainerHost, seen: dict[str, str], remediate: Product, write: Write, transport: str
) -> None:
    path = write(bare=without(host.inventory_vars(), "ansible_user", "ansible_ssh_private_key_file"))
    words = ("-u", "ops", "--private-key", str(host.key), "-b", "--transport", transport)
    assert remediate.check(path, *words).verdicts("bare") == seen


@pytest.fixture
def agent(host: ContainerHost, tmp_path: Path) -> Iterator[str]:
    """The socket of an ssh-agent that holds the lab's key."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it listens once it has said so
        subprocess.run(["ssh-add", "-q", host.key], env={**os.environ, "SSH_AUTH_SOCK": str(path)}, check=True)
        yield str(path)
    finally:
        process.terminate()
        process.wait()


@TRANSPORTS
def test_the_users_agent_logs_in_and_is_not_forwarded(
    host: ContainerHost, seen: dict[str, str], remediate: Product, write: Write, agent: str, transport: str
) -> None:
    """Root on a host could use every key of an agent that is forwarded there."""
    wrapper = "/usr/local/bin/lab-python"
    host.put(wrapper, b'#!/bin/sh\nenv >/run/lab-environment\nexec python3 "$@"\n', mode="0755")
    options = re.sub(
        r"-o IdentitiesOnly=yes", "-o ForwardAgent=yes", str(host.inventory_vars()["ansible_ssh_common_args"])
    )
    variables = without(host.inventory_vars(), "ansible_ssh_private_key_file", "ansible_ssh_common_args")
    path = write(keyless={**variables, "ansible_ssh_common_args": options, "ansible_python_interpreter": wrapper})
    product = Product(remediate.home, {"SSH_AUTH_SOCK": agent})
    try:
        answer = product.check(path, "--transport", transport)
        environment = host.text("cat", "/run/lab-environment")
    finally:
        host.run("rm", "-f", wrapper, "/run/lab-environment")
    assert answer.verdicts("keyless") == seen, answer.err
    assert "SSH_CONNECTION=" in environment
    assert "SSH_AUTH_SOCK=" not in environment


def test_several_inventories_are_one_and_a_limit_selects_from_it(
    host: ContainerHost, seen: dict[str, str], remediate: Product, tmp_path: Path
) -> None:
    (tmp_path / "first.ini").write_text("[web]\none\n[all:vars]\n")
    directory = tmp_path / "second"
    (directory / "group_vars").mkdir(parents=True)
    (directory / "hosts.yml").write_text("db: {hosts: {two: {}, three: {}}}\n")
    (directory / "group_vars" / "all.json").write_text(json.dumps(host.inventory_vars()))
    words = ["-i", str(tmp_path / "first.ini"), "-i", str(directory)]
    answer = remediate("check", *words, "--format", "json")
    assert [entry["host"] for entry in answer.document["hosts"]] == ["one", "two", "three"]
    assert answer.verdicts("one") == answer.verdicts("two") == answer.verdicts("three") == seen
    limited = remediate("check", *words, "-l", "web:db:!three", "--format", "json")
    assert [entry["host"] for entry in limited.document["hosts"]] == ["one", "two"]


def test_a_connection_that_is_not_ssh_gives_the_same_verdicts(
    host: ContainerHost, seen: dict[str, str], remediate: Product, write: Write
) -> None:
    """Ansible's own `local` connection, into the host through its container."""
    inside = ["docker", "--host", f"unix://{host.engine.socket}", "exec", "-i", host.container, "/usr/bin/python3"]
    path = write(inside={"ansible_connection": "local", "ansible_python_interpreter": shlex.join(inside)})
    answer = remediate.check(path)
    assert answer.verdicts("inside") == seen, answer.err
    refused = remediate.check(path, "--transport", "ssh")
    assert refused.code == 3
    assert "its connection is local" in refused.host("inside")["error"]["message"]


@pytest.fixture
def vaulted(host: ContainerHost, write: Write, tmp_path: Path) -> tuple[Path, Path]:
    """An inventory with opspw's become password in a vault, and the file with the vault's password."""
    path = write(vaulted={**host.as_user("opspw").inventory_vars(), "ansible_become": True})
    password = tmp_path / "vault-password"
    password.write_text(VAULT_PASSWORD)
    command = [str(Path(sys.executable).with_name("ansible-vault")), "encrypt_string", "--stdin-name", "x"]
    done = subprocess.run(
        [*command, "--vault-password-file", password], input=OPSPW_PASSWORD.encode(), capture_output=True, check=True
    )
    variables = tmp_path / "group_vars"
    variables.mkdir()
    (variables / "all.yml").write_text(done.stdout.decode().replace("x: !vault", "ansible_become_password: !vault"))
    return path, password


@TRANSPORTS
def test_a_become_password_may_be_in_a_vault(
    seen: dict[str, str], remediate: Product, vaulted: tuple[Path, Path], transport: str
) -> None:
    path, password = vaulted
    answer = remediate.check(path, "--vault-password-file", str(password), "--transport", transport)
    assert answer.verdicts("vaulted") == seen, answer.err


def test_a_vault_that_stays_shut_ends_2_and_is_named(remediate: Product, vaulted: tuple[Path, Path]) -> None:
    path, password = vaulted
    for words in ((), ("--vault-password-file", str(password))):
        answer = remediate.check(path, *words)
        assert answer.code == 2
        assert "vault" in answer.err.lower()
        assert VAULT_PASSWORD not in answer.err
        password.write_text("wrong")


class _Watch:
    """Looks at every process of this machine, the hosts' among them, until it is left."""

    def __init__(self, *secrets: str) -> None:
        self._secrets = [secret.encode() for secret in secrets]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.found: set[bytes] = set()

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        mine = str(os.getpid())
        while not self._over.wait(0.01):
            for entry in os.listdir("/proc"):
                if entry.isdigit() and entry != mine:
                    self._look(f"/proc/{entry}/cmdline")
                    self._look(f"/proc/{entry}/environ")

    def _look(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                text = file.read()
        except OSError:
            return
        if any(secret in text for secret in self._secrets):
            self.found.add(text[:500])


def by_vault(product: Product, host: ContainerHost, vaulted: tuple[Path, Path]) -> Answer:
    """An apply with the become password from a vault."""
    path, password = vaulted
    return product("apply", "--yes", "-v", "-i", str(path), "--vault-password-file", str(password))


def by_terminal(product: Product, host: ContainerHost, vaulted: tuple[Path, Path]) -> Answer:
    """An apply with passwords that are asked for, as is the consent."""
    path = vaulted[0].with_name("asked.json")
    keyless = without(host.inventory_vars(), "ansible_user", "ansible_ssh_private_key_file")
    path.write_text(json.dumps({"all": {"hosts": {"asked": keyless}}}))
    path.parent.joinpath("group_vars", "all.yml").unlink()
    child = at_terminal(product, ["apply", "-v", "-i", str(path), "-u", "opspw", "-k", "-b", "-K"])
    child.expect("Apply 1 change to 1 host")
    child.sendline("y")
    child.expect(pexpect.EOF)
    child.close()
    return Answer(child.exitstatus if child.exitstatus is not None else -1, str(child.before), "")


@pytest.mark.parametrize("apply", [by_vault, by_terminal])
def test_an_apply_shows_its_passwords_to_nobody_and_leaves_them_nowhere(
    host: ContainerHost,
    vaulted: tuple[Path, Path],
    tmp_path: Path,
    apply: Callable[[Product, ContainerHost, tuple[Path, Path]], Answer],
) -> None:
    host.script(f"chmod 0664 {DEFAULTS}")
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir(mode=0o700)
    temporary.mkdir(mode=0o700)
    with _Watch(OPSPW_PASSWORD, VAULT_PASSWORD, CONTROL) as watch:
        answer = apply(Product(home, {"TMPDIR": str(temporary)}), host, vaulted)
        subprocess.run(["sleep", "0.5"], env={"PATH": os.environ["PATH"], "SECRET": CONTROL}, check=True)
    assert answer.code == 0, answer.out + answer.err
    assert host.text("stat", "-c", "%a", DEFAULTS) == "644"
    assert [text for text in watch.found if CONTROL.encode() not in text] == []
    assert watch.found, "what is shown would not have been seen"
    records = list(home.rglob("runs/*.json"))
    assert [record.stat().st_mode & 0o777 for record in records] == [0o600]
    assert list(temporary.iterdir()) == []
    places = ["/tmp", "/var/tmp", "/var/lib/remediator", "/var/log", "/home", "/root", "/run"]
    for secret in (OPSPW_PASSWORD, VAULT_PASSWORD):
        assert secret not in answer.out + answer.err
        assert [file for file in home.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()] == []
        assert host.run("grep", "-rlaF", "-D", "skip", "-e", secret, *places, check=False).stdout == b""
        assert secret.encode() not in host.run("journalctl", "--no-pager", "-n", "2000").stdout
