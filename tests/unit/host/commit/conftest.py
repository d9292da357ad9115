from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.host.commit.host import CommitHost


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every commit here is made by root in a mount namespace of its own."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.root)


@pytest.fixture
def host() -> Iterator[CommitHost]:
    base = Path(tempfile.mkdtemp(prefix="remediator-commit-", dir="/var/cache"))
    for name in ("files", "var-lib", "programs", "dev"):
        (base / name).mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(base / "log"))
        log.setblocking(False)
        yield CommitHost(base, log)
    subprocess.run(["chattr", "-R", "-i", "-a", str(base / "files")], check=False, capture_output=True)
    shutil.rmtree(base)
