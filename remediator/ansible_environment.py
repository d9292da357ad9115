"""The environment that ansible-playbook gets: what it needs and what the inventory names, and nothing else of ours."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

# KUBECONFIG is for the commands of before_restart and after_restart, which the harden action runs.
_KEEP = frozenset(("HOME", "PATH", "LANG", "LANGUAGE", "TZ", "SSH_AUTH_SOCK", "KRB5CCNAME", "KUBECONFIG"))
# Locale, Ansible's own, and what ansible-runner hands to its display plugin.
_KEEP_PREFIXES = ("LC_", "ANSIBLE_", "RUNNER_", "AWX_ISOLATED_DATA_DIR", "ORIGINAL_STDOUT_CALLBACK")
# These would print what hosts answered, or give it to other programs.
_DROP = frozenset(("ANSIBLE_DEBUG", "ANSIBLE_VERBOSITY", "ANSIBLE_KEEP_REMOTE_FILES"))
_PLUGIN_LINE = re.compile(rb"^plugin:\s*['\"]?([A-Za-z0-9_.]+)", re.MULTILINE)
_LARGEST_PLUGIN_FILE = 1024 * 1024


def scrubbed(prepared: Mapping[str, str], sources: Sequence[str]) -> dict[str, str]:
    """`prepared` (ansible-runner's, made of this process's own) reduced, with where our code lies added.

    Kept besides the names above: the environment variables that the inventory plugins of `sources` document.
    """
    from ansible.constants import COLLECTIONS_PATHS, CONFIG_FILE

    documented = set(_documented_by_plugins(sources))
    kept = {
        name: value
        for name, value in prepared.items()
        if (name in _KEEP or name.startswith(_KEEP_PREFIXES) or name in documented) and name not in _DROP
    }
    home = str(Path(__file__).resolve().parents[1])  # holds the package and ansible_collections/
    kept["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH") or os.defpath))
    kept["PYTHONPATH"] = home
    kept["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join((home, *COLLECTIONS_PATHS))
    kept["ANSIBLE_HOST_KEY_CHECKING"] = "True"
    kept["ANSIBLE_NOCOLOR"] = "1"
    if CONFIG_FILE:
        kept["ANSIBLE_CONFIG"] = os.path.abspath(CONFIG_FILE)
    return kept


def _documented_by_plugins(sources: Sequence[str]) -> Iterator[str]:
    """Names of the environment variables (cloud credentials, mostly) that the plugins of these sources read."""
    from ansible.constants import config
    from ansible.plugins.loader import inventory_loader

    for name in _plugins(sources):
        plugin = inventory_loader.get(name)
        if plugin is None:
            continue
        options = config.get_configuration_definitions("inventory", plugin._load_name)
        for option in options.values():
            for entry in option.get("env") or ():
                yield str(entry["name"])


def _plugins(sources: Sequence[str]) -> set[str]:
    found = set()
    for file in _files(sources):
        if file.suffix in (".yml", ".yaml") and file.stat().st_size <= _LARGEST_PLUGIN_FILE:
            match = _PLUGIN_LINE.search(file.read_bytes())
            if match is not None:
                found.add(match.group(1).decode("ascii"))
    return found


def _files(sources: Sequence[str]) -> Iterable[Path]:
    for source in sources:
        path = Path(source)
        if "," in source:
            continue
        if path.is_dir():
            yield from (member for member in path.iterdir() if member.is_file())
        elif path.is_file():
            yield path
