"""The Ansible carrier: observes and applies through ansible-runner, our playbooks and the harden action.

It takes what the sweep cannot (any connection and become plugin), and every apply. What hosts answer comes back in
files of a private session directory, never through Ansible's variables, events or output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from remediator.access import Access
from remediator.ansible_errors import host_error
from remediator.ansible_run import Event, Playbook, Run, private_directory, refused
from remediator.errand import Errand
from remediator.errors import HostError
from remediator.inventory import Inventory
from remediator.plan import HostPlan, HostResult, Plan, TransactionResult
from remediator.policy import Policy
from remediator.session import Session, SessionDirectory, plan_error
from remediator.tls.store import store_directory


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C during an apply: no further host was begun. `results` holds what is known of every host."""

    def __init__(self, results: Mapping[str, HostResult]) -> None:
        super().__init__()
        self.results = dict(results)


def observe_hosts(
    inventory: Inventory, names: Sequence[str], access: Access, request: bytes, on_host: Callable[[str], None]
) -> dict[str, bytes | HostError]:
    """Observe's raw answer, or why there is none, for each host of `names`; `on_host` is called as each is done.

    Raises UsageError when Ansible refuses to start. Ctrl-C ends Ansible and goes on.
    """
    session = Session(mode="observe", request=request.decode("ascii"))
    return _answers(inventory, Playbook("check", names, {}), access, session, on_host)


def make_keys(
    inventory: Inventory,
    names: Sequence[str],
    access: Access,
    request: bytes,
    run: str,
    who: str,
    on_host: Callable[[str], None],
) -> dict[str, bytes | HostError]:
    """Have each host of `names` make a key and a signing request in our own directory there; nothing is activated.

    Returns observe's raw answer to `request` afterwards, or why there is none, for each of them. `run` is the run's
    ULID, `on_host` is called as each is done. Raises UsageError when Ansible refuses to start. Ctrl-C ends Ansible and
    goes on; a host that has begun goes on to its own end.
    """
    session = Session(mode="keys", request=request.decode("ascii"), run=run, who=who, reason="remediate tls issue")
    # All at once, and no host's failure is another's: nothing that runs there changes.
    together = {"remediator_serial": ["100%"], "remediator_max_fail_percentage": 100, "remediator_timeout": 300}
    return _answers(inventory, Playbook("apply", names, together), access, session, on_host)


def run_errand(
    mode: Literal["recover", "purge"],
    inventory: Inventory,
    names: Sequence[str],
    access: Access,
    errand: Errand,
    released: Sequence[str],
    on_host: Callable[[str], None],
) -> dict[str, bytes | HostError]:
    """Have each host of `names` recover or be purged; its raw answer, or why there is none, for each of them.

    `released` are those whose broken mark goes, `on_host` is called as each is done. Raises UsageError when Ansible
    refuses to start. Ctrl-C ends Ansible and goes on; a host that has begun goes on to its own end.
    """
    session = Session(
        mode=mode, request="", run=errand.run, who=errand.who, reason=errand.reason, released=tuple(released)
    )
    # One host first, since services are restarted; after that no host's failure keeps another from being put right.
    batches = {"remediator_serial": [1, "5%", "100%"], "remediator_max_fail_percentage": 100}
    return _answers(inventory, Playbook("apply", names, batches), access, session, on_host)


def _answers(
    inventory: Inventory, wanted: Playbook, access: Access, document: Session, on_host: Callable[[str], None]
) -> dict[str, bytes | HostError]:
    """What each host's task of the playbook left in the session's directory, or why it left nothing."""
    with private_directory() as path:
        session = SessionDirectory(path / "session")
        session.path.mkdir(mode=0o700)
        session.create(document)
        variables = {**wanted.variables, "remediator_session": str(session.session_file)}
        playbook = Playbook(wanted.name, wanted.hosts, variables)
        failures: dict[str, str] = {}
        with Run(path, inventory, access, playbook) as run:
            while (event := run.next_event()) is not None:
                if event.name in ("runner_on_failed", "runner_on_unreachable"):
                    failures[event.host] = event.message
                if event.name in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable"):
                    on_host(event.host)
        error = refused(run.ended)
        if error is not None:
            raise error
        return {
            name: session.answer(name) or host_error(name, failures.get(name) or run.ended.said, "unreachable")
            for name in wanted.hosts
        }


