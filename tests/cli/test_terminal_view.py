"""What people see, from plan documents: as snapshots, and as rules that every output keeps."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from remediator.errors import UsageError
from remediator.plan import HostError, HostResult, Plan, State
from remediator.text import is_plain
from remediator.views.interface import Report
from remediator.views.terminal import TerminalView

PLANS = sorted(path.stem for path in (Path(__file__).parent / "plans").glob("*.json"))
NEXT = "remediate apply -i hosts.yml"

Plans = Callable[[str], Plan]
Snapshot = Callable[[str, str], None]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def checked(plan: Plan, stream: io.StringIO, verbose: bool = False, width: int | None = None) -> str:
    """What a check of this plan prints on `stream`."""
    TerminalView(stream, io.StringIO(), verbose, width).checked(plan, NEXT)
    return stream.getvalue()


@pytest.mark.parametrize("name", PLANS)
def test_a_check_reads_as_in_its_snapshot(name: str, plan: Plans, snapshot: Snapshot) -> None:
    snapshot(f"check_{name}.txt", checked(plan(name), io.StringIO()))


def test_a_verbose_check_shows_what_is_compliant_and_not_applicable_too(plan: Plans, snapshot: Snapshot) -> None:
    snapshot("check_verbose_docker_fleet.txt", checked(plan("docker_fleet"), io.StringIO(), verbose=True))


def test_on_a_terminal_the_same_words_have_colours(plan: Plans, snapshot: Snapshot) -> None:
    snapshot("check_docker_fleet.ansi", checked(plan("docker_fleet"), Terminal(), width=100))


def test_an_apply_reads_as_in_its_snapshot(plan: Plans, report: Callable[[Plan], Report], snapshot: Snapshot) -> None:
    stream = io.StringIO()
    TerminalView(stream, io.StringIO(), verbose=False).applied(report(plan("docker_fleet")))
    snapshot("apply_docker_fleet.txt", stream.getvalue())


def test_a_broken_host_is_said_first_and_last_with_what_to_do(plan: Plans, report: Callable[[Plan], Report]) -> None:
    whole = report(plan("docker_fleet"))
    name = list(whole.results)[-1]
    old = whole.results[name]
    answers = tuple(each.model_copy(update={"outcome": "broken", "reason": "it stays down"}) for each in old.results)
    refused = HostResult(host="web1", error=HostError(kind="broken", message="web1: an earlier run ended broken"))
    results = {**whole.results, "web1": refused, name: old.model_copy(update={"results": answers})}
    stream = io.StringIO()

    TerminalView(stream, io.StringIO(), verbose=False).applied(replace(whole, results=results))

    lines = stream.getvalue().splitlines()
    assert lines[0] == f"BROKEN: web1, {name}"
    assert f"    remediate recover -i INVENTORY --release web1 --release {name}" in lines[:5]
    done = lines[lines.index("What was done") + 2 :]
    assert done[0].startswith("  web1")
    assert "an earlier run ended broken" in done[0]
    assert [each.startswith(f"  {name}") for each in done[1:3]] == [True, False]
    assert any(each.startswith(f"BROKEN: web1, {name}") for each in lines[-4:])


@pytest.mark.parametrize("ended", ["declined", "nothing_permitted"])
def test_an_apply_that_changed_nothing_says_so(ended: str, plan: Plans, snapshot: Snapshot) -> None:
    stream = io.StringIO()
    TerminalView(stream, io.StringIO(), verbose=False).applied(Report(plan("docker_fleet"), ended))  # type: ignore[arg-type]
    snapshot(f"apply_{ended}.txt", stream.getvalue())


@pytest.mark.parametrize("name", PLANS)
def test_without_a_terminal_there_is_no_escape_and_no_trailing_space(name: str, plan: Plans) -> None:
    text = checked(plan(name), io.StringIO(), verbose=True)
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    assert text.isascii()


def test_no_color_makes_a_terminal_plain(plan: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = checked(plan("docker_fleet"), Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" in coloured
    assert checked(plan("docker_fleet"), Terminal()) == checked(plan("docker_fleet"), io.StringIO())


def test_a_dumb_terminal_gets_plain_words(plan: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in checked(plan("docker_fleet"), Terminal())


def test_wide_lines_are_not_wrapped_without_a_terminal(plan: Plans) -> None:
    text = checked(plan("docker_fleet"), io.StringIO(), width=40)
    assert any(len(line) > 100 for line in text.splitlines())


def test_what_a_host_says_is_shown_and_never_obeyed(plan: Plans) -> None:
    for stream in (io.StringIO(), Terminal()):
        text = checked(plan("hostile"), stream, verbose=True, width=4000)
        assert "[bold red]owned[/]" in text
        assert ":skull:" in text
        assert "\x1b[35;45m" not in text
        assert "\x07" not in text
        assert "\x1b]" not in text
        assert "\u202e" not in text
    plain = checked(plan("hostile"), io.StringIO(), verbose=True)
    assert all(is_plain(line.replace("\t", "")) for line in plain.splitlines())
    assert not any(line.startswith("[link=") for line in plain.splitlines())


def test_identical_findings_are_shown_once_with_every_hosts_name(plan: Plans) -> None:
    text = checked(plan("docker_fleet"), io.StringIO())
    assert text.count("mode 0666 -> 0644") == 1
    assert "3 hosts: web1, web2, db1" in text
    assert text.count("mode 0640 -> 0400") == 1


def test_what_is_held_back_is_named_with_what_releases_it(plan: Plans) -> None:
    text = checked(plan("docker_fleet"), io.StringIO())
    assert "held back, released by --allow docker_audit" in text
    assert "--allow docker.audit.data-root" in text


def test_what_waits_for_a_restart_is_held_back_with_what_releases_it_beside_consent(plan: Plans) -> None:
    window = "its window, Sun 02:00-04:00 UTC"
    icc = "docker.daemon.icc"

    def waiting(release: str) -> str:
        hosts = tuple(
            host.model_copy(
                update={
                    "verdicts": tuple(
                        each.model_copy(update={"release": release}) if each.control == icc else each
                        for each in host.verdicts
                    )
                }
            )
            for host in plan("docker_fleet").hosts
        )
        return checked(plan("docker_fleet").model_copy(update={"hosts": hosts}), io.StringIO())

    alone, both = waiting(window), waiting(f"--allow {icc} and {window}")
    assert f"held back, released by {window}" in alone
    assert f"held back, released by --allow docker_daemon and {window}" in both
    for text in (alone, both):
        assert "Held back are 9 changes on 3 hosts: what is named above releases them." in text


def test_a_machine_without_docker_and_kubernetes_gets_one_sentence(plan: Plans) -> None:
    text = checked(plan("nothing_here"), io.StringIO())
    assert text == "localhost runs neither Docker nor Kubernetes: nothing here to harden.\n"


def test_verbose_says_why_there_is_nothing_here(plan: Plans) -> None:
    text = checked(plan("nothing_here"), io.StringIO(), verbose=True)
    assert "neither docker.service nor a Docker daemon is here" in text
    assert text.endswith("localhost runs neither Docker nor Kubernetes: nothing here to harden.\n")


def test_a_preview_that_nobody_reads_stops_an_apply(plan: Plans, tmp_path: Path) -> None:
    import os

    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        view = TerminalView(closed, io.StringIO(), verbose=False)
        with pytest.raises(UsageError, match="nothing was changed"):
            view.previewed(plan("docker_fleet"))


def test_progress_goes_to_stderr_and_only_to_a_terminal(plan: Plans) -> None:
    stdout, quiet, terminal = io.StringIO(), io.StringIO(), Terminal()
    for stderr in (quiet, terminal):
        with TerminalView(stdout, stderr, verbose=False).sweeping(2) as seen:
            seen("web1")
            seen("web2")
    assert stdout.getvalue() == ""
    assert quiet.getvalue() == ""
    assert "2/2" in terminal.getvalue()


def test_an_apply_tells_where_each_host_is(plan: Plans) -> None:
    quiet, terminal = io.StringIO(), Terminal()
    for stderr in (quiet, terminal):
        with TerminalView(io.StringIO(), stderr, verbose=False).applying(["web1"]) as tell:
            tell("web1", "docker \x1b[31mapplied")
    assert quiet.getvalue() == "web1: docker \\x1b[31mapplied\n"
    assert "docker \\x1b[31mapplied" in terminal.getvalue()


def test_the_same_line_on_two_hosts_is_shown_once_though_their_groups_have_other_numbers(
    plan: Plans,
) -> None:
    fleet = plan("docker_fleet")
    first = next(host for host in fleet.hosts if host.transactions)
    change = (
        first.transactions[0]
        .changes[0]
        .model_copy(
            update={
                "before": State(type="socket", mode=0o666, uid=0, gid=101, user="root", group="docker"),
                "after": State(type="socket", mode=0o660, uid=0, gid=101, user="root", group="docker"),
                "what": "access",
                "diff": "",
            }
        )
    )
    other = change.model_copy(
        update={
            "before": change.before.model_copy(update={"gid": 103}),
            "after": change.after.model_copy(update={"gid": 103}),
        }
    )
    hosts = tuple(
        first.model_copy(
            update={
                "host": name,
                "transactions": (first.transactions[0].model_copy(update={"changes": (each,)}),),
                "held": (),
            }
        )
        for name, each in (("web1", change), ("web2", other))
    )
    shown = checked(fleet.model_copy(update={"hosts": hosts}), io.StringIO())
    assert shown.count("mode 0666 -> 0660") == 1
