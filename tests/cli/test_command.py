"""The command as a whole: its verbs, its JSON, its start-up, and how it ends when something gives way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import jsonschema
import pytest

from remediator.cli import main
from remediator.cli.options import apply_command
from remediator.errors import LockedError

Remediate = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_schema_verb_prints_a_schema_that_the_catalogue_meets(remediate: Remediate) -> None:
    schema = json.loads(remediate("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for arguments in (["controls"], ["controls", "1.1.3"]):
        done = remediate(*arguments, "--format", "json")
        assert done.returncode == 0
        validator.validate(json.loads(done.stdout))


def test_a_control_is_explained_by_its_id_and_by_its_official_one(remediate: Remediate) -> None:
    by_id = remediate("controls", "docker.audit.daemon-binary")
    assert by_id.returncode == 0
    for word in ("Audit the Docker daemon binary", "why", "references", "threat", "tampering", "fix", "impact"):
        assert word in by_id.stdout
    assert by_id.stdout in remediate("controls", "1.1.3").stdout + "\n"


def test_the_help_imports_nothing_that_it_does_not_need() -> None:
    """Start-up counts: pydantic, rich, paramiko and Ansible cost more than the help itself."""
    program = (
        "import sys; from remediator.cli.main import run; run(['--help']); run(['apply', '--help']);"
        "print([name for name in ('pydantic', 'rich', 'paramiko', 'ansible', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (LockedError("web1 is held."), 5), (ZeroDivisionError("secret"), 70)],
)
def test_an_error_on_the_way_becomes_one_line_and_a_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(main.remediate, "get_command", lambda _context, _name: broken)
    assert main.run(["check"]) == code
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said
    assert "secret" not in said
    assert ("report" in said) == (code == 70)


def test_a_bug_shows_its_traceback_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from remediator.cli.options import listing_options

    @click.command()
    @listing_options
    def broken(output: str, verbose: bool) -> None:
        raise ZeroDivisionError(f"{output} \x1b[31m")

    monkeypatch.setattr(main.remediate, "get_command", lambda _context, _name: broken)
    assert main.run(["check", "-v"]) == 70
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "\\x1b[31m" in said
    assert "\x1b" not in said


def test_the_suggested_apply_is_the_same_call_without_secrets() -> None:
    from remediator.cli.check import check

    arguments = [
        "-l",
        "web*",
        "-b",
        "--role",
        "docker_audit,docker_files",
        "-e",
        "password=x",
        "-e",
        "@v.yml",
        "--strict",
    ]
    context = check.make_context("check", arguments)
    shown = apply_command(context, ("hosts.yml",))
    assert shown == (
        "remediate apply -i hosts.yml -l 'web*' -e ... -e @v.yml -b --role docker_audit --role docker_files"
    )


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("remediate")), "controls"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_check_of_this_machine_is_one_document_however_it_is_asked_for(remediate: Remediate) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(remediate("schema").stdout))
    asked = [
        remediate("--check", "--format", "json"),
        remediate("check", "-i", "localhost,", "--format", "json"),
    ]
    documents = [json.loads(done.stdout) for done in asked]
    for done, document in zip(asked, documents, strict=True):
        assert done.returncode in (0, 1, 3), done.stderr
        validator.validate(document)
    assert documents[0] == documents[1]
    (host,) = documents[0]["hosts"]
    assert [each["control"] for each in host["verdicts"]] == documents[0]["controls"]


def test_an_apply_without_a_terminal_and_without_yes_changes_nothing(remediate: Remediate, tmp_path: Path) -> None:
    done = remediate("apply", "-i", "localhost,", "--control", "docker.audit.runc")
    assert done.returncode in (0, 1, 2, 3), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home" / ".local" / "state" / "remediator").exists()
