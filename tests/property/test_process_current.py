"""What holds of a daemon that may be older than its files, whatever stands in them and whatever it answers."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remediator.catalogue import load_catalogue
from remediator.decide import decide
from remediator.observation import parse_observation
from remediator.plan import HostPlan
from remediator.policy import Policy
from remediator.surroundings import Surroundings
from remediator.text import is_plain
from tests.tls_material import HOST, NOW

CATALOGUE = load_catalogue().select(controls=["docker.daemon.process-current"])
UNIT, CONFIG, ENVIRONMENT = "/lib/systemd/system/docker.service", "/etc/docker/daemon.json", "/etc/default/docker"
COMMAND = ["/usr/sbin/dockerd", "-H", "fd://"]
BEFORE, START, AFTER, CLOCK = (number * 10**18 for number in (1, 2, 3, 9))

steadily = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
texts = st.text(max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
registries = st.lists(
    st.sampled_from(["reg.lab:5000", "http://Reg.lab", "10.1.2.3/16", "::/0", "127.0.0.0/8"]), max_size=3
)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "log-driver": st.sampled_from(["local", "json-file"]),
    "live-restore": st.booleans(),
    "debug": st.booleans(),
    "labels": st.lists(st.sampled_from(["a=b", "c=d"]), max_size=2, unique=True),
    "insecure-registries": registries,
    "registry-mirrors": st.lists(st.sampled_from(["https://m", "https://n/"]), max_size=2),
    "seccomp-profile": st.sampled_from(["", "builtin", "unconfined", "/p.json"]),
    "userns-remap": st.sampled_from(["", "default"]),
    "data-root": st.sampled_from(["/srv/docker", "/srv/docker/"]),
    "icc": st.booleans(),
    "shutdown-timeout": st.integers(1, 90),
}
configurations = st.fixed_dictionaries({}, optional=OPTIONS)
answers = st.dictionaries(
    st.sampled_from(["storage_driver", "log_driver", "labels", "insecure_registries", "security_options", "runtimes"]),
    st.lists(texts, max_size=3) | texts,
)


def answered(config: dict[str, Any]) -> dict[str, Any]:
    """What a daemon that has read this file says of itself: the tests' own reading of dockerd."""
    registry = [one.removeprefix("http://").lower() for one in config.get("insecure-registries", [])]
    registry = ["10.1.0.0/16" if one == "10.1.2.3/16" else one for one in registry]
    root = config.get("data-root", "/var/lib/docker").rstrip("/")
    security = [f"name=seccomp,profile={config.get('seccomp-profile') or 'builtin'}"]
    if config.get("userns-remap"):
        root, security = f"{root}/100000.100000", [*security, "name=userns"]
    return {
        "data_root": root,
        "server_version": "26.1.5",
        "live_restore": config.get("live-restore", False),
        "settings": {
            "log_driver": config.get("log-driver", "json-file"),
            "live_restore": config.get("live-restore", False),
            "debug": config.get("debug", False),
            "labels": config.get("labels", []),
            "registry_mirrors": [mirror.rstrip("/") + "/" for mirror in config.get("registry-mirrors", [])],
            "insecure_registries": sorted({"127.0.0.0/8", *registry}),
            "authorization_plugins": [],
            "security_options": security,
        },
    }


