"""What a transaction costs, and in which order transactions come."""

from __future__ import annotations

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
        ),
    )


def test_a_restart_names_the_containers_that_stop_and_those_that_stay_down() -> None:
    impact = restarting(containers(live_restore=False)).impact
    assert impact.text == (
        "restarts docker.service: web back afterwards, job not (no restart policy); live-restore is off"
    )
    assert (impact.stops, impact.stays_down) == (("web", "job"), ("job",))


def test_with_live_restore_a_restart_stops_no_container() -> None:
    impact = restarting(containers(live_restore=True)).impact
    assert (impact.level, impact.text, impact.stops) == ("restart", "restarts docker.service", ())


def test_transactions_on_what_lies_below_a_repaired_directory_come_after_it_however_deep() -> None:
    overlay = Overlay(seen())
    for depth in (10, 2, 0):
        group = "files" if depth == 0 else f"files-{depth}"
        overlay.write("docker.example", group, f"/etc/docker/{depth}", b"x\n", 0o600)
    assert [transaction.group for transaction in build_transactions(overlay)] == ["files", "files-2", "files-10"]
