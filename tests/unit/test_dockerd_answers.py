"""daemon.json against what the daemon answers: every option that shows, in every way it may be written."""

from __future__ import annotations

import time
from typing import Any

import pytest

from remediator.dockerd.answers import Compared, Difference, compare
from remediator.observation import DaemonSettings, DockerFacts

ANSWERED = DaemonSettings(
    storage_driver="overlay2",
    log_driver="json-file",
    cgroup_driver="systemd",
    default_runtime="runc",
    init_binary="docker-init",
    live_restore=False,
    debug=False,
    experimental=False,
    labels=("b=c", "a=b"),
    runtimes=("io.containerd.runc.v2", "mine", "runc"),
    registry_mirrors=("https://mirror.lab/",),
    insecure_registries=("10.1.0.0/16", "127.0.0.0/8", "::1/128", "reg.lab:5000"),
    authorization_plugins=("one", "two"),
    address_pools=("172.30.0.0/16 24",),
    security_options=("name=seccomp,profile=builtin", "name=no-new-privileges", "name=cgroupns"),
)


def docker(root: str = "/var/lib/docker", real: str | None = None, **changed: Any) -> DockerFacts:
    return DockerFacts(data_root=root, configured_root=real, settings=ANSWERED.model_copy(update=changed))


def compared(key: str, value: Any, facts: DockerFacts | None = None) -> Compared:
    return compare({key: value}, facts or docker())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("storage-driver", "overlay2"),
        ("storage-driver", "overlayfs"),
        ("log-driver", "json-file"),
        ("exec-opts", ["native.cgroupdriver=systemd"]),
        ("default-runtime", "runc"),
        ("init-path", "docker-init"),
        ("live-restore", False),
        ("debug", False),
        ("experimental", False),
        ("labels", ["a=b", "b=c"]),
        ("labels", ["a=b", "b=c", "a=b"]),
        ("runtimes", {"mine": {"path": "/x"}}),
        ("registry-mirrors", ["https://mirror.lab"]),
        ("insecure-registries", ["http://reg.lab:5000", "10.1.2.3/16"]),
        ("insecure-registries", ["REG.lab:5000/", "10.1.0.0/16", "127.0.0.0/8"]),
        ("authorization-plugins", ["one", "two", "one"]),
        ("default-address-pools", [{"base": "172.30.5.0/16", "size": 24}]),
        ("no-new-privileges", True),
        ("seccomp-profile", "default"),
        ("seccomp-profile", "builtin"),
        ("selinux-enabled", False),
        ("userns-remap", ""),
        ("data-root", "/var/lib/docker/"),
    ],
)
def test_what_the_daemon_has_agrees_however_it_is_written(key: str, value: Any) -> None:
    assert compared(key, value) == Compared((), ())


@pytest.mark.parametrize(
    ("key", "value", "wanted", "found"),
    [
        ("storage-driver", "btrfs", "btrfs", "overlay2"),
        ("log-driver", "local", "local", "json-file"),
        ("exec-opts", ["native.cgroupdriver=cgroupfs"], "native.cgroupdriver=cgroupfs", "systemd"),
        ("default-runtime", "mine", "mine", "runc"),
        ("live-restore", True, "true", "false"),
        ("debug", True, "true", "false"),
        ("labels", [], "none", "b=c, a=b"),
        ("labels", ["a=b"], "a=b", "b=c, a=b"),
        ("runtimes", {"other": {}}, "other", "io.containerd.runc.v2, mine, runc"),
        ("registry-mirrors", ["https://other"], "https://other", "https://mirror.lab/"),
        (
            "insecure-registries",
            ["reg.lab:5000"],
            "reg.lab:5000",
            "10.1.0.0/16, 127.0.0.0/8, ::1/128, reg.lab:5000",
        ),
        ("authorization-plugins", ["two", "one"], "two, one", "one, two"),
        ("default-address-pools", [{"base": "172.30.0.0/16", "size": 25}], None, "172.30.0.0/16 24"),
        ("no-new-privileges", False, "false", "true"),
        ("seccomp-profile", "/etc/own.json", "/etc/own.json", "builtin"),
        ("seccomp-profile", "unconfined", "unconfined", "builtin"),
        ("userns-remap", "default", "default", "off"),
        ("data-root", "/srv/docker", "/srv/docker", "/var/lib/docker"),
    ],
)
def test_what_the_daemon_does_not_have_is_named_with_both_values(
    key: str, value: Any, wanted: str | None, found: str
) -> None:
    (difference,) = compared(key, value).differences
    assert difference == Difference(key, wanted if wanted is not None else difference.wanted, found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("icc", False),
        ("log-opts", {"max-size": "1m"}),
        ("exec-opts", ["native.cgroupdriver=systemd", "other=x"]),
        ("exec-opts", ["other=x"]),
        ("selinux-enabled", True),
        ("storage-driver", ""),
        ("labels", "a=b"),
        ("labels", ["a", 7]),
        ("live-restore", "true"),
        ("runtimes", ["runc"]),
        ("default-address-pools", [{"base": "x"}]),
        ("userns-remap", None),
        ("data-root", 7),
        ("proxies", {"http-proxy": "http://p"}),
    ],
)
def test_what_no_answer_tells_is_named_as_such(key: str, value: Any) -> None:
    assert compared(key, value) == Compared((), (key,))


def test_a_daemon_that_answered_nothing_tells_nothing() -> None:
    assert compare({"debug": True, "labels": []}, DockerFacts()) == Compared((), ("debug", "labels"))


def test_no_new_privileges_that_does_not_show_may_be_an_old_version() -> None:
    assert compared("no-new-privileges", True, docker(security_options=())).untold == ("no-new-privileges",)


def test_a_kernel_without_seccomp_tells_nothing_of_a_profile() -> None:
    assert compared("seccomp-profile", "unconfined", docker(security_options=())).untold == ("seccomp-profile",)


def test_remapped_user_namespaces_put_the_data_in_a_directory_of_their_own() -> None:
    remapped = docker("/var/lib/docker/100000.100000", security_options=("name=userns",))
    assert compared("data-root", "/var/lib/docker", remapped) == Compared((), ())
    assert compared("userns-remap", "default", remapped) == Compared((), ())
    assert compared("data-root", "/var/lib/docker", docker("/var/lib/docker/other")).differences


def test_a_data_root_behind_a_symlink_is_the_same_one() -> None:
    assert compared("data-root", "/srv/link", docker("/srv/real", real="/srv/real")) == Compared((), ())


def test_values_are_compared_as_an_observation_has_them() -> None:
    facts = docker(log_driver="a\\x1b", labels=("x" * 4093 + "...",))
    assert compared("log-driver", "a\x1b", facts) == Compared((), ())
    assert compared("labels", ["x" * 9000], facts) == Compared((), ())


def test_hostile_lists_are_compared_in_no_time() -> None:
    many = tuple(f"10.{number % 256}.{number // 256}.0/24" for number in range(2000))
    facts = docker(insecure_registries=many, labels=many, registry_mirrors=many, runtimes=many)
    document = {
        "insecure-registries": list(many[:1999]),
        "labels": ["x" * 4000] * 2000,
        "registry-mirrors": ["/"] * 2000,
    }
    before = time.monotonic()
    found = compare(document, facts)
    assert time.monotonic() - before < 2
    assert [one.key for one in found.differences] == ["insecure-registries", "labels", "registry-mirrors"]
    assert all(len(one.found) <= 200 and len(one.wanted) <= 200 for one in found.differences)
