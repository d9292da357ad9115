"""A restart as a change of its own: for a process that is older than the files that it read."""

from __future__ import annotations

from remediator.observation import FileFacts, HostFacts, Observation
from remediator.overlay import Overlay
from remediator.plan import Step, Transaction
from remediator.transactions import build_transactions
from remediator.views.diff import change_lines

CERTIFICATE = "/etc/docker/tls/cert.pem"
KEY = "/etc/docker/tls/key.pem"
CONFIG = "/etc/docker/daemon.json"


def overlay() -> Overlay:
    facts = FileFacts(type="file", mode=0o644, ino=7, dev=1, size=90, mtime_ns=5, ctime_ns=6, resolved=CERTIFICATE)
    files = {CERTIFICATE: facts, KEY: facts.model_copy(update={"resolved": KEY, "ino": 8})}
    files[CONFIG] = FileFacts(type="missing", resolved=CONFIG)
    return Overlay(Observation(format_version=1, host=HostFacts(python="3.11", uid=0), files=files))


def restarting(staged: Overlay, *controls: str) -> Transaction:
    for control in controls or ("docker.tls.certificate",):
        staged.restart(control, "docker", "docker.service", "port 2376 still serves another", [CERTIFICATE, CONFIG])
    (transaction,) = build_transactions(staged)
    return transaction


def test_a_restart_alone_is_a_transaction_with_one_change_and_nothing_written() -> None:
    transaction = restarting(overlay())
    (change,) = transaction.changes
    assert (change.what, change.path, change.details) == (
        "restart",
        "docker.service",
        ("port 2376 still serves another",),
    )
    assert transaction.actions == ()
    assert transaction.activation == (Step(do="restart", unit="docker.service"),)
    assert [step.do for step in transaction.probe] == ["unit_active", "docker_ping", "stays_down"]
    assert transaction.impact.level == "restart"


def test_a_restart_is_shown_with_its_unit_and_its_reason() -> None:
    (change,) = restarting(overlay()).changes
    shown = [line.text.plain.strip() for line in change_lines(change, 0)]
    assert shown == ["~ docker.service  restarted", "port 2376 still serves another"]


def test_what_a_restart_reads_must_still_be_what_was_seen_whoever_may_read_it_by_then() -> None:
    certificate, config = restarting(overlay()).preconditions
    assert (certificate.path, certificate.ino, certificate.size, certificate.mtime_ns) == (CERTIFICATE, 7, 90, 5)
    assert (certificate.mode, certificate.uid, certificate.gid, certificate.ctime_ns) == (None, None, None, None)
    assert (config.path, config.type, config.ino) == (CONFIG, "missing", None)


def test_a_file_that_is_written_too_has_one_precondition_its_own() -> None:
    staged = overlay()
    staged.write("docker.tls.certificate", "docker", CERTIFICATE, b"new\n", 0o444)
    transaction = restarting(staged)
    assert [wanted.path for wanted in transaction.preconditions] == [CERTIFICATE, CONFIG]
    assert transaction.preconditions[0].mode == 0o644


def test_controls_that_want_the_same_restart_share_it() -> None:
    (change,) = restarting(overlay(), "docker.tls.mutual", "docker.tls.certificate").changes
    assert change.controls == ("docker.tls.mutual", "docker.tls.certificate")


def test_a_restart_that_is_permitted_is_not_held_back_as_well() -> None:
    base = overlay()
    restarting(base)
    beyond = base.copy()
    beyond.write("docker.tls.mutual", "docker", CERTIFICATE, b"new\n", 0o444)
    (held,) = build_transactions(beyond, base)
    assert [change.what for change in held.changes] == ["content"]


def test_units_are_read_anew_before_anything_restarts_whoever_asked_first() -> None:
    staged = overlay()
    restart = Step(do="restart", unit="docker.service")
    staged.activate("docker", restart)
    staged.activate("docker", Step(do="daemon_reload", names=("docker.service",)))
    assert [step.do for step in restarting(staged).activation] == ["daemon_reload", "restart"]


def reloading(staged: Overlay) -> None:
    staged.restart("docker.daemon.process-current", "docker", "docker.service", "debug is on", [CONFIG], do="reload")


def test_what_a_running_daemon_reads_again_is_a_reload_that_stops_nothing() -> None:
    staged = overlay()
    reloading(staged)
    (transaction,) = build_transactions(staged)
    (change,) = transaction.changes
    assert (change.what, change.details) == ("reload", ("debug is on",))
    assert transaction.activation == (Step(do="reload", unit="docker.service"),)
    assert [step.do for step in transaction.probe] == ["unit_active", "docker_ping"]
    assert (transaction.impact.level, transaction.impact.stops) == ("reload", ())
    assert transaction.impact.text == "has docker.service read its configuration again; nothing restarts"
    shown = [line.text.plain.strip() for line in change_lines(change, 0)]
    assert shown == ["~ docker.service  reloaded", "debug is on"]


def test_a_unit_that_is_restarted_is_not_reloaded_as_well_whoever_asked_first() -> None:
    first, last = overlay(), overlay()
    reloading(first)
    transactions = [restarting(first)]
    last.restart("docker.tls.certificate", "docker", "docker.service", "old", [CERTIFICATE])
    reloading(last)
    transactions += build_transactions(last)
    for transaction in transactions:
        assert transaction.activation == (Step(do="restart", unit="docker.service"),)
        assert [change.what for change in transaction.changes] == ["restart"]
        assert set(transaction.controls) == {"docker.daemon.process-current", "docker.tls.certificate"}


def test_a_file_that_is_written_for_a_restart_needs_no_reload() -> None:
    staged = overlay()
    reloading(staged)
    staged.activate("docker", Step(do="restart", unit="docker.service"))
    (transaction,) = build_transactions(staged)
    assert transaction.activation == (Step(do="restart", unit="docker.service"),)
