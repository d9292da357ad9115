"""The wheel: the collection travels with the package, so that Ansible finds it by name right after an install."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.unit import stand_in

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections/remediator/hardening"


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of what git would hand out, so that leftovers of other builds are not in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True, timeout=60).stdout.decode().split("\0")
    for name in filter(None, names):
        if (CHECKOUT / name).is_file() and not name.startswith(("tests/", "ansible_collections/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((CHECKOUT / name).read_bytes())
    pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(source))
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_collection_and_nothing_of_the_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    for folder in ("roles", "playbooks", "plugins", "meta"):
        for file in (CHECKOUT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert f"{COLLECTION}/{file.relative_to(CHECKOUT)}" in names
    assert f"{COLLECTION}/galaxy.yml" in names
    assert not [name for name in names if name.startswith(("tests/", "bench/", "molecule/")) or "__pycache__" in name]


def test_playbooks_and_roles_resolve_by_name_straight_after_an_install(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    pip("install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    inventory = stand_in.fleet(tmp_path, {"a": "applied"})
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(site), "LANG": "C.UTF-8"}
    play = tmp_path / "site.yml"
    play.write_text("- hosts: all\n  gather_facts: false\n  roles: [remediator.hardening.docker_files]\n")

    for name in ("remediator.hardening.check", str(play)):
        command = [sys.executable, "-P", "-m", "ansible.cli.playbook", "-i", str(inventory), "--check", "--diff", name]
        ran = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert f"{stand_in.UNIT} (access)" in ran.stdout
    assert stand_in.told(tmp_path, "a") == ["observe", "observe"]


def test_the_checkouts_own_tree_of_links_names_the_same_files() -> None:
    links = CHECKOUT / COLLECTION
    for name in ("galaxy.yml", "meta", "playbooks", "plugins", "roles"):
        assert (links / name).resolve() == CHECKOUT / name
