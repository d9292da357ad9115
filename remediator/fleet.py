"""Observes and decides an inventory: each host by the carrier that reaches it, with the same verdicts either way."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from remediator.access import Access
from remediator.catalogue import Catalogue
from remediator.decide import decide, unreached
from remediator.errors import HostError
from remediator.inventory import Host, Inventory
from remediator.observation import Observation, parse_observation
from remediator.plan import HostPlan, Plan
from remediator.policy import Policy
from remediator.request import Needs, compile_request
from remediator.ssh_settings import SshConfig, SshSettings, host_key_refusal
from remediator.surroundings import Surroundings
from remediator.sweep_known_hosts import KnownHosts
from remediator.text import one_line
from remediator.tls.holdings import surroundings_of
from remediator.tls.store import store_directory


def warm_up(needs: Needs, access: Access) -> None:
    """Load and make ready what `observe_fleet` will need, while something else is waited for."""
    if access.transport == "ansible":
        return
    _load_paramiko()
    importlib.import_module("remediator.sweep")
    from remediator import wire
    from remediator.host import observe_program

    # Most hosts have this Python. What is compiled for them now is kept; later many threads would do it side by side.
    wire.frame("", observe_program(), compile_request(needs), importlib.util.MAGIC_NUMBER.hex())


def _load_paramiko() -> None:
    """Load paramiko without `invoke`, which it wants only for its own reading of `Match exec`: ssh does that for us.

    It costs nearly as long as the rest of paramiko, and paramiko does well without it.
    """
    if "invoke" in sys.modules or "paramiko" in sys.modules:
        return
    sys.modules["invoke"] = None  # type: ignore[assignment] # how an import is made to fail; documented in `import`
    try:
        importlib.import_module("paramiko")
    finally:
        del sys.modules["invoke"]


def plan_fleet(
    inventory: Inventory, catalogue: Catalogue, access: Access, policy: Policy, progress: Callable[[str], None]
) -> Plan:
    """The plan of every host, in inventory order. `progress` is called with a host's name once it is decided.

    Raises UsageError when a host's own policy variables are malformed, or a carrier refuses to start.
    """
    store = store_directory()
    now = datetime.now(UTC)

    def surroundings(host: Host) -> Surroundings:
        return surroundings_of(host.name, host.connection.address, host.variables, store, now)

    plans: dict[str, HostPlan] = {}
    for host, seen in observe_fleet(inventory, catalogue.needs(host.variables for host in inventory.hosts), access):
        plans[host.name] = (
            unreached(host.name, catalogue, seen)
            if isinstance(seen, HostError)
            else decide(host.name, seen, catalogue, policy, host.variables, surroundings(host))
        )
        progress(host.name)
    return Plan(
        controls=tuple(control.id for control in catalogue.controls),
        hosts=tuple(plans[host.name] for host in inventory.hosts),
    )


def observe_fleet(inventory: Inventory, needs: Needs, access: Access) -> Iterator[tuple[Host, Observation | HostError]]:
    """Each host with its observation, or why there is none, as they come in. None is kept here."""
    hosts = {host.name: host for host in inventory.hosts}
    for name, answer in _answers(inventory, compile_request(needs), access):
        seen: Observation | HostError
        try:
            seen = answer if isinstance(answer, HostError) else parse_observation(name, answer)
        except HostError as error:
            seen = error
        del answer
        yield hosts[name], seen


def _answers(inventory: Inventory, request: bytes, access: Access) -> Iterator[tuple[str, bytes | HostError]]:
    known_hosts = KnownHosts()
    settings = _settle(inventory)
    left: list[str] = []
    swept: dict[str, SshSettings] = {}
    for host in inventory.hosts:
        settled = settings.get(host.name)
        verdict = _carrier(host, settled, access.transport, known_hosts)
        if isinstance(verdict, HostError):
            yield host.name, verdict
        elif verdict == "ssh" and isinstance(settled, SshSettings):
            swept[host.name] = settled
        else:
            left.append(host.name)
    if not swept:
        yield from _through_ansible(inventory, left, access, request)
        return
    from remediator.host import observe_program
    from remediator.sweep import Sweep, Target

    targets = [Target(host.name, host.connection, swept[host.name]) for host in inventory.hosts if host.name in swept]
    # The sweep runs on while Ansible carries what it cannot.
    with Sweep(targets, observe_program(), request, access.forks, known_hosts) as sweep:
        yield from _through_ansible(inventory, left, access, request)
        yield from sweep.results()


def _settle(inventory: Inventory) -> Mapping[str, SshSettings | HostError]:
    """What ssh says about every host that SSH reaches, by whichever carrier: host keys are checked for all of them."""
    connections = {host.name: host.connection for host in inventory.hosts if host.connection.is_ssh}
    if not connections:
        return {}
    return SshConfig().settle(connections)


def _carrier(
    host: Host, settled: SshSettings | HostError | None, transport: str, known_hosts: KnownHosts
) -> str | HostError:
    """`ssh` (the sweep) or `ansible`, or the error of a host that neither may or can go to."""
    if isinstance(settled, HostError):
        return settled
    if settled is not None and settled.refused is not None:
        return host_key_refusal(host.name, settled.refused)
    if transport == "ansible":
        return _by_ansible(host, settled, known_hosts)
    reason = host.connection.ansible_only
    if reason is None and settled is not None:
        reason = _sweep_cannot(settled, known_hosts)
    if reason is None:
        return "ssh"
    if transport == "ssh":
        return HostError(
            host.name,
            "unsupported",
            f"{host.name}: --transport ssh cannot carry it, because {reason}. Use --transport auto or ansible.",
        )
    return _by_ansible(host, settled, known_hosts)


def _by_ansible(host: Host, settled: SshSettings | None, known_hosts: KnownHosts) -> str | HostError:
    """`ansible`, unless the real ssh, which it runs, would accept a host's key on trust."""
    hop = settled
    while hop is not None:
        known = known_hosts.lookup(hop.known_hosts, *hop.key_address)
        if hop.accepts_new_keys and not known.keys and known.marked is None:
            files = one_line(" or ".join(hop.known_hosts) or "any known_hosts file", 400)
            why = f"StrictHostKeyChecking is accept-new, and {one_line(hop.key_address[0])} is not in {files}"
            return host_key_refusal(host.name, why)
        hop = hop.via
    return "ansible"


def _sweep_cannot(settings: SshSettings, known_hosts: KnownHosts) -> str | None:
    """Why the sweep cannot reach a host with these settings; None when it can."""
    if settings.ansible_only is not None:
        return settings.ansible_only
    hop: SshSettings | None = settings
    while hop is not None:
        marked = known_hosts.lookup(hop.known_hosts, *hop.key_address).marked
        if marked is not None:
            return marked
        hop = hop.via
    return None


def _through_ansible(
    inventory: Inventory, names: list[str], access: Access, request: bytes
) -> Iterator[tuple[str, bytes | HostError]]:
    if not names:
        return
    from remediator.ansible import observe_hosts

    yield from observe_hosts(inventory, names, access, request, lambda _: None).items()