def host(content: bytes, docker: dict[str, Any], argv: list[str], started: int, reloaded: int) -> dict[str, Any]:
    """An observation: daemon.json and the environment file were written between BEFORE and AFTER the start."""
    times = {"mtime_ns": AFTER - 1, "ctime_ns": AFTER - 1}
    unit = f"[Service]\nEnvironmentFile=-{ENVIRONMENT}\nExecStart={' '.join(COMMAND)} $DOCKER_OPTS\n".encode()
    files: dict[str, Any] = {
        UNIT: {"type": "file", "content": base64.b64encode(unit).decode()},
        ENVIRONMENT: {"type": "file", "content": base64.b64encode(b"OTHER=1\n").decode(), **times},
        CONFIG: {"type": "file", "mode": 0o644, "content": base64.b64encode(content).decode(), **times},
        "/etc/systemd/system/docker.service.d/zz-remediator-listeners.conf": {"type": "missing"},
    }
    return {
        "format_version": 1,
        "host": {"python": "3.11", "uid": 0, "clock_ns": CLOCK},
        "systems": {"docker": {"present": True, "reason": "generated"}},
        "files": {path: {"resolved": path, **facts} for path, facts in files.items()},
        "references": {
            "@docker.config_file": {"status": "resolved", "paths": [{"path": CONFIG, "source": "the default"}]}
        },
        "units": {
            "docker.service": {
                "load": "loaded",
                "active": "active",
                "fragment": UNIT,
                "state_changed_ns": reloaded,
                "properties": {"CanReload": "yes"},
            }
        },
        "components": {
            "docker": [{"pid": 7, "argv": argv, "how": "unit", "source": "docker.service", "started_ns": started}]
        },
        "docker": docker,
    }


def plan_of(document: dict[str, Any]) -> HostPlan:
    seen = parse_observation(HOST, json.dumps(document).encode())
    return decide(HOST, seen, CATALOGUE, Policy(allow=frozenset({"guarded"})), {}, Surroundings(NOW, (HOST,)))


@steadily
@given(configurations, configurations, st.sampled_from([[], ["--icc=false"], ["-D", "--mtu", "9"]]))
def test_after_what_was_permitted_nothing_is_left_to_change(
    file: dict[str, Any], read: dict[str, Any], extra: list[str]
) -> None:
    content = json.dumps(file).encode()
    first = plan_of(host(content, answered(read), [*COMMAND, *extra], START, START))
    (verdict,) = first.verdicts
    if not first.transactions:
        assert verdict.verdict in ("compliant", "drifted")
        assert not verdict.permitted
        return
    (step,) = first.transactions[0].activation
    if step.do == "reload":
        assert not extra
        # SIGHUP takes over what is set in the file, and of that nothing which wants a restart.
        live = {"live-restore", "debug", "labels", "insecure-registries", "registry-mirrors", "shutdown-timeout"}
        taken = {**read, **{key: value for key, value in file.items() if key in live}}
        second = plan_of(host(content, answered(taken), COMMAND, START, AFTER))
    else:
        second = plan_of(host(content, answered(file), COMMAND, AFTER, AFTER))
    assert [(one.verdict, one.reason) for one in second.verdicts if one.verdict != "compliant"] == []


@steadily
@given(configurations)
def test_a_daemon_that_started_after_all_of_that_is_as_its_files_say(file: dict[str, Any]) -> None:
    (verdict,) = plan_of(host(json.dumps(file).encode(), answered(file), COMMAND, AFTER, AFTER)).verdicts
    assert verdict.verdict == "compliant", verdict.reason


@steadily
@given(
    st.dictionaries(st.sampled_from([*OPTIONS, "runtimes", "exec-opts", "default-address-pools"]) | texts, json_values),
    answers,
    st.lists(texts, max_size=4),
)
def test_whatever_the_host_says_is_decided_and_harmless_to_show(
    file: dict[str, Any], docker: dict[str, Any], argv: list[str]
) -> None:
    listed = {"labels", "insecure_registries", "security_options", "runtimes"}
    told = {key: value for key, value in docker.items() if isinstance(value, list) is (key in listed)}
    facts = {"server_version": "26.1", "settings": told}
    plan = plan_of(host(json.dumps(file).encode(), facts, [*COMMAND, *argv], START, START))
    (verdict,) = plan.verdicts
    assert "remediator could not decide" not in verdict.reason
    assert is_plain(verdict.reason)
    assert all(is_plain(line) for part in plan.transactions for one in part.changes for line in one.details)
