"""Observe: one request document in, one observation out. Nothing here can write, and nothing is decided here."""

import os
import signal

from remediator.host.common.failure import failure_text
from remediator.host.common.reading import is_there, read_quietly
from remediator.host.common.serve import ProgramError
from remediator.host.observe.audit import audit_facts, in_first_namespaces
from remediator.host.observe.cluster import cluster_references
from remediator.host.observe.command import PACKAGE_NAMES, UNIT_NAMES, Finished, Running, program_paths
from remediator.host.observe.containerd import containerd_references
from remediator.host.observe.docker import DockerHost, docker_references
from remediator.host.observe.docker_clients import docker_clients
from remediator.host.observe.docker_listeners import docker_listeners
from remediator.host.observe.later import load_later
from remediator.host.observe.login_environment import content_trust_references, login_environment
from remediator.host.observe.machine import docker_cli_version, host_facts, package_versions
from remediator.host.observe.own_records import own_state
from remediator.host.observe.own_transactions import own_transactions, transaction_references
from remediator.host.observe.processes import HostProcess, main_process
from remediator.host.observe.public_keys import note_public_keys
from remediator.host.observe.references import HostReference, absent, unknown
from remediator.host.observe.state import HostState
from remediator.host.observe.units import SYSTEMD_RUNS, units_from_disk, units_from_systemctl

MYPY = False
if MYPY:
    from typing import Any, Callable

REQUEST_VERSION = 1
MAX_REQUESTED = 10000
OBSERVE_SECONDS = 120
NO_CLUSTER = "this host is no part of a Kubernetes cluster"
CLUSTER_SYSTEMS = ("kubernetes", "kubelet", "control_plane", "etcd", "kube_proxy")
CLUSTER_UNITS = (
    "kubelet.service",
    "etcd.service",
    "kube-proxy.service",
    "kube-apiserver.service",
    "kube-controller-manager.service",
    "kube-scheduler.service",
    "k3s.service",
    "k3s-agent.service",
    "rke2-server.service",
    "rke2-agent.service",
)
CLUSTER_REFERENCES = (
    "@kube_apiserver.manifest",
    "@kube_controller_manager.manifest",
    "@kube_controller_manager.kubeconfig",
    "@kube_scheduler.manifest",
    "@kube_scheduler.kubeconfig",
    "@kube_proxy.kubeconfig",
    "@kube.admin_kubeconfigs",
    "@kube.cni_files",
    "@kube.pki",
    "@kube.pki_certificates",
    "@kube.pki_keys",
    "@kubelet.client_ca",
    "@kubelet.config_file",
    "@kubelet.kubeconfig",
    "@kubelet.unit_files",
    "@etcd.manifest",
    "@etcd.data_directory",
)


def handle(request: "dict[str, Any]") -> "dict[str, Any]":
    """The observation that answers `request`. Raises ProgramError for a request that is none."""
    if request.get("format_version") != REQUEST_VERSION:
        raise ProgramError("answer", "this is not a request of format version %d" % REQUEST_VERSION)
    wanted = {key: requested(request, key) for key in ("references", "paths", "contents", "sections")}
    # A file on a server that is gone holds a process for good; the alarm ends it, and the controller says so.
    signal.alarm(OBSERVE_SECONDS)
    running = start_commands(wanted["sections"])
    state = host_state(running.get("units"))
    docker = DockerHost(state)
    if "docker" in wanted["sections"]:
        docker.ask(with_containers=True)
    observe_references(state, docker, wanted["references"])
    observe_files(state, wanted)
    answers = {name: command.finish() for name, command in running.items() if name != "units"}
    document = {
        "format_version": REQUEST_VERSION,
        "host": host_facts(),
        "systems": state.systems,
        "references": {name: reference.answer() for name, reference in state.references.items()},
        "units": {name: unit.answer() for name, unit in state.units.items() if unit.load != "not-found"},
        "components": {name: [item.answer() for item in items] for name, items in state.components.items()},
        "users": state.accounts.users,
        "groups": state.accounts.groups,
        "packages": packages(answers),
    }
    if "docker" in wanted["sections"] and docker.present:
        document["docker"] = docker.ask(with_containers=True)
    if "audit" in wanted["sections"]:
        document["audit"] = audit_facts(state, answers.get("audit_state"), answers.get("audit_rules"))
    if "login_environment" in wanted["sections"]:
        attempt(state, lambda: document.update(login_environment=login_environment()))
    document["state"] = {"error": "it could not be looked at"}
    attempt(state, lambda: document.update(state=own_state()))
    if "transactions" in wanted["sections"]:
        load_later("transactions")
        attempt(state, lambda: document.update(transactions=own_transactions()))
    document.update(docker_sections(state, docker, wanted["sections"], answers.get("docker_cli")))
    document["files"] = state.files.answer()
    document["problems"] = state.files.problems
    return document


def requested(request: "dict[str, Any]", key: "str") -> "list[str]":
    """One list of the request."""
    value = request.get(key, [])
    if not isinstance(value, list) or len(value) > MAX_REQUESTED or not all(isinstance(item, str) for item in value):
        raise ProgramError("answer", "the request's %s are no list of at most %d texts" % (key, MAX_REQUESTED))
    return value