def apply_plan(
    inventory: Inventory,
    plan: Plan,
    access: Access,
    policy: Policy,
    run: str,
    who: str,
    reason: str,
    serial: Sequence[str | int],
    max_fail_percentage: int,
    on_event: Callable[[str, str], None],
) -> dict[str, HostResult]:
    """Do the plan on the hosts where it acts, in batches; the result of each of these hosts.

    A plan that takes a run back goes by the playbook `rollback`, every other by `apply`.

    `run` is the run's ULID, `serial` and `max_fail_percentage` mean what they mean in a play, `on_event` gets a host's
    name and what happens there. Raises UsageError when Ansible refuses to start, and RunInterrupted: at the first
    Ctrl-C no further host begins, at the second Ansible is ended.
    """
    targets = tuple(host for host in plan.hosts if host.acts)
    if not targets:
        return {}
    with private_directory() as path:
        session = SessionDirectory(path / "session")
        session.path.mkdir(mode=0o700)
        document = Session(
            mode="apply" if plan.undo is None else "rollback",
            request="",
            controls=plan.controls,
            run=run,
            who=who,
            reason=reason,
            allow=tuple(sorted(policy.allow)),
            waivers=policy.waivers,
            roots=policy.roots,
            tls_store=str(store_directory()),
            undo=plan.undo,
        )
        session.create(document, targets)
        variables: dict[str, Any] = {
            "remediator_session": str(session.session_file),
            "remediator_serial": list(serial),
            "remediator_max_fail_percentage": max_fail_percentage,
        }
        if plan.undo is not None:
            variables["remediator_rollback_run"] = plan.undo.run
        playbook = Playbook(document.mode, [host.host for host in targets], variables)
        progress = _Progress(on_event)
        with Run(path, inventory, access, playbook) as ansible:
            interrupted = _follow(ansible, session, progress)
        error = refused(ansible.ended)
        if error is not None and not interrupted:
            raise error
        results = {host.host: _result(host, session, progress) for host in targets}
    if interrupted:
        raise RunInterrupted(results)
    return results


class _Progress:
    """What the events of a run told of each host."""

    def __init__(self, on_event: Callable[[str, str], None]) -> None:
        self._on_event = on_event
        self.begun: set[str] = set()
        self.failures: dict[str, str] = {}

    def note(self, event: Event) -> None:
        if event.name == "runner_on_start":
            self.begun.add(event.host)
            self._on_event(event.host, "applying")
            return
        if event.name == "runner_on_failed" or event.name == "runner_on_unreachable":
            self.begun.add(event.host)
            self.failures[event.host] = event.message
        told = ", ".join(f"{group} {outcome.replace('_', ' ')}" for group, outcome in event.outcomes)
        self._on_event(event.host, told or event.message or "nothing left to do")


def _follow(run: Run, session: SessionDirectory, progress: _Progress) -> bool:
    """Take the run's events to its end; whether the user interrupted it."""
    interrupted = False
    while True:
        try:
            event = run.next_event()
        except KeyboardInterrupt:
            if interrupted:
                run.terminate()
            interrupted = True
            session.stop()
            continue
        if event is None:
            return interrupted
        progress.note(event)


def _result(approved: HostPlan, session: SessionDirectory, progress: _Progress) -> HostResult:
    """What is known of one host, whether its task told it or not."""
    name = approved.host
    told = session.result(name)
    if told is not None:
        return told
    if name not in progress.begun:
        reason = "the run stopped before this host: nothing was done there"
        results = tuple(
            TransactionResult(group=t.group, outcome="held", reason=reason, digest=t.digest)
            for t in approved.transactions
        )
        return HostResult(host=name, results=results, after=approved, notes=() if results else (reason,))
    # The task writes a result before it commits, so a host without one is as it was.
    failure = host_error(name, progress.failures.get(name, ""), "unreachable")
    return HostResult(host=name, error=plan_error(failure))
