"""`remediate recover` and `remediate purge` as a user calls them, with stand-in hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from remediator.access import Access
from remediator.errand_run import Errands
from remediator.errors import UsageError
from remediator.exit_codes import ExitCode
from remediator.own_records import OpenTransaction
from remediator.recovery import question
from remediator.standing import Standing
from remediator.views.documents import json_schema
from tests.unit import stand_in

Remediate = Callable[..., Any]

RUN = "01JD0000000000000000000000"
OPEN = {"run": RUN, "group": "docker", "who": "ann@ctl", "started": 1_700_000_000}
BROKEN = {"run": RUN, "group": "docker", "reason": "docker.service is failed", "since": 1_700_000_000}
PUT_BACK = {
    "run": RUN,
    "group": "docker",
    "outcome": "rolled_back",
    "reason": "it was interrupted",
    "paths": ["/etc/x"],
}


def fleet(directory: Path, hosts: Mapping[str, Mapping[str, Any]], behaviour: str = "applied") -> None:
    """hosts.ini with hosts whose state is given; each has our directory."""
    stand_in.fleet(directory, dict.fromkeys(hosts, behaviour))
    for name, state in hosts.items():
        seen = stand_in.observation(0o644)
        seen["state"] = {"error": None, "open": [], "broken": None, "last": None, "holder": None, **state}
        seen["files"]["/var/lib/remediator"] = {"type": "directory", "mode": 0o700, "uid": 0, "gid": 0}
        (directory / name / "observation.json").write_text(json.dumps(seen))


def answers(directory: Path, host: str, **told: Any) -> None:
    (directory / host / "errand.json").write_text(json.dumps(told))


def order(directory: Path, host: str) -> dict[str, Any]:
    """The request that the host was last sent."""
    found: dict[str, Any] = json.loads((directory / host / "order.json").read_text())
    return found


def document(done: Any) -> dict[str, dict[str, Any]]:
    """The hosts of a valid JSON document."""
    found = json.loads(done.stdout)
    jsonschema.Draft202012Validator(json_schema()).validate(found)
    return {host["host"]: host for host in found["hosts"]}


def records(directory: Path) -> list[dict[str, Any]]:
    """Every run's record."""
    runs = directory / "home" / ".local" / "state" / "remediator" / "runs"
    return [json.loads(path.read_text()) for path in runs.iterdir()] if runs.is_dir() else []


def test_what_was_interrupted_is_shown_asked_about_and_put_back(tmp_path: Path, remediate: Remediate) -> None:
    fleet(tmp_path, {"web1": {"open": [OPEN]}, "web2": {}})
    answers(tmp_path, "web1", recovered=[PUT_BACK])

    unasked = remediate("recover", "-i", "hosts.ini")
    assert unasked.returncode == 2
    assert f"web1  interrupted: docker of run {RUN} by ann@ctl, begun 2023-11-14 22:13:20 UTC" in unasked.stdout
    assert "Nothing to recover: web2" in unasked.stdout
    assert stand_in.told(tmp_path, "web1") == ["observe"]

    done = remediate("recover", "-i", "hosts.ini", "--yes", "--reason", "power cut")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"web1  docker of run {RUN}  rolled back" in done.stdout
    sent = order(tmp_path, "web1")
    assert (sent["do"], sent["release"], sent["reason"]) == ("recover", False, "power cut")
    assert stand_in.in_units(tmp_path, "web1") == ["recover"]
    assert stand_in.told(tmp_path, "web2") == ["observe", "observe"]
    (record,) = records(tmp_path)
    assert (record["verb"], record["state"], record["run"]) == ("recover", "finished", sent["run"])
    assert record["results"][0]["results"][0]["outcome"] == "rolled_back"


def test_an_apply_with_nothing_else_to_do_says_and_does_the_same(tmp_path: Path, remediate: Remediate) -> None:
    fleet(tmp_path, {"web1": {"open": [OPEN]}, "web2": {}, "web3": {"open": [OPEN]}})
    answers(tmp_path, "web1", recovered=[PUT_BACK])
    (tmp_path / "web3" / "after.json").write_bytes((tmp_path / "web3" / "observation.json").read_bytes())
    check = remediate("check", "-i", "hosts.ini", "--control", stand_in.MODE)
    assert "To roll back what was interrupted on 2 hosts: remediate apply -i hosts.ini" in check.stdout
    done = remediate("apply", "-i", "hosts.ini", "--control", stand_in.MODE, "--yes", "--reason", "power cut")
    assert f"web1  before this, docker of run {RUN} ended rolled back: it was interrupted" in done.stdout
    assert done.returncode == 3
    assert "Not everything came through: look at web3." in done.stdout
    sent = order(tmp_path, "web1")
    assert (sent["transactions"], sent["reason"]) == ([], "power cut")
    assert "commit" not in stand_in.told(tmp_path, "web2")


