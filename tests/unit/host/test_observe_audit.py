"""What observe says of audit, beyond what auditctl answers."""

import os
from pathlib import Path

import pytest

from remediator.host.observe import audit
from remediator.host.observe.audit import MAX_RULES_FILES, auditd_actions, kernel_rules, rule_paths, rules_files
from remediator.host.observe.command import COMMANDS, Finished, Running, find_program
from remediator.host.observe.machine import package_versions
from remediator.host.observe.state import HostState


def test_loaded_rules_and_the_state_are_read() -> None:
    facts = kernel_rules(
        Finished(0, "enabled 2\nfailure 1\n", ""), Finished(0, "-w /a -p wa -k x\n-a never,task\n", "")
    )
    assert facts == {"scope": "kernel", "enabled": 2, "loaded": ["-w /a -p wa -k x", "-a never,task"]}


def test_no_rules_are_no_rule() -> None:
    assert kernel_rules(Finished(0, "enabled 1\n", ""), Finished(0, "No rules\n", ""))["loaded"] == []


def test_an_auditctl_that_fails_says_so() -> None:
    facts = kernel_rules(Finished(0, "enabled 1\n", ""), Finished(255, "", "Operation not permitted\n"))
    assert facts == {"scope": "error", "error": "auditctl failed: Operation not permitted"}


def test_what_auditd_does_when_its_disk_is_full_is_told() -> None:
    text = "# disk_full_action = NO\ndisk_full_action = HALT\nDisk_Error_Action=syslog\nlog_file = /x\n"
    assert auditd_actions(text) == {"disk_full_action": "HALT", "disk_error_action": "syslog"}


def test_paths_of_rules_and_their_parents_are_looked_up() -> None:
    found, directories = rule_paths(
        ["-w /etc/passwd -p wa\n-a always,exit -F dir=/nonexistent/d -F path=/no\\ such/f -F exe=/bin/sh\n"]
    )
    assert found == {
        "/etc/passwd": True,
        "/etc": True,
        "/nonexistent/d": False,
        "/nonexistent": False,
        "/no such/f": False,
        "/no such": False,
        "/bin/sh": True,
        "/bin": True,
    }
    assert directories == ["/etc", "/bin"]


def test_a_rules_paths_are_looked_up_as_they_are_spelled_and_as_auditctl_takes_them(tmp_path: Path) -> None:
    real, alias, file = tmp_path / "run", tmp_path / "var-run", tmp_path / "run" / "a"
    real.mkdir()
    alias.symlink_to(real)
    file.touch()
    found, directories = rule_paths([f"-w {alias}/a\n-w {real}/a\n-w {alias}/\n-a always,exit -F dir={real}/\n"])
    assert {f"{alias}/a", f"{real}/a", str(alias), str(real), f"{alias}/", f"{real}/"} < set(found)
    assert all(found.values())
    assert set(directories) == set(found) - {f"{alias}/a", f"{real}/a"}


def test_rules_that_name_endless_paths_are_bounded(tmp_path: Path) -> None:
    text = "".join(f"-w {tmp_path}/{number}/f\n" for number in range(20000))
    for number in range(3000):
        (tmp_path / str(number)).mkdir()
    found, directories = rule_paths([text])
    assert (len(found), len(directories)) == (2000, 1000)


def test_endless_rules_files_are_bounded_and_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "RULES_DIRECTORY", str(tmp_path))
    state = HostState({}, {})
    for number in range(MAX_RULES_FILES):
        (tmp_path / f"{number}.rules").touch()
    assert len(rules_files(state)) == MAX_RULES_FILES
    assert state.files.problems == []
    (tmp_path / "9999.rules").touch()
    assert rules_files(state)[-1] == f"{tmp_path}/{MAX_RULES_FILES - 1}.rules"
    assert state.files.problems == [f"{tmp_path}: only the first {MAX_RULES_FILES} of its files were read"]


def test_packages_that_were_removed_have_no_version() -> None:
    answer = Finished(1, "auditd\t1:3.0.9-1\tii \nrunc\t1.1\trc \n", "dpkg-query: no packages found")
    assert package_versions(answer) == {"auditd": "1:3.0.9-1", "runc": None}


def test_a_command_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "none", ("no-such-program-here", "-x"))
    finished = Running("none").finish()
    assert (finished.status, finished.errors) == (None, "not installed")


def test_commands_run_side_by_side_in_the_c_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setitem(COMMANDS, "env", ("env",))
    first, second = Running("env"), Running("env")
    outputs = [running.finish().output for running in (second, first)]
    assert outputs[0] == outputs[1]
    assert "LC_ALL=C\n" in outputs[0]
    assert "SECRET" not in outputs[0]


def test_a_command_without_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "sleep", ("sleep", "60"))
    monkeypatch.setattr("remediator.host.observe.command.COMMAND_SECONDS", 0)
    finished = Running("sleep").finish()
    assert finished.status is None
    assert "no end" in finished.errors


def test_a_command_that_prints_without_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "yes", ("yes",))
    assert Running("yes").finish().status is None


def test_programs_are_found_in_the_systems_directories_only() -> None:
    assert find_program("sh") == os.path.realpath("/bin/sh")
    assert find_program("no-such-program-here") is None
