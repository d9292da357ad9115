"""What a host's root file system is made from: data, read from recipes/*.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .cache import digest
from .interface import LabError

RECIPES = Path(__file__).parent / "recipes"

BUILDER_VERSION = 1
"""Part of every recipe's digest: raised when the builder makes something else from the same recipe."""


@dataclass(frozen=True)
class File:
    """A file as it is to be on the host."""

    path: str
    content: str
    mode: str = "0644"
    owner: str = "root:root"


@dataclass(frozen=True)
class Account:
    """A user with a home directory and /bin/bash; without a password only keys log in."""

    name: str
    groups: tuple[str, ...] = ()
    password: str = ""


@dataclass(frozen=True)
class Recipe:
    """One root file system: a debootstrapped Debian, or what another recipe made (`base`), and what is done to it."""

    name: str
    suite: str = ""
    """Debian's code name; empty where `base` is set, whose suite it then is."""
    base: "Recipe | None" = None
    packages: tuple[str, ...] = ()
    """Installed without their recommendations; without a base, together with debootstrap's minbase variant."""
    files: tuple[File, ...] = ()
    """Written after the packages were installed; missing directories are made 0755 root:root."""
    accounts: tuple[Account, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    """Run in the root by chroot, in order, after everything else."""

    @property
    def debian(self) -> str:
        """The code name of the Debian release that this ends up as."""
        return self.base.debian if self.base else self.suite

    @property
    def digest(self) -> str:
        """The sha256 of everything that makes this root file system what it is, its bases included."""
        own = {key: value for key, value in asdict(self).items() if key != "base"}
        return digest({"builder": BUILDER_VERSION, "recipe": own, "base": self.base.digest if self.base else None})


def recipe(name: str) -> Recipe:
    """The recipe in recipes/NAME.toml, with what its `include` names before its own packages, files and commands.

    A file's `source` is a path below recipes/. Raises LabError for a recipe that is not there or has unknown keys.
    """
    document = _read(name)
    base = document.pop("base", None)
    try:
        return Recipe(
            name=name,
            suite=document.pop("suite", ""),
            base=recipe(base) if base else None,
            packages=tuple(document.pop("packages", ())),
            files=tuple(_file(each) for each in document.pop("files", ())),
            accounts=tuple(_account(each) for each in document.pop("accounts", ())),
            commands=tuple(tuple(argv) for argv in document.pop("commands", ())),
            **document,
        )
    except TypeError as error:
        raise LabError(f"{RECIPES / name}.toml: {error}") from error


def _read(name: str) -> dict[str, Any]:
    path = RECIPES / f"{name}.toml"
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise LabError(f"{path}: {error}") from error
    merged: dict[str, Any] = {}
    for part in [*map(_read, document.pop("include", ())), document]:
        for key, value in part.items():
            merged[key] = merged[key] + value if isinstance(value, list) and key in merged else value
    return merged


def _file(each: Mapping[str, Any]) -> File:
    fields = dict(each)
    source = fields.pop("source", None)
    if source is not None:
        fields["content"] = (RECIPES / source).read_text()
    return File(**fields)


def _account(each: Mapping[str, Any]) -> Account:
    return Account(**{**each, "groups": tuple(each.get("groups", ()))})