def test_what_rolling_back_restarts_is_said_before_anybody_agrees(tmp_path: Path, remediate: Remediate) -> None:
    fleet(tmp_path, {"web1": {"open": [{**OPEN, "restarts": ["docker.service"]}]}})
    unasked = remediate("recover", "-i", "hosts.ini")
    assert "rolling it back restarts docker.service" in unasked.stdout
    standings = [
        Standing("web1", interrupted=(OpenTransaction(run=RUN, group="docker", restarts=("docker.service",)),))
    ]
    asked = question(standings, [])
    assert asked == "Roll back 1 interrupted transaction on 1 host (restarts docker.service on 1 host)?"


def test_answers_are_shown_even_where_the_end_of_the_run_cannot_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    said: list[str] = []
    with Errands("purge", Access(sources=("hosts.ini",)), "") as run:
        run.path.unlink()
        run.path.parent.rmdir()
        run.path.parent.write_text("")  # no directory any more
        run.ended([], ExitCode.DONE)
    assert run.final_code(ExitCode.FAILED, said.append) == ExitCode.USAGE
    assert len(said) == 1
    with pytest.raises(UsageError), Errands("purge", Access(sources=("hosts.ini",)), ""):
        raise AssertionError("a run that cannot be recorded is not begun")


def test_a_broken_host_is_shown_first_and_released_only_by_its_own_name(tmp_path: Path, remediate: Remediate) -> None:
    fleet(tmp_path, {"web1": {}, "web2": {"broken": BROKEN}, "web3": {"broken": BROKEN}})

    left = remediate("recover", "-i", "hosts.ini", "--yes")
    assert left.returncode == 3
    assert left.stdout.startswith("web2  BROKEN since 2023-11-14 22:13:20 UTC: docker of run")
    assert "docker.service is failed" in left.stdout
    assert "--release web2 releases it" in left.stdout
    assert stand_in.told(tmp_path, "web2") == ["observe"]

    answers(tmp_path, "web2", recovered=[], released=True)
    done = remediate("recover", "-i", "hosts.ini", "--release", "web2", "--yes", "--format", "json")
    assert done.returncode == 3, done.stderr  # web3 still is
    hosts = document(done)
    assert [hosts[name]["released"] for name in ("web1", "web2", "web3")] == [False, True, False]
    assert order(tmp_path, "web2")["release"] is True
    assert "recover" not in stand_in.told(tmp_path, "web3")


