"""Fixtures: real hosts for the tests of this directory. They need root; nothing here is skipped for want of it."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from .docker_tls_fixtures import own_authority as own_authority
from .docker_tls_fixtures import tls_authority as tls_authority
from .docker_tls_fixtures import tls_inventory as tls_inventory
from .docker_tls_fixtures import tls_remediate as tls_remediate
from .docker_tls_fixtures import tls_server as tls_server
from .hosts import engine as engines
from .hosts.container import ContainerHost, start_docker_host, start_host, start_jump_pair
from .hosts.engine import Engine
from .hosts.interface import LabHost, inventory
from .hosts.keys import Keys, make_keys
from .hosts.kubernetes import KubeadmHost, start_kubeadm
from .hosts.leftovers import leftovers
from .hosts.recipe import recipe
from .machine_fixtures import fresh_machine as fresh_machine
from .product import Product

# What boots emulated machines, each of which takes a whole core.
EMULATED = ("test_audit_machines.py", "test_docker_tls_machine.py", "test_machines_themselves.py", "test_power_cut.py")
CLUSTERS = ("test_drained_node.py", "test_kubernetes_itself.py", "test_kubernetes_node.py")
Fresh = Callable[[str], ContainerHost]
WriteInventory = Callable[..., Path]


class Lanes(LoadScopeScheduling):
    """Shares out whole files, and what needs the same heavy hosts together."""

    def _split_scope(self, nodeid: str) -> str:
        name = os.path.basename(nodeid.partition("::")[0])
        return "emulated" if name in EMULATED else "clusters" if name in CLUSTERS else name


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Lanes:
    """Where tests run side by side, files stay whole, and emulated machines are in one lane only, as clusters are."""
    return Lanes(config, log)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The lab's Docker engine; at the end of the session nothing of this session is left on the machine."""
    with engines.engine() as running:
        yield running
        running.remove_owned_by(engines.owner())
    # Another process may still use the engine: then it is not ours to stop, but our hosts are gone.
    mine = f"label={engines.OWNER_LABEL}={engines.owner()}"
    left = running.text("ps", "-aq", "--filter", mine) if running.answers() else leftovers(running)
    assert not left, f"the lab left behind: {left}"


@pytest.fixture(scope="session")
def lab_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """This session's keys: new for every session."""
    return make_keys(tmp_path_factory.mktemp("lab") / "keys")


@pytest.fixture(scope="session")
def debian12(engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Debian 12 Docker host that tests share: for what changes nothing, or is put back."""
    host = start_docker_host(engine, lab_keys, "debian12", "debian12")
    yield host
    host.remove()


@pytest.fixture(scope="session")
def debian13(engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Debian 13 Docker host that tests share: for what changes nothing, or is put back."""
    host = start_docker_host(engine, lab_keys, "debian13", "debian13")
    yield host
    host.remove()


@pytest.fixture(scope="session")
def jump_pair(engine: Engine, lab_keys: Keys) -> Iterator[tuple[ContainerHost, ContainerHost]]:
    """A jump host, and a Debian 12 Docker host that is reached through it only."""
    jump, inner = start_jump_pair(engine, lab_keys, "debian12", "behind")
    yield jump, inner
    inner.remove()
    jump.remove()


@pytest.fixture(scope="session")
def kubeadm(engine: Engine, lab_keys: Keys) -> Iterator[KubeadmHost]:
    """A one-node Kubernetes cluster that tests share: for what changes nothing, or is put back."""
    host = start_kubeadm(engine, lab_keys, "kubeadm")
    yield host
    host.remove()


@pytest.fixture
def fresh(engine: Engine, lab_keys: Keys) -> Iterator[Fresh]:
    """Makes hosts for one test alone: fresh("debian12") with its containers, fresh("minimal") without any Docker."""
    made: list[ContainerHost] = []

    def start(image: str) -> ContainerHost:
        name = f"{image}-{len(made) + 1}"
        if "docker.io" in recipe(image).packages:
            made.append(start_docker_host(engine, lab_keys, image, name))
        else:
            made.append(start_host(engine, lab_keys, recipe(image), name, volumes=()))
        return made[-1]

    yield start
    for host in made:
        host.remove()


@pytest.fixture
def write_inventory(tmp_path: Path) -> WriteInventory:
    """Writes an inventory of hosts and returns its path: write_inventory(a, b, a={"ansible_become": True})."""

    def write(*hosts: LabHost, **variables: Mapping[str, object]) -> Path:
        path = tmp_path / "hosts.yml"
        path.write_text(inventory(hosts, variables))
        return path

    return write


@pytest.fixture(scope="module")
def remediate(tmp_path_factory: pytest.TempPathFactory) -> Product:
    """The installed command, with a home directory of its own."""
    return Product(tmp_path_factory.mktemp("home"))
