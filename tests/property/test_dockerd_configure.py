"""Whatever shape a daemon's configuration has: it is told what is wanted, once, and keeps all else; or nothing is."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from remediator.dockerd import DaemonConfiguration, read_configuration
from remediator.dockerd.listen import tcp_address
from remediator.overlay import Overlay
from tests.unit.dockerd_host import TLS, DockerHost, configured

HOSTS = ("fd://", "unix:///var/run/docker.sock", "tcp://0.0.0.0:2375", "tcp://[::1]:2376", "0.0.0.0", "tcp://:2376")
OTHERS = ("--debug", "-D", "--label='a b'", "--label x=\\x41", "--mtu=9000", "--oom-score-adjust -500", "--ipv6")
SWITCHES = ("--tlsverify", "--tlsverify=false", "--tls", "--tls=false", "--tlscacert=/etc/docker/tls/ca.pem")
KEYS = ("labels", "log-opts", "tlsverify", "hosts", "tlscert", "tls", "icc")
ADDRESSES = ("0.0.0.0:2376", "[::1]:2376", "192.0.2.7:2377")

listeners = st.sampled_from(HOSTS).flatmap(
    lambda host: st.sampled_from([f"-H {host}", f"-H{host}", f"--host={host}", f"--host {host}", f"-DH {host}"])
)
flags = st.lists(listeners | st.sampled_from(OTHERS + OTHERS + SWITCHES), max_size=4)
gaps = st.sampled_from([" ", "  ", " \\\n    ", "\t"])


@st.composite
def documents(draw: st.DrawFn) -> str | None:
    """A daemon.json, or none."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from([None, "", "\n", "{}"]))
    values = {
        "labels": st.just(["ä=b"]),
        "log-opts": st.just({"splunk-token": "geheim", "max-size": "1m"}),
        "tlsverify": st.booleans(),
        "tls": st.booleans(),
        "icc": st.booleans(),
        "hosts": st.lists(st.sampled_from(HOSTS), max_size=3),
        "tlscert": st.sampled_from(["/etc/docker/tls/cert.pem", "/old.pem"]),
    }
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=4))
    document = {key: draw(values[key]) for key in keys}
    return json.dumps(document, indent=draw(st.sampled_from([None, 2, 4, "\t"]))) + draw(st.sampled_from(["", "\n"]))


@st.composite
def hosts(draw: st.DrawFn) -> DockerHost:
    """A host whose options stand in its unit, in a drop-in, in its environment file and in daemon.json."""
    words = ["/usr/sbin/dockerd", *draw(flags), *draw(st.sampled_from([[], ["$DOCKER_OPTS"], ["${DOCKER_OPTS}"]]))]
    command = draw(gaps).join(words)
    options = " ".join(draw(st.lists(listeners | st.sampled_from(("-D", "--ipv6", *SWITCHES)), max_size=2)))
    quote = draw(st.sampled_from(['"', "'", ""]))
    environment = draw(
        st.sampled_from([None, f"# é\nDOCKER_OPTS={quote}{options}{quote}\nHTTP_PROXY='http://u:p@h'\n"])
    )
    in_drop_in = draw(st.booleans())
    return DockerHost(
        unit="/usr/sbin/dockerd -H fd://" if in_drop_in else command,
        drop_ins={"10-own.conf": f"[Service]\nExecStart=\nExecStart={command}\n"} if in_drop_in else {},
        environment=environment,
        config=draw(documents()),
    )


def others(found: DaemonConfiguration) -> tuple[object, ...]:
    """What no edit may change: every other flag in order, every other key, every listener that is not on TCP."""
    ours = ("hosts", "tlsverify", "tlscacert", "tlscert", "tlskey")
    return (
        [(flag.name, flag.value) for flag in found.flags if flag.name not in ("host", "tlsverify")],
        {key: value for key, value in found.document.items() if key not in ours},
        {host for host in found.hosts if tcp_address(host) is None},
    )


def known(overlay: Overlay) -> DaemonConfiguration:
    found = read_configuration(overlay)
    assume(isinstance(found, DaemonConfiguration))
    assert isinstance(found, DaemonConfiguration)
    return found


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(hosts(), st.none() | st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2, unique=True).map(tuple))
def test_a_daemon_is_told_what_is_wanted_once_and_keeps_all_else(
    host: DockerHost, listen: tuple[str, ...] | None
) -> None:
    overlay = host.overlay()
    before = known(overlay)
    wanted = replace(TLS, listen=listen)
    if configured(overlay, wanted):
        assert (overlay.files, overlay.steps, overlay.validations) == ({}, {}, {})
        return
    after = known(overlay)
    assert (after.conflict, after.verified) == ("", True)
    assert set(after.tcp) == set(listen if listen is not None else before.tcp)
    assert others(after)[:2] == others(before)[:2]
    default = before.given_hosts[0].place == "default" and (not before.tls or set(after.tcp) != set(before.tcp))
    assert others(after)[2] == ({"unix:///var/run/docker.sock"} if default else others(before)[2])
    given_files = {name: given.value for name in wanted.files if (given := after.option(name)) is not None}
    assert given_files == wanted.files
    again = overlay.copy()
    assert configured(again, wanted) == ""
    assert again.files == overlay.files
