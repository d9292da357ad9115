"""Where systemd runs, a commit does its work in a unit of its own, and needs nobody once it has begun."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from remediator import wire
from remediator.errors import HostError
from remediator.host import commit_program
from remediator.host.commit.detached import is_whole
from remediator.plan import Action, Step
from tests.unit.host.commit.certificates import key_pem, new_key, public_sha256
from tests.unit.host.commit.host import CommitHost, chmod, seen, state_of, transaction, write

RUN = "01JD0000000000000000000000"
UNIT = re.compile(r"--unit=remediator-commit-01jd0000000000000000000000-[0-9a-f]{8}\.service")
# Does what systemd-run does: a process outside of the session, with our descriptors and an environment of its own.
SYSTEMD_RUN = """
import json, subprocess
with (here / "asked").open("a") as asked:
    asked.write(json.dumps({"argv": argv, "environment": dict(os.environ)}) + "\\n")
words = argv[argv.index("--") + 1:]
given = dict(word[len("--setenv="):].split("=", 1) for word in argv if word.startswith("--setenv="))
unit = subprocess.Popen([word.replace("$$", "$") for word in words], env=given, start_new_session=True)
(here / "unit.pid").write_text(str(unit.pid))
sys.exit(unit.wait())
"""
# As on a busy host, whose service manager takes its time to clear the unit away: longer than the test would wait. What
# sleeps is killed by the program under test.
CLEARS_LATE = SYSTEMD_RUN.replace("sys.exit(unit.wait())", "unit.wait(); import time; time.sleep(120)")
REFUSES = 'print("Failed to start transient service unit: no", file=sys.stderr); sys.exit(1)'
KNOWS_NO_PIPE = 'print("systemd-run: unrecognized option --pipe", file=sys.stderr); sys.exit(1)'
SAYS_OTHER_THINGS = 'print("Running as unit: run-u1.service", flush=True); sys.stdin.read(1); sys.exit(3)'
# Holds a transaction until the test has seen it and lets it go on.
HOLDS = """
import time
(here / "held").touch()
end = time.monotonic() + 60
while not (here / "go").exists() and time.monotonic() < end:
    time.sleep(0.01)
print("No rules")
"""
AUDIT_PROBE = (Step(do="audit_loaded", rule=("-w", "/x", "-p", "wa")),)


def systemd(host: CommitHost) -> str:
    """Shell that lets the host's init be systemd."""
    (host.base / "run" / "systemd" / "system").mkdir(parents=True, exist_ok=True)
    (host.base / "units").mkdir(exist_ok=True)
    run, units = (shlex.quote(str(host.base / name)) for name in ("run", "units"))
    return f"mount --bind {run} /run; mount --bind {units} /etc/systemd/system"


def asked(host: CommitHost) -> list[dict[str, Any]]:
    """What systemd-run was started with, each time."""
    file = host.base / "asked"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert path.exists()


def wait_for_end(pid: int) -> None:
    """Until a process that is not this one's child is gone."""
    end = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()


def test_the_work_is_done_in_a_unit_of_the_run_that_ends_by_itself_alone(host: CommitHost) -> None:
    host.program("systemd-run", SYSTEMD_RUN)
    path = host.file("daemon.json")

    [result] = host.run(transaction(chmod(path, 0o600)), setup=systemd(host), run=RUN)

    assert (result["outcome"], path.stat().st_mode & 0o777) == ("applied", 0o600)
    [call] = asked(host)
    options = call["argv"][: call["argv"].index("--")]
    assert {"--pipe", "--wait", "--collect", "--property=KillMode=mixed"} <= set(options)
    assert [option for option in options if UNIT.fullmatch(option)]
    holder = json.loads((host.state / "lock").read_text())
    assert holder["pid"] == int((host.base / "unit.pid").read_text())
    assert holder["run"] == RUN


def test_the_answer_is_all_that_is_waited_for_and_each_call_has_a_unit_of_its_own(host: CommitHost) -> None:
    host.program("systemd-run", CLEARS_LATE)
    path = host.file("daemon.json")
    begun = time.monotonic()
    for mode in (0o600, 0o640):
        [result] = host.run(transaction(chmod(path, mode), group=f"mode-{mode:o}"), setup=systemd(host), run=RUN)
        assert result["outcome"] == "applied"
    assert time.monotonic() - begun < 60
    first, second = (next(word for word in call["argv"] if UNIT.fullmatch(word)) for call in asked(host))
    assert first != second


def test_an_answer_is_whole_at_its_last_byte_and_not_before() -> None:
    marker = b"0" * 32
    answer = b"Welcome\n" + marker + b" ready\n" + marker + b" answer 4 " + b"f" * 64 + b"\nAAAA\n"
    cuts = [is_whole(bytearray(answer[:length]), marker) for length in range(len(answer) + 1)]
    assert cuts == [False] * len(answer) + [True]
    assert not is_whole(bytearray(answer), b"1" * 32)


