"""What `ssh -G` is asked and how its answers are read, with the real ssh program."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remediator import ssh_settings
from remediator.connection import Connection
from remediator.errors import HostError
from remediator.ssh_config import matches
from remediator.ssh_settings import SshConfig, SshSettings


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Writes a configuration file and returns the arguments that make ssh use it alone."""

    def write(text: str) -> tuple[str, ...]:
        path = tmp_path / "config"
        path.write_text(text)
        return ("-F", str(path))

    return write


def settle(address: str, arguments: tuple[str, ...] = ("-F", "none"), **given: Any) -> SshSettings:
    connection = Connection("ssh", address, ssh_more_arguments=arguments, **given)
    settled = SshConfig().settle({"web1": connection})["web1"]
    assert isinstance(settled, SshSettings), settled
    return settled


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines of every ssh that is started, which runs all the same."""
    calls: list[list[str]] = []
    run = subprocess.run

    def noting(words: list[str], **options: Any) -> Any:
        calls.append(words)
        return run(words, **options)

    monkeypatch.setattr(ssh_settings.subprocess, "run", noting)
    return calls


def test_a_hundred_hosts_without_host_blocks_are_one_question(asked: list[list[str]]) -> None:
    arguments = ("-F", "none")
    connections = {
        f"h{n}": Connection("ssh", f"10.0.0.{n}", port=2200 + n, user=f"u{n}", ssh_more_arguments=arguments)
        for n in range(100)
    }
    settled = SshConfig().settle(connections)
    assert len(asked) == 1
    for n in range(100):
        one = settled[f"h{n}"]
        assert isinstance(one, SshSettings)
        assert (one.hostname, one.port, one.user) == (f"10.0.0.{n}", 2200 + n, f"u{n}")


def test_hosts_in_the_same_blocks_share_a_question_and_match_asks_for_each(
    asked: list[list[str]], config: Callable[[str], tuple[str, ...]]
) -> None:
    arguments = config("Host web*\n  User deploy\nHost db1\n  Port 99\n")
    names = ["web1", "web2", "db1", "db2", "mail"]
    settled = SshConfig().settle({name: Connection("ssh", name, ssh_more_arguments=arguments) for name in names})
    assert len(asked) == 3
    found = {name: (one.hostname, one.user, one.port) for name, one in settled.items() if isinstance(one, SshSettings)}
    other = found["mail"][1]
    assert found == {
        "web1": ("web1", "deploy", 22),
        "web2": ("web2", "deploy", 22),
        "db1": ("db1", other, 99),
        "db2": ("db2", other, 22),
        "mail": ("mail", other, 22),
    }
    asked.clear()
    arguments = config('Match exec "test %h = web2"\n  User special\n')
    settled = SshConfig().settle({name: Connection("ssh", name, ssh_more_arguments=arguments) for name in names})
    assert len(asked) == len(names)
    assert [name for name, one in settled.items() if isinstance(one, SshSettings) and one.user == "special"] == ["web2"]


def test_a_hostname_that_is_also_a_hosts_name_is_not_mistaken(config: Callable[[str], tuple[str, ...]]) -> None:
    arguments = config("Host web*\n  HostName web1\n")
    for names in (("web1", "web2"), ("web2", "web1")):
        connections = {name: Connection("ssh", name, ssh_more_arguments=arguments) for name in names}
        settled = SshConfig().settle(connections)
        assert [one.hostname for one in settled.values() if isinstance(one, SshSettings)] == ["web1", "web1"]


def test_included_files_count(config: Callable[[str], tuple[str, ...]], tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("Host inner\n  User included\n")
    arguments = config(f"Include {tmp_path}/*.conf\n")
    connections = {name: Connection("ssh", name, ssh_more_arguments=arguments) for name in ("outer", "inner")}
    settled = SshConfig().settle(connections)
    assert [isinstance(one, SshSettings) and one.user == "included" for one in settled.values()] == [False, True]


def test_the_inventory_outranks_ssh_config_and_ssh_args_outrank_the_inventory(
    config: Callable[[str], tuple[str, ...]], tmp_path: Path
) -> None:
    arguments = config("Host *\n  User config\n  Port 1\n")
    assert settle("web1", arguments, user="inventory", port=2).user == "inventory"
    assert settle("web1", arguments, user="inventory", port=2).port == 2
    assert settle("web1", arguments, user="inventory", ssh_arguments=("-o", "User=args")).user == "args"
    assert settle("web1", arguments, port=2, ssh_arguments=("-p", "3")).port == 3
    key = tmp_path / "a key"
    assert settle("web1", arguments, private_key=str(key)).identity_files == (str(key),)


def test_file_names_are_expanded(config: Callable[[str], tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", "/keys")
    arguments = config("Host *\n  IdentityFile ${KEYS}/%r@%h-%p%%\n  UserKnownHostsFile /a/known /b/known\n")
    settled = settle("web1", arguments, user="bob", port=2222)
    assert settled.identity_files == ("/keys/bob@web1-2222%",)
    assert settled.known_hosts[:2] == ("/a/known", "/b/known")


def test_a_chain_of_jump_hosts_has_each_hosts_own_settings(config: Callable[[str], tuple[str, ...]]) -> None:
    arguments = config(
        "Host target\n  ProxyJump one,bob@two:2222\nHost one\n  HostName 10.1.1.1\n  ProxyJump zero\n"
        "Host two\n  ProxyJump ignored\n"
    )
    chain = []
    hop: SshSettings | None = settle("target", arguments)
    while hop is not None:
        chain.append((hop.alias, hop.hostname, hop.port))
        hop = hop.via
    assert chain == [("target", "target", 22), ("two", "two", 2222), ("one", "10.1.1.1", 22), ("zero", "zero", 22)]


def test_a_circle_of_jump_hosts_is_the_hosts_error(config: Callable[[str], tuple[str, ...]]) -> None:
    arguments = config("Host a\n  ProxyJump b\nHost b\n  ProxyJump c\nHost c\n  ProxyJump b\n")
    settled = SshConfig().settle({"web1": Connection("ssh", "a", ssh_more_arguments=arguments)})["web1"]
    assert isinstance(settled, HostError)
    assert "ProxyJump" in str(settled)


@pytest.mark.parametrize("value", ["no", "off"])
def test_switched_off_host_key_checking_is_noted_also_for_jump_hosts(
    value: str, config: Callable[[str], tuple[str, ...]]
) -> None:
    assert settle("web1", (*config(""), "-o", f"StrictHostKeyChecking={value}")).refused is not None
    through = settle("web1", config(f"Host web1\n  ProxyJump j\nHost j\n  StrictHostKeyChecking {value}\n"))
    assert through.refused is not None
    assert "jump host j" in through.refused


@pytest.mark.parametrize("value", ["yes", "ask", "accept-new"])
def test_checking_host_keys_is_not_refused(value: str) -> None:
    assert settle("web1", ("-F", "none", "-o", f"StrictHostKeyChecking={value}")).refused is None


@pytest.mark.parametrize(
    "option",
    [
        "ProxyCommand=nc %h %p",
        "KnownHostsCommand=/bin/true",
        "RevokedHostKeys=/r",
        "BindAddress=127.0.0.1",
        "PKCS11Provider=/p.so",
        "Ciphers=chacha20-poly1305@openssh.com",
    ],
)
def test_what_the_sweep_cannot_honour_goes_to_ansible(option: str) -> None:
    reason = settle("web1", ("-F", "none", "-o", option)).ansible_only
    assert reason is not None
    assert option.partition("=")[0].lower() in reason


def test_allowed_algorithms_are_those_of_ssh_in_our_order() -> None:
    arguments = ("-F", "none", "-o", "Ciphers=aes256-ctr,aes128-gcm@openssh.com")
    assert settle("web1", arguments).algorithms[1] == ("aes128-gcm@openssh.com", "aes256-ctr")


def test_an_option_that_ssh_refuses_is_that_hosts_error_in_ssh_words() -> None:
    connections = {
        "bad": Connection("ssh", "a", ssh_more_arguments=("-F", "none", "-o", "NoSuchOption=1")),
        "good": Connection("ssh", "b", ssh_more_arguments=("-F", "none")),
        "odd": Connection("ssh", "-oProxyCommand=x", ssh_more_arguments=("-F", "none")),
    }
    settled = SshConfig().settle(connections)
    assert isinstance(settled["bad"], HostError)
    assert "nosuchoption" in str(settled["bad"]).lower()
    assert isinstance(settled["good"], SshSettings)
    assert isinstance(settled["odd"], HostError)


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        (("web*",), "web1", True),
        (("web?",), "web12", False),
        (("*", "!db*"), "db1", False),
        (("*", "!db*"), "web1", True),
        (("a.b",), "axb", False),
    ],
)
def test_patterns_match_as_ssh_matches(patterns: tuple[str, ...], name: str, expected: bool) -> None:
    assert matches(patterns, name) is expected
