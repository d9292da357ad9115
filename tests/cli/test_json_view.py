"""What programs read: every document meets the schema that `remediate schema` prints."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from remediator.catalogue import load_catalogue
from remediator.plan import Plan
from remediator.views.documents import json_schema
from remediator.views.interface import Report
from remediator.views.json import JsonView

PLANS = sorted(path.stem for path in (Path(__file__).parent / "plans").glob("*.json"))

Plans = Callable[[str], Plan]


def valid(text: str) -> dict[str, Any]:
    """The document, checked against the schema."""
    document: dict[str, Any] = json.loads(text)
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


def checked(plan: Plan) -> dict[str, Any]:
    stream = io.StringIO()
    JsonView(stream, io.StringIO()).checked(plan, "remediate apply -i hosts.yml")
    return valid(stream.getvalue())


def applied(report: Report) -> dict[str, Any]:
    stream = io.StringIO()
    view = JsonView(stream, io.StringIO())
    view.previewed(report.plan)
    view.applied(report)
    return valid(stream.getvalue())


@pytest.mark.parametrize("name", PLANS)
def test_every_check_meets_the_schema(name: str, plan: Plans) -> None:
    document = checked(plan(name))
    assert (document["format_version"], document["document"]) == (1, "check")
    assert [host["host"] for host in document["hosts"]] == [host.host for host in plan(name).hosts]


@pytest.mark.parametrize("name", PLANS)
def test_every_apply_meets_the_schema(name: str, plan: Plans, report: Callable[[Plan], Report]) -> None:
    assert applied(report(plan(name)))["ended"] == "applied"
    for ended in ("declined", "nothing_permitted"):
        document = applied(Report(plan(name), ended))
        assert (document["ended"], document["run"], document["record"]) == (ended, None, None)


def test_the_catalogue_meets_the_schema() -> None:
    stream = io.StringIO()
    controls = load_catalogue().controls
    JsonView(stream, io.StringIO()).listed(controls)
    document = valid(stream.getvalue())
    assert [each["id"] for each in document["controls"]] == [control.id for control in controls]


def test_the_schema_refuses_what_no_view_prints(plan: Plans) -> None:
    document = checked(plan("docker_fleet"))
    validator = jsonschema.Draft202012Validator(json_schema())
    for broken in (
        {**document, "more": 1},
        {**document, "format_version": 2},
        {**document, "document": "drift"},
        {name: value for name, value in document.items() if name != "hosts"},
    ):
        assert not validator.is_valid(broken)


def test_a_check_holds_what_would_change_to_the_last_byte(plan: Plans) -> None:
    hosts = {host["host"]: host for host in checked(plan("docker_fleet"))["hosts"]}
    changes = {(each["path"], each["what"]): each for each in hosts["db1"]["changes"] if each["permitted"]}
    key = changes["/etc/docker/tls/server-key.pem", "access"]
    assert (key["before"]["mode"], key["after"]["mode"]) == ("0640", "0400")
    assert (key["before"]["group"], key["after"]["group"]) == ("docker", "root")
    assert key["transaction"] == "files"
    rules = changes["/etc/audit/rules.d/50-remediator-docker.rules", "create"]
    assert "+-w /usr/sbin/dockerd -p wa -k docker" in rules["diff"]
    assert len(rules["after"]["sha256"]) == 64
    held = [each for each in hosts["db1"]["changes"] if not each["permitted"]]
    assert {way for each in held for way in each["release"]} == {
        "--allow docker.daemon.icc",
        "--allow docker.audit.data-root",
    }
    assert held[0]["impact"]["stays_down"] == ["job"]


def test_a_host_out_of_reach_has_its_error_and_no_verdict_but_unknown(plan: Plans) -> None:
    host = checked(plan("docker_fleet"))["hosts"][-1]
    assert host["error"]["kind"] == "host_key"
    assert {each["verdict"] for each in host["verdicts"]} == {"unknown"}


def test_whatever_a_host_says_the_document_is_ascii(plan: Plans) -> None:
    stream = io.StringIO()
    JsonView(stream, io.StringIO()).checked(plan("hostile"), "")
    assert stream.getvalue().isascii()
    assert "\x1b" not in stream.getvalue()
    assert checked(plan("hostile"))["hosts"][0]["verdicts"][0]["reason"].startswith("[bold red]owned[/]")
