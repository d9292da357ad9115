"""What the controller runs around a restart: real programs, in order, bounded, and the second half whatever happens."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import sys
import time
from pathlib import Path

import pytest

from remediator.hooks import around_restarts, run_command
from remediator.plan import Step, Transaction
from remediator.restarts import Command, RestartPolicy

RESTART = Transaction(group="docker", changes=(), activation=(Step(do="restart", unit="docker.service"),))
FILES = Transaction(group="files", changes=(), activation=(Step(do="daemon_reload"),))


def python(code: str) -> Command:
    return (sys.executable, "-I", "-c", code)


def noting(file: Path, word: str, status: int = 0) -> Command:
    """A command that adds a word to a file."""
    return python(f"import sys; open({str(file)!r}, 'a').write({word!r} + ' '); print({word!r}); sys.exit({status})")


def test_the_commands_run_in_order_before_and_after(tmp_path: Path) -> None:
    log = tmp_path / "log"
    policy = RestartPolicy(
        before=(noting(log, "drain"), noting(log, "wait")), after=(noting(log, "uncordon"), noting(log, "tell"))
    )
    with around_restarts(policy, (FILES, RESTART)) as around:
        log.write_text(log.read_text() + "commit ")
    assert log.read_text() == "drain wait commit uncordon tell "
    assert (around.failure, around.notes) == ("", ())


def test_nothing_runs_where_nothing_restarts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with around_restarts(RestartPolicy(before=(noting(log, "x"),), after=(noting(log, "y"),)), (FILES,)) as around:
        pass
    assert not log.exists()
    assert around.failure == ""


def test_the_first_failure_ends_what_comes_before_and_not_what_comes_after(tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = (noting(log, "one"), noting(log, "two", 3), noting(log, "never"))
    after = (noting(log, "four", 5), noting(log, "five"))
    with around_restarts(RestartPolicy(before=before, after=after), (RESTART,)) as around:
        pass
    assert log.read_text() == "one two four five "
    assert around.failure == f"before_restart: {sys.executable} ended with status 3: two"
    assert around.notes == (f"after_restart: {sys.executable} ended with status 5: four",)


def test_what_comes_after_runs_also_where_the_commit_raises(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(ZeroDivisionError), around_restarts(RestartPolicy(after=(noting(log, "after"),)), (RESTART,)):
        _ = 1 / 0
    assert log.read_text() == "after "


def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "pid"
    begun = time.monotonic()
    failure = run_command(("sh", "-c", f"sleep 300 & echo $! >{child}; echo waiting; wait"), 4)
    assert failure == "sh did not end within 4 seconds: waiting"
    assert time.monotonic() - begun < 100
    with contextlib.suppress(ProcessLookupError):  # it is gone already
        assert select.select([os.pidfd_open(int(child.read_text()))], [], [], 60)[0], "what it started still runs"


def test_what_runs_on_behind_a_command_holds_nothing_up() -> None:
    assert run_command(("sh", "-c", "sleep 30 & exit 0"), 20) == ""


def test_words_are_never_read_by_a_shell(tmp_path: Path) -> None:
    hostile = f"$(touch {tmp_path}/made); touch {tmp_path}/made"
    assert run_command(("printf", "%s", hostile), 10) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_is_not_there_is_named() -> None:
    assert run_command(("no-such-program-here", "x"), 10) == (
        "no-such-program-here could not be started here: No such file or directory"
    )


def test_the_last_words_are_harmless_and_without_secrets() -> None:
    said = "print('first'); print('\\x1b[31mpassword=hunter2 http://a:hunter2@h \\u202e'); import sys; sys.exit(1)"
    failure = run_command(python(said), 10)
    assert failure.endswith("\\x1b[31mpassword=xxxx http://a:xxxx@h \\u202e")
    assert len(run_command(python("print('x' * 10_000_000); raise SystemExit(1)"), 30)) < 500


def test_a_command_gets_what_it_needs_and_nothing_else_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "LC_ALL", "ANSIBLE_VAULT_PASSWORD_FILE", "CLOUD_TOKEN"):
        monkeypatch.setenv(name, "C")
    file = tmp_path / "environment"
    code = f"import os; open({str(file)!r}, 'w').write(' '.join([os.getcwd(), *sorted(os.environ)]))"
    assert run_command(python(code), 10) == ""
    directory, *names = file.read_text().split()
    assert directory == "/"
    assert {"HOME", "PATH", "KUBECONFIG", "LC_ALL"} <= set(names)
    assert not {"CLOUD_TOKEN", "ANSIBLE_VAULT_PASSWORD_FILE"} & set(names)


def test_a_command_is_not_bound_by_the_memory_that_the_action_allows_itself(tmp_path: Path) -> None:
    file = tmp_path / "limit"
    code = f"import resource; open({str(file)!r}, 'w').write(str(resource.getrlimit(resource.RLIMIT_AS)[0]))"
    bound, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (64 * 1024**3, hard))
    try:
        assert run_command(python(code), 10) == ""
        assert resource.getrlimit(resource.RLIMIT_AS)[0] == 64 * 1024**3
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    assert int(file.read_text()) == hard
    assert os.path.exists(file)
