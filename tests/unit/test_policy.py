"""What one call may change."""

from __future__ import annotations

import pytest

from remediator.catalogue import load_catalogue
from remediator.errors import UsageError
from remediator.policy import Policy

CATALOGUE = load_catalogue()


@pytest.mark.parametrize(
    ("allow", "fix", "permitted"),
    [
        ((), "safe", True),
        ((), "guarded", False),
        (("guarded",), "guarded", True),
        ((), "opt_in", True),
        (("docker_audit",), "guarded", True),
        (("docker.audit.runc",), "guarded", True),
        (("docker.audit.runc",), "opt_in", True),
        (("guarded", "docker_audit", "docker.audit.runc"), "manual", False),
        (("docker_files",), "guarded", False),
    ],
)
def test_consent_reaches_as_far_as_it_was_given(allow: tuple[str, ...], fix: str, permitted: bool) -> None:
    assert Policy(frozenset(allow)).permits("docker.audit.runc", "docker_audit", fix) is permitted  # type: ignore[arg-type]


def test_a_hosts_own_policy_adds_waivers_roots_and_consent() -> None:
    variables = {
        "remediator_policy": {"waivers": {"docker.audit.runc": "runc is measured"}, "roots": ["/data"]},
        "remediator_allow": ["docker_audit"],
    }
    policy = Policy(roots=("/srv/docker",)).for_host("web1", variables, CATALOGUE)
    assert policy == Policy(
        frozenset({"docker_audit"}), {"docker.audit.runc": "runc is measured"}, ("/srv/docker", "/data")
    )


def test_a_restarted_service_must_stay_well_for_fifteen_seconds_or_as_long_as_its_host_says() -> None:
    assert Policy().for_host("web1", {}, CATALOGUE).healthy_seconds == 15
    own = {"remediator_policy": {"healthy_seconds": 40, "keep": 5}}
    found = Policy().for_host("web1", own, CATALOGUE)
    assert (found.healthy_seconds, found.keep, found.keep_days) == (40, 5, 90)


@pytest.mark.parametrize(
    "variables",
    [
        {"remediator_policy": ["waivers"]},
        {"remediator_policy": {"waiver": {}}},
        {"remediator_policy": {"waivers": {"docker.audit.runc": ""}}},
        {"remediator_policy": {"waivers": ["docker.audit.runc"]}},
        {"remediator_policy": {"roots": ["data"]}},
        {"remediator_policy": {"roots": ["/"]}},
        {"remediator_policy": {"roots": ["/etc/"]}},
        {"remediator_policy": {"roots": ["/data/../etc"]}},
        {"remediator_policy": {"healthy_seconds": -1}},
        {"remediator_policy": {"healthy_seconds": "15"}},
        {"remediator_policy": {"healthy_seconds": True}},
        {"remediator_policy": {"healthy_seconds": 601}},
        {"remediator_policy": {"keep": 0}},
        {"remediator_policy": {"keep_days": "90"}},
        {"remediator_allow": "docker_audit"},
        {"remediator_allow": [1]},
    ],
)
def test_a_malformed_policy_is_refused_with_the_hosts_name(variables: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"^web1: remediator_"):
        Policy().for_host("web1", variables, CATALOGUE)


def test_an_opt_in_fix_waits_for_its_variable_unless_it_is_named() -> None:
    waits = ("docker.files.socket-owner", "docker_files", "opt_in", "docker_files_socket_group")
    assert not Policy().permits(*waits)  # type: ignore[arg-type]
    assert not Policy(frozenset({"guarded"})).permits(*waits)  # type: ignore[arg-type]
    assert Policy(frozenset({"docker_files"})).permits(*waits)  # type: ignore[arg-type]


def test_waivers_and_consent_go_by_official_ids_too_even_of_controls_that_are_not_selected() -> None:
    variables = {"remediator_policy": {"waivers": {"3.17": "known"}}, "remediator_allow": ["1.1.5", "kube_files"]}
    policy = Policy().for_host("web1", variables, CATALOGUE.select(roles=["kube_etcd"]))
    assert policy.waivers == {"docker.files.daemon-json-owner": "known"}
    assert {"docker.audit.data-root", "kube_files"} <= policy.allow


@pytest.mark.parametrize(
    "variables",
    [{"remediator_policy": {"waivers": {"kube.etcd.manifest_mode": "typo"}}}, {"remediator_allow": ["docker_adit"]}],
)
def test_a_waiver_or_consent_for_what_does_not_exist_is_refused_and_not_ignored(variables: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"^web1: there is no control"):
        Policy().for_host("web1", variables, CATALOGUE)
