"""The sweep and passwords: sent only where they are asked for, and never tried on a whole fleet at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from remediator.access import Secret
from remediator.connection import Become
from remediator.errors import HostError
from remediator.sweep_passwords import PasswordGates
from tests.unit.odd_ssh_server import OddServer
from tests.unit.sshd import Sshd
from tests.unit.swept import answer, become, error, observe, odd
from tests.unit.swept import sshd as sshd
from tests.unit.swept import usual_known_hosts as usual_known_hosts


def test_a_sudo_password_is_sent_when_sudo_asks(sshd: Sshd, tmp_path: Path) -> None:
    record = tmp_path / "record"
    answer(sshd.connection(become=become("open-sesame", record, "open-sesame")))
    assert record.read_text() == "open-sesame\n"


def test_a_sudo_password_is_never_sent_where_sudo_does_not_ask(sshd: Sshd, tmp_path: Path) -> None:
    record = tmp_path / "record"
    answer(sshd.connection(become=become("nopasswd", record, "open-sesame")))
    assert not record.exists()


def test_sudo_that_wants_a_password_that_was_not_given_says_how_to_give_it(sshd: Sshd, tmp_path: Path) -> None:
    refused = error(sshd.connection(become=become("open-sesame", tmp_path / "record", None)))
    assert (refused.kind, "-K" in str(refused)) == ("become", True)


def test_a_user_without_sudo_rights_is_a_become_error(sshd: Sshd, tmp_path: Path) -> None:
    refused = error(sshd.connection(become=become("nobody", tmp_path / "record", None)))
    assert refused.kind == "become"
    assert f"{sshd.user} may not use sudo" in str(refused)


def test_a_host_without_sudo_is_a_become_error(sshd: Sshd) -> None:
    refused = error(sshd.connection(become=Become("sudo", "root", "/no/such/sudo", (), None)))
    assert (refused.kind, "there is no /no/such/sudo" in str(refused)) == ("become", True)


def test_a_shared_sudo_password_is_given_up_after_three_refusals(sshd: Sshd, tmp_path: Path) -> None:
    record = tmp_path / "record"
    addresses = [f"127.0.3.{number}" for number in range(1, 11)]
    sshd.trust(*addresses)
    wrong = become("right", record, "wrong")
    results = observe({address: sshd.connection(address, become=wrong) for address in addresses})
    assert record.read_text() == "wrong\n" * 3
    kinds = [result.kind for result in results.values() if isinstance(result, HostError)]
    assert kinds == ["become"] * 10
    assert sum("was not tried" in str(result) for result in results.values()) == 7


def test_a_shared_sudo_password_is_tried_on_all_once_one_accepted_it(sshd: Sshd, tmp_path: Path) -> None:
    addresses = [f"127.0.3.{number}" for number in range(1, 11)]
    sshd.trust(*addresses)
    right = become("right", tmp_path / "record", "right")
    results = observe({address: sshd.connection(address, become=right) for address in addresses})
    assert all(isinstance(result, bytes) for result in results.values()), results


@pytest.fixture
def password_host() -> Iterator[OddServer]:
    server = OddServer("right")
    yield server
    server.stop()


def test_a_shared_log_in_password_is_given_up_after_three_refusals(password_host: OddServer, tmp_path: Path) -> None:
    connections = {f"h{n}": odd(password_host, tmp_path, f"127.0.4.{n}", "wrong") for n in range(1, 11)}
    results = observe(connections)
    assert password_host.passwords == ["wrong"] * 3
    assert all(isinstance(result, HostError) and result.kind == "authentication" for result in results.values())
    assert "wrong" not in " ".join(str(result) for result in results.values())


def test_a_refusal_after_an_acceptance_is_that_hosts_own_error() -> None:
    gates = PasswordGates()
    password = Secret("shared")
    first = gates.begin("ssh", "bob", password, "a")
    first.accepted = True
    gates.end(first)
    for host in "bcdef":
        attempt = gates.begin("ssh", "bob", password, host)
        attempt.refused = True
        gates.end(attempt)
    gates.end(gates.begin("ssh", "bob", password, "g"))


def test_no_two_hosts_try_an_unproven_password_at_once() -> None:
    gates = PasswordGates()
    first = gates.begin("ssh", "bob", Secret("shared"), "a")
    begun = threading.Event()

    def second() -> None:
        gates.end(gates.begin("ssh", "bob", Secret("shared"), "b"))
        begun.set()

    threading.Thread(target=second, daemon=True).start()
    assert not begun.wait(0.3)
    first.accepted = True
    gates.end(first)
    assert begun.wait(5)
