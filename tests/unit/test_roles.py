"""Every role says the same of itself in all its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted((Path(__file__).resolve().parents[2] / "roles").iterdir())


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.fixture(params=ROLES, ids=lambda role: role.name)
def role(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


def test_a_roles_argument_specs_are_its_defaults_and_nothing_else(role: Path) -> None:
    options = read(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = read(role / "defaults" / "main.yml")
    assert {name: option["default"] for name, option in options.items()} == defaults
    assert all(name.startswith(f"{role.name}_") for name in defaults)
    assert all(option["description"] and option["type"] for option in options.values())


def test_a_roles_readme_names_every_variable_and_no_other_of_its_own(role: Path) -> None:
    section = (role / "README.md").read_text("utf-8").split("## Variables\n")[1]
    rows = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert rows == list(read(role / "defaults" / "main.yml"))


def test_a_role_is_one_harden_task_over_its_own_controls(role: Path) -> None:
    (task,) = read(role / "tasks" / "main.yml")
    assert task["name"]
    assert {key: value for key, value in task.items() if key != "name"} == {
        "remediator.hardening.harden": {"roles": [role.name]}
    }
