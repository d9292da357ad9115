"""Which paths commit refuses by their name alone: decide asks the same function."""

from __future__ import annotations

import pytest

from remediator.host.commit.roots import COMPILED_ROOTS, SYSTEM_DIRECTORIES, refusal


@pytest.mark.parametrize(
    "path",
    [
        "/etc/docker/daemon.json",
        "/etc/kubernetes/pki/ca.key",
        "/usr/lib/systemd/system/docker.service",
        "/lib/systemd/system/docker.socket",
        "/run/docker.sock",
        "/run/containerd",
        "/run/containerd/containerd.sock",
        "/var/lib/docker",
        "/var/lib/etcd",
        "/var/lib/kubelet/config.yaml",
        "/var/lib/kube-proxy/kubeconfig.conf",
        "/root/.docker/ca.pem",
    ],
)
def test_places_that_hardening_changes_are_allowed(path: str) -> None:
    assert refusal(path, ()) == ""


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/dockerd",
        "/home/alice/.kube/config",
        "/srv/docker",
        "/etcetera/x",
        "/var/lib/dockers",
        "/var/lib/kube-",
        "/var/lib/kube",
        "/run/docker.sock2",
        "/root/.dockerx",
        "/var/lib/kubernetes/x",
    ],
)
def test_everything_else_lies_outside(path: str) -> None:
    assert "outside" in refusal(path, ())


def test_an_inventory_can_name_more_roots_but_none_of_the_systems_own() -> None:
    assert refusal("/srv/docker/x", ("/srv/docker/",)) == ""
    assert "outside" in refusal("/srv/dockers", ("/srv/docker",))
    for root in ("/", "/srv", "/usr", "/home", "", "relative", "/usr/../srv"):
        assert "outside" in refusal("/srv/docker/x", (root,))


@pytest.mark.parametrize("path", sorted(SYSTEM_DIRECTORIES))
def test_a_directory_of_the_system_itself_is_never_changed(path: str) -> None:
    assert "system itself" in refusal(path, (path, "/", *COMPILED_ROOTS))


@pytest.mark.parametrize(
    "path",
    ["", "etc/x", "/etc/../root/.ssh", "/etc//x", "/etc/x/", "/etc/./x", "/etc/a\nb", "/etc/a\0b", "/etc/\u202ea",
     "/etc/\udc80", "/etc/\ud7ff\ud800", "/etc/" + "n" * 201, "/etc" + "/d" * 3000],
)  # fmt: skip
def test_a_path_that_is_not_plain_is_never_changed(path: str) -> None:
    assert "not absolute and plain" in refusal(path, ())


def test_one_file_of_sudos_is_ours() -> None:
    assert refusal("/etc/sudoers.d/remediator-docker-content-trust", ()) == ""


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/etc/sudoers",
        "/etc/sudoers.d/ops",
        "/etc/sudoers.d/remediator-docker-content-trust2",
        "/etc/sudoers.d/remediator-docker-content-trust/x",
        "/etc/sudoers.d/.remediator-docker-content-trust",
        "/etc/ssh/sshd_config",
        "/etc/pam.d/sshd",
    ],
)
def test_what_decides_who_may_log_in_is_never_changed(path: str) -> None:
    assert "log-ins" in refusal(path, ("/etc/ssh", "/etc"))