def test_it_goes_on_when_the_session_and_every_process_of_it_is_killed(host: CommitHost) -> None:
    host.program("systemd-run", SYSTEMD_RUN)
    host.program("auditctl", HOLDS)
    path = host.file("daemon.json")
    before = state_of(path)
    running = host.start(host.request(transaction(write(path, b"{}"), probe=AUDIT_PROBE)), systemd(host))
    wait_for(host.base / "held")
    assert path.read_bytes() == b"{}"
    unit = int((host.base / "unit.pid").read_text())
    messenger = int(Path(f"/proc/{unit}/status").read_text().split("PPid:\t")[1].split()[0])

    os.kill(messenger, signal.SIGKILL)
    running.process.kill()
    running.process.communicate()
    (host.base / "go").touch()
    wait_for_end(unit)

    assert state_of(path) == before
    assert any("outcome=rolled_back" in line for line in host.journal())


@pytest.mark.parametrize("script", [REFUSES, KNOWS_NO_PIPE, SAYS_OTHER_THINGS], ids=["refuses", "old", "odd"])
def test_where_systemd_run_does_not_start_it_the_work_is_done_in_the_session(host: CommitHost, script: str) -> None:
    host.program("systemd-run", script)
    path = host.file("daemon.json")
    [result] = host.run(transaction(chmod(path, 0o600)), setup=systemd(host))
    assert result["outcome"] == "applied"


def test_without_systemd_nobody_is_asked(host: CommitHost) -> None:
    host.program("systemd-run", SYSTEMD_RUN)
    path = host.file("daemon.json")
    [result] = host.run(transaction(chmod(path, 0o600)))
    assert (result["outcome"], asked(host)) == ("applied", [])


@pytest.mark.parametrize("script", [REFUSES, SYSTEMD_RUN], ids=["refuses", "starts it"])
def test_whoever_ignores_the_end_of_children_changes_nothing(host: CommitHost, script: str) -> None:
    """Such a caller hands that down: the kernel then keeps no child's end for whoever waits for it."""
    host.program("systemd-run", script)
    path = host.file("daemon.json")
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    wanted = host.request(transaction(chmod(path, 0o600)), run=RUN)
    setup = f"{systemd(host)}; mount --bind /bin/bash /bin/sh"  # unlike dash, it hands that down in its turn
    running = host.start(wanted, setup, under=shlex.join([sys.executable, "-c", ignoring]))
    [result] = running.answer()["results"]
    assert (result["outcome"], running.process.returncode) == ("applied", 0)


def test_the_hosts_own_program_is_not_deaf_to_the_signals_that_python_ignores(host: CommitHost) -> None:
    program = host.base / "programs" / "systemd-run"  # no Python, which ignores some of its own accord
    program.write_text(f"#!/bin/sh\ngrep SigIgn: /proc/$$/status >{shlex.quote(str(host.base))}/signals\n")
    program.chmod(0o755)
    [result] = host.run(transaction(chmod(host.file("daemon.json"), 0o600)), setup=systemd(host))
    ignored = int((host.base / "signals").read_text().split()[1], 16)
    deaf = {number for number in (signal.SIGPIPE, signal.SIGXFSZ) if ignored >> (number - 1) & 1}
    assert (deaf, result["outcome"]) == (set(), "applied")


def test_what_cannot_even_begin_is_told_in_a_sentence() -> None:
    broken = commit_program("commit", "")._replace(later=b"import no_such_module\n")
    source = re.sub(rb"LATER\['commit'\] = .*", b"LATER['commit'] = (0, %d)" % len(broken.later), broken.source)
    marker = wire.new_marker()
    sent = wire.frame(marker, broken._replace(source=source), b"{}")
    command = ["/bin/sh", "-c", wire.command(sys.executable, marker)]
    done = subprocess.run(command, input=sent, capture_output=True, timeout=60, check=False)
    with pytest.raises(HostError) as caught:
        wire.read_answer("web1", done.stdout, marker, done.returncode, done.stderr)
    why = "the program could not begin there: ModuleNotFoundError: No module named 'no_such_module' (line 1)"
    assert f"web1: the answer cannot be used: {why}" in str(caught.value)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_private_key_reaches_the_unit_on_a_pipe_and_stands_nowhere_else(host: CommitHost) -> None:
    host.program("systemd-run", SYSTEMD_RUN)
    key = new_key()
    path = host.file("etc/key.pem", b"old")
    action = Action(
        do="install_key",
        path=str(path),
        source="controller",
        public_sha256=public_sha256(key.public_key()),
        mode=0o400,
        uid=0,
        gid=0,
    )
    wanted = seen(path, content=False).model_copy(update={"ctime_ns": path.stat().st_ctime_ns})

    [result] = host.run(transaction(action, preconditions=(wanted,)), setup=systemd(host), secret=key_pem(key))

    assert (result["outcome"], path.read_bytes()) == ("applied", key_pem(key))
    words = key_pem(key).decode().splitlines()[1]
    assert words not in json.dumps(asked(host))
    left = [file for file in host.base.rglob("*") if file.is_file() and file != path]
    assert not [file for file in left if words.encode() in file.read_bytes()]


def test_an_error_of_the_commits_own_comes_back_from_the_unit_too(host: CommitHost) -> None:
    host.program("systemd-run", SYSTEMD_RUN)
    answer = host.start(host.request(format_version=9), systemd(host)).answer()
    assert answer["error"]["kind"] == "request"
    assert len(asked(host)) == 1
