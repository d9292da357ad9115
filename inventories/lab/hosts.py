#!/usr/bin/env python3
"""The lab hosts that `python -m tests.lab.hosts up` left running, as an Ansible inventory script (--list)."""

import json
import os
from pathlib import Path

import yaml


def main() -> None:
    """Print every running group's hosts, a group for each."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "remediator-lab"
    root = Path(os.environ.get("REMEDIATOR_LAB_CACHE") or cache)
    listing: dict[str, object] = {}
    variables: dict[str, object] = {}
    for file in sorted(root.glob("hosts/*/inventory.yml")):
        hosts = yaml.safe_load(file.read_text())["all"]["hosts"]
        listing[file.parent.name] = {"hosts": sorted(hosts)}
        variables.update(hosts)
    print(json.dumps({**listing, "_meta": {"hostvars": variables}}))


main()
