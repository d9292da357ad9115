"""The catalogue: what is shipped, and how a broken control file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from remediator.catalogue import load_catalogue
from remediator.errors import UsageError
from remediator.threats import load_threats

GOOD = """---
- id: docker.files.example
  title: An example
  rationale: Because.
  severity: low
  references: {docker_bench: "9.9"}
  applies_to: docker
  file_access: {path: /etc/docker, mode: "0755"}
  fix: safe
  impact: None.
"""

# The official checks that this catalogue answers for.
DOCKER_BENCH = {*(f"1.1.{n}" for n in range(3, 19)), *(f"3.{n}" for n in range(1, 25)), "2.7", "4.5"}
KUBE_BENCH = {*(f"1.1.{n}" for n in range(1, 22)), *(f"4.1.{n}" for n in range(1, 11))}


def write(root: Path, text: str, role: str = "docker_files", name: str = "access.yml") -> Path:
    folder = root / "roles" / role / "controls"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return root


def test_every_official_check_that_is_answered_for_has_exactly_one_control() -> None:
    controls = load_catalogue().controls
    docker = [c.references["docker_bench"] for c in controls if "docker_bench" in c.references]
    kube = [c.references["kube_bench"] for c in controls if "kube_bench" in c.references]
    assert sorted(docker) == sorted(DOCKER_BENCH)
    assert sorted(kube) == sorted(KUBE_BENCH)


def test_an_official_id_finds_the_controls_of_both_benchmarks() -> None:
    found = [control.id for control in load_catalogue().find("1.1.3")]
    assert found == ["docker.audit.daemon-binary", "kube.files.controller-manager-manifest-mode"]


def test_a_selection_holds_the_named_role_and_control_without_the_skipped() -> None:
    chosen = load_catalogue().select(roles=["kube_etcd"], controls=["docker.audit.runc"], skip=["1.1.12"])
    ids = [control.id for control in chosen.controls]
    assert ids == [
        "docker.audit.runc",
        "kube.etcd.manifest-mode",
        "kube.etcd.manifest-owner",
        "kube.etcd.data-directory-mode",
    ]


@pytest.mark.parametrize(
    ("changed", "to", "said"),
    [
        ('mode: "0755"', "mode: 0755", 'quoted strings such as "0644"'),
        ('mode: "0755"', 'mode: "755"', "four octal digits"),
        ("severity: low", "severity: lowest", "severity"),
        ("fix: safe", "fix: safe\n  colour: blue", "colour"),
        ("file_access: {path: /etc/docker,", "file_access: {pfad: /etc/docker,", "pfad"),
        ("file_access:", "file_excess:", "exactly one kind"),
        ("id: docker.files.example", "id: Docker Files", "no control id"),
        ("- id: docker.files.example", "- id: [", "cannot be read as YAML"),
        ("---\n- id", "---\nid", "cannot be read as YAML"),
    ],
)
def test_a_broken_control_is_refused_with_its_file_and_the_remedy(
    tmp_path: Path, changed: str, to: str, said: str
) -> None:
    root = write(tmp_path, GOOD.replace(changed, to))
    with pytest.raises(UsageError) as refused:
        load_catalogue(root)
    assert str(tmp_path / "roles/docker_files/controls/access.yml") in str(refused.value)
    assert said in str(refused.value)
    assert "Correct the file" in str(refused.value)


def test_an_id_that_is_there_twice_is_refused_even_across_roles(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(UsageError, match=r"docker\.files\.example is there twice"):
        load_catalogue(write(tmp_path, GOOD, role="docker_other"))


@pytest.mark.parametrize("selection", [{"roles": ["docker_filse"]}, {"controls": ["9.9.9"]}, {"skip": ["nothing"]}])
def test_a_name_that_means_nothing_is_refused(selection: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match="There is no"):
        load_catalogue().select(**selection)


def test_every_role_variable_that_a_control_reads_has_a_default() -> None:
    catalogue = load_catalogue()
    named = {
        account.variable
        for control in catalogue.controls
        for account in (getattr(control.parameters, "owner", None), getattr(control.parameters, "group", None))
        if hasattr(account, "variable")
    }
    assert named
    assert named <= set(catalogue.defaults)


def test_every_threat_that_a_control_names_is_in_the_threat_model() -> None:
    threats = load_threats()
    named = {control.threat for control in load_catalogue().controls if control.threat}
    assert named == {
        "docker.client.spoofing",
        "docker.daemon.tampering",
        "docker.dockerfile.elevation",
        "docker.registry.spoofing",
        "kubernetes.etcd.tampering",
        "kubernetes.proxy.disclosure",
    }
    assert named <= set(threats)