def test_what_the_host_says_of_its_release_is_what_is_told(tmp_path: Path, remediate: Remediate) -> None:
    fleet(tmp_path, {"web1": {"open": [OPEN], "broken": BROKEN}})
    answers(tmp_path, "web1", recovered=[{**PUT_BACK, "outcome": "broken"}], released=False)
    kept = remediate("recover", "-i", "hosts.ini", "--release", "web1", "--yes")
    assert kept.returncode == 3
    assert "web1  is BROKEN: once a person has repaired it, --release web1" in kept.stdout
    assert records(tmp_path)[0]["results"][0]["notes"] == [f"docker of run {RUN} ended broken"]

    answers(tmp_path, "web1", recovered=[{**PUT_BACK, "outcome": "broken"}], released=True)
    freed = remediate("recover", "-i", "hosts.ini", "--release", "web1", "--yes")
    assert "web1  released: changes can be made there again" in freed.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--release", "web9"), "no selected host has that name"),
        (("--release", "web1"), "is not broken"),
        (("--format", "json"), "add --yes"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything(
    tmp_path: Path, remediate: Remediate, words: tuple[str, ...], said: str
) -> None:
    fleet(tmp_path, {"web1": {"open": [OPEN]}})
    done = remediate("recover", "-i", "hosts.ini", *words)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "recover" not in stand_in.told(tmp_path, "web1")
    assert records(tmp_path) == []


@pytest.mark.parametrize("verb", ["recover", "purge"])
def test_a_verb_that_changes_hosts_wants_them_named(remediate: Remediate, verb: str) -> None:
    done = remediate(verb, "--yes")
    assert (done.returncode, "-i INVENTORY" in done.stderr) == (2, True)


def test_a_host_that_stays_broken_or_is_locked_or_silent_ends_3_or_5(tmp_path: Path, remediate: Remediate) -> None:
    fleet(tmp_path, {"web1": {"open": [OPEN]}})
    answers(tmp_path, "web1", recovered=[{**PUT_BACK, "outcome": "broken", "log": "dockerd\x1b[2J: no"}])
    done = remediate("recover", "-i", "hosts.ini", "--yes")
    assert done.returncode == 3
    assert f"web1  docker of run {RUN}  BROKEN" in done.stdout
    assert "\x1b" not in done.stdout
    answers(tmp_path, "web1", run="another")
    assert remediate("recover", "-i", "hosts.ini", "--yes").returncode == 3
    (tmp_path / "web1" / "commit").write_text("locked")
    done = remediate("recover", "-i", "hosts.ini", "--yes", "--format", "json")
    assert done.returncode == 5
    assert "run 01X of ann has the lock" in document(done)["web1"]["error"]["message"]


def test_what_a_run_is_at_right_now_is_not_taken_for_interrupted(tmp_path: Path, remediate: Remediate) -> None:
    holder = {"run": RUN, "who": "ann@ctl", "started": 1_700_000_000}
    fleet(tmp_path, {"web1": {"open": [OPEN], "holder": holder}})
    done = remediate("recover", "-i", "hosts.ini", "--yes")
    assert done.returncode == 0
    assert f"web1  is being changed right now: {RUN} by ann@ctl" in done.stdout
    assert stand_in.told(tmp_path, "web1") == ["observe"]


def test_purge_says_what_goes_and_that_undo_goes_with_it(tmp_path: Path, remediate: Remediate) -> None:
    fleet(tmp_path, {"web1": {}})
    answers(tmp_path, "web1", removed=["/var/lib/remediator"])

    unasked = remediate("purge", "-i", "hosts.ini")
    assert unasked.returncode == 2
    assert "web1  loses /var/lib/remediator" in unasked.stdout
    assert "The hardening itself stays." in unasked.stdout
    assert "cannot be taken back" in unasked.stdout
    assert stand_in.told(tmp_path, "web1") == ["observe"]

    done = remediate("purge", "-i", "hosts.ini", "--yes")
    assert done.returncode == 0, done.stderr
    assert "web1  purged: /var/lib/remediator" in done.stdout
    assert (stand_in.told(tmp_path, "web1")[-1], stand_in.in_units(tmp_path, "web1")) == ("purge", [])
    (record,) = records(tmp_path)
    assert (record["verb"], record["results"][0]["notes"]) == ("purge", ["removed /var/lib/remediator"])


def test_purge_refuses_an_open_journal_and_a_broken_host_by_name_and_does_the_others(
    tmp_path: Path, remediate: Remediate
) -> None:
    fleet(tmp_path, {"web1": {"open": [OPEN]}, "web2": {"broken": BROKEN}, "web3": {}})
    answers(tmp_path, "web3", removed=["/var/lib/remediator"])
    done = remediate("purge", "-i", "hosts.ini", "--yes", "--format", "json")
    assert done.returncode == 3, done.stderr
    hosts = document(done)
    assert f"docker of run {RUN} was interrupted" in hosts["web1"]["refused"]
    assert "`remediate recover -i INVENTORY -l web1` first" in hosts["web1"]["refused"]
    assert "`remediate recover -i INVENTORY --release web2`" in hosts["web2"]["refused"]
    assert hosts["web3"]["removed"] == ["/var/lib/remediator"]
    assert [stand_in.told(tmp_path, name) for name in ("web1", "web2")] == [["observe"], ["observe"]]


def test_a_host_without_a_trace_is_left_alone_and_one_that_hides_it_is_not_known(
    tmp_path: Path, remediate: Remediate
) -> None:
    fleet(tmp_path, {"web1": {}, "web2": {"error": "unreadable: /var/lib/remediator is root's alone"}})
    seen = json.loads((tmp_path / "web1" / "observation.json").read_text())
    seen["files"]["/var/lib/remediator"] = {"type": "missing"}
    (tmp_path / "web1" / "observation.json").write_text(json.dumps(seen))
    done = remediate("purge", "-i", "hosts.ini", "--yes")
    assert done.returncode == 3
    assert "Nothing of ours: web1" in done.stdout
    assert "web2  not known: unreadable" in done.stdout
    assert [stand_in.told(tmp_path, name) for name in ("web1", "web2")] == [["observe"], ["observe"]]
