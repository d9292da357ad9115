"""Fixtures of the tests of TLS: a Docker host, the installed command and a CA for it. For conftest.py to take in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .docker_tls import Authority, HeardProduct, listening, make_authority
from .hosts.container import ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.keys import Keys
from .product import Product


@pytest.fixture(scope="module", params=["debian12", "debian13"])
def tls_server(request: pytest.FixtureRequest, engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Docker host as it comes, without TLS, for one module, whose tests find it in file order."""
    host = start_docker_host(engine, lab_keys, request.param, f"{request.param}-tls")
    yield host
    host.remove()


@pytest.fixture(scope="module")
def tls_remediate(tls_server: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> HeardProduct:
    """The installed command, with a home directory for this server: lab hosts get each other's addresses."""
    return HeardProduct(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def tls_authority(tls_remediate: HeardProduct, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """This server's own CA."""
    return make_authority(tls_remediate, tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls_inventory(tls_server: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server, told to listen with TLS."""
    return listening(tls_server, tmp_path_factory.mktemp("inventory"))


@pytest.fixture
def own_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA for one test alone, with a home directory of its own."""
    return make_authority(Product(tmp_path_factory.mktemp("home")), tmp_path_factory.mktemp("authority"))
