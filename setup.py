"""Packaging that pyproject.toml has no words for: the Ansible collection goes into the wheel, beside the package.

`pip install .` puts remediator.hardening under ansible_collections/ in site-packages, where Ansible looks for
collections. An editable install puts the checkout itself on the path, whose ansible_collections/ holds symbolic links.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

TARGET = Path("ansible_collections", "remediator", "hardening")
CONTENT = ("galaxy.yml", "meta", "playbooks", "plugins", "roles")


def collection_files() -> list[Path]:
    """Every file of the collection, relative to this folder."""
    found = []
    for name in CONTENT:
        root = Path(name)
        members = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        found += [path for path in members if "__pycache__" not in path.parts]
    return found


class BuildWithCollection(build_py):
    """build_py that adds the collection; in editable mode the symbolic links serve instead."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for target, source in self._collection().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target, preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """The files that this command makes, the collection's among them."""
        return [*super().get_outputs(include_bytecode), *({} if self.editable_mode else self._collection())]

    def get_output_mapping(self) -> dict[str, str]:
        """Where each made file comes from."""
        return {**super().get_output_mapping(), **({} if self.editable_mode else self._collection())}

    def _collection(self) -> dict[str, str]:
        return {str(Path(self.build_lib, TARGET, path)): str(path) for path in collection_files()}


setup(
    packages=find_packages(include=["remediator", "remediator.*"]),
    package_dir={"": "."},
    cmdclass={"build_py": BuildWithCollection},
)
