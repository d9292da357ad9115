"""What a transaction costs, and in which order transactions come."""

from __future__ import annotations

from typing import Any

from remediator.observation import Container, DockerFacts, HostFacts, Observation
from remediator.overlay import Overlay
from remediator.plan import Step, Transaction
from remediator.transactions import build_transactions


def seen(docker: DockerFacts | None = None) -> Observation:
    return Observation(format_version=1, host=HostFacts(python="3.11", uid=0), docker=docker)


def restarting(docker: DockerFacts | None) -> Transaction:
    overlay = Overlay(seen(docker))
    overlay.write("docker.example", "docker", "/etc/docker/daemon.json", b"{}\n", 0o644)
    overlay.activate("docker", Step(do="restart", unit="docker.service"))
    (transaction,) = build_transactions(overlay)
    return transaction


def containers(live_restore: bool) -> DockerFacts:
    return DockerFacts(
        live_restore=live_restore,
        containers=(
            Container(id="1", name="web", state="running", restart_policy="unless-stopped"),
            Container(id="2", name="job", state="running", restart_policy="no"),
            Container(id="3", name="old", state="exited", restart_policy="no"),
            Container(id="4", name="idle", state="paused", restart_policy="no"),
            Container(id="5", name="once", state="running", restart_policy="no", auto_remove=True),
            Container(id="6", name="fresh", state="running", restart_policy="unknown"),
        ),
    )


def test_a_restart_names_the_containers_that_stop_and_those_that_stay_down() -> None:
    impact = restarting(containers(live_restore=False)).impact
    assert impact.text == (
        "restarts docker.service: web back afterwards, once ends (--rm), fresh perhaps (its restart policy could not "
        "be seen), job, idle not (no restart policy); live-restore is off"
    )
    assert (impact.stops, impact.stays_down) == (("web", "once", "fresh", "job", "idle"), ("job", "idle"))


def test_only_containers_that_come_back_for_certain_are_waited_for_and_those_that_do_not_are_named() -> None:
    probes = {step.do: step.names for step in restarting(containers(live_restore=False)).probe}
    assert (probes["containers"], probes["stays_down"]) == (("web",), ("job", "idle"))


def test_containers_that_come_and_go_are_no_part_of_what_is_approved() -> None:
    digests = {restarting(docker).digest for docker in (None, containers(False), containers(True), DockerFacts())}
    assert len(digests) == 1


def test_everything_else_of_a_transaction_is_part_of_what_is_approved() -> None:
    whole = restarting(containers(live_restore=False))
    others: dict[str, Any] = {
        "group": "files",
        "changes": (),
        "preconditions": (),
        "actions": (),
        "validation": (Step(do="json", path="/x"),),
        "activation": (),
        "probe": (),
    }
    digests = {whole.model_copy(update={name: value}).digest for name, value in others.items()}
    assert len({whole.digest, *digests}) == len(others) + 1


def test_with_live_restore_a_restart_stops_no_container() -> None:
    impact = restarting(containers(live_restore=True)).impact
    assert (impact.level, impact.text, impact.stops) == ("restart", "restarts docker.service", ())


def test_transactions_on_what_lies_below_a_repaired_directory_come_after_it_however_deep() -> None:
    overlay = Overlay(seen())
    for depth in (10, 2, 0):
        group = "files" if depth == 0 else f"files-{depth}"
        overlay.write("docker.example", group, f"/etc/docker/{depth}", b"x\n", 0o600)
    assert [transaction.group for transaction in build_transactions(overlay)] == ["files", "files-2", "files-10"]