def start_commands(sections: "list[str]") -> "dict[str, Running]":
    """Starts every command that the request needs, side by side."""
    names = []
    if is_there(SYSTEMD_RUNS):
        names.append("units")
    if "audit" in sections and os.geteuid() == 0 and in_first_namespaces():
        names += ["audit_state", "audit_rules"]
    if "docker_cli" in sections:
        names.append("docker_cli")
    if "packages" in sections:
        names += ["dpkg"] if is_there("/var/lib/dpkg/status") else ["rpm"]
    return {name: Running(name) for name in names}


def host_state(systemctl: "Running | None") -> "HostState":
    """Units and the main processes of the active ones."""
    problems: "list[str]" = []
    units = None
    if systemctl is not None:
        finished = systemctl.finish()
        units = units_from_systemctl(finished)
        if units is None:
            trouble = finished.errors.strip()[:300]
            problems.append("systemctl show failed, so units were read from the disk: %s" % trouble)
    if units is None:
        units = units_from_disk("inactive" if systemctl is None else "unknown")
    processes: "dict[str, HostProcess]" = {}
    for name in UNIT_NAMES:
        process = main_process(name, units[name].main_pid, problems)
        if process is not None and units[name].is_active:
            processes[name] = process
    state = HostState(units, processes)
    state.files.problems += problems
    for name, process in processes.items():
        if name.endswith(".service"):
            state.components[name[: -len(".service")]] = [process]
    return state


def observe_references(state: "HostState", docker: "DockerHost", names: "list[str]") -> None:
    """Resolves every requested reference and notes what is on this host."""
    docker_reason = (
        "docker.service is %s" % docker.unit.load if docker.unit.load == "loaded" else "dockerd is installed"
    )
    state.system("docker", docker.present, docker_reason if docker.present else "Docker is not installed")
    known: "dict[str, HostReference]" = {}
    collect(state, known, lambda: docker_references(state, docker))
    collect(state, known, lambda: containerd_references(state, docker))
    collect(state, known, lambda: content_trust_references(names))
    if any(name.startswith("@transactions.") for name in names):
        load_later("transactions")
        collect(state, known, lambda: transaction_references(names))
    if any(state.units[name].load == "loaded" for name in CLUSTER_UNITS):
        load_later("kubernetes")
        collect(state, known, lambda: cluster_references(state))
    else:
        for name in CLUSTER_SYSTEMS:
            state.system(name, False, NO_CLUSTER)
        known.update((name, absent(NO_CLUSTER)) for name in CLUSTER_REFERENCES)
    for name in names:
        why = "; ".join(state.failures) or "this remediator does not know what %s is" % name
        state.references[name] = known.get(name) or unknown(why)


def collect(
    state: "HostState", known: "dict[str, HostReference]", family: "Callable[[], dict[str, HostReference]]"
) -> None:
    """Adds what one family of references stands for."""
    attempt(state, lambda: known.update(family()))


def attempt(state: "HostState", part: "Callable[[], None]") -> None:
    """Observes one part. A fault in it must not take the others' answers along."""
    try:
        part()
    except Exception as error:  # noqa: BLE001
        state.failures.append("observing it failed there: " + failure_text(error))
        state.files.problem(state.failures[-1])


def observe_files(state: "HostState", wanted: "dict[str, list[str]]") -> None:
    """The files of everything that was asked for, and the units' own."""
    contents = set(wanted["contents"])
    for name, reference in state.references.items():
        for path, _ in reference.paths:
            state.files.add(path, name in contents)
    for path in wanted["paths"]:
        state.files.add(path, path in contents)


def docker_sections(
    state: "HostState", docker: "DockerHost", sections: "list[str]", cli: "Finished | None"
) -> "dict[str, Any]":
    """What was asked for of the daemon's TLS and of its clients; a fault in one leaves the others answered."""
    document: "dict[str, Any]" = {}
    if cli is not None:
        version = document["docker_cli"] = docker_cli_version(cli)
        paths = program_paths("docker")
        reason = "its Docker CLI is %s" % version if version is not None else "there is no Docker CLI on this host"
        if version is None and paths:
            reason = "its Docker CLI, %s, does not say its version" % paths[0]
        state.system("docker_client", version is not None or bool(paths), reason)
    if "docker_tls" in sections:
        load_later("docker_tls")
        attempt(state, lambda: note_public_keys(state, docker))
        attempt(state, lambda: document.update(docker_listeners=docker_listeners(state, docker)))
    if "docker_clients" in sections:
        load_later("docker_clients")
        passwd = read_quietly("/etc/passwd", 4194304)
        attempt(state, lambda: document.update(docker_clients=docker_clients(state, passwd)))
    return document


def packages(answers: "dict[str, Finished]") -> "dict[str, str | None]":
    """The packages section, empty where it was not asked for."""
    finished = answers.get("dpkg") or answers.get("rpm")
    if finished is None:
        return {}
    versions: "dict[str, str | None]" = dict.fromkeys(PACKAGE_NAMES)
    versions.update(package_versions(finished))
    return versions
