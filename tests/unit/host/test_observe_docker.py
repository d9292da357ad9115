"""What Docker's and containerd's references stand for, from units and configuration files that really lie on a disk."""

import base64
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remediator.host.observe.command import UNIT_NAMES
from remediator.host.observe.containerd import containerd_references
from remediator.host.observe.docker import DockerHost, docker_references
from remediator.host.observe.docker_api import MAX_BODY, DaemonError, ask_daemon, docker_facts
from remediator.host.observe.main import observe_files, observe_references
from remediator.host.observe.references import HostReference
from remediator.host.observe.state import HostState
from remediator.host.observe.units import HostUnit, unit_from_block


def state_of(**blocks: str) -> HostState:
    """A host whose units are these; `docker_service="ExecStart=..."`."""
    units = {name: HostUnit(name) for name in UNIT_NAMES}
    for key, block in blocks.items():
        name = key.replace("_", ".")
        units[name] = unit_from_block(name, "LoadState=loaded\n" + block)
    return HostState(units, {})


def exec_start(line: str) -> str:
    return f"ExecStart={{ path={line.split()[0]} ; argv[]={line} ; ignore_errors=no }}"


def references(**blocks: str) -> dict[str, HostReference]:
    state = state_of(**blocks)
    return docker_references(state, DockerHost(state))


def paths(reference: HostReference) -> list[str]:
    assert reference.status == "resolved", reference.reason
    return [path for path, _ in reference.paths]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / "daemon.json"


def test_the_configuration_file_of_the_command_line_is_the_one(config: Path) -> None:
    found = references(docker_service=exec_start(f"/usr/sbin/dockerd --config-file={config}"))
    assert paths(found["@docker.config_file"]) == [str(config)]
    assert paths(found["@docker.config_directory"]) == [str(config.parent)]
    assert paths(found["@docker.daemon_binary"]) == ["/usr/sbin/dockerd"]


def test_variables_of_the_environment_file_are_part_of_the_command_line(config: Path, tmp_path: Path) -> None:
    (tmp_path / "default").write_text(f'DOCKER_OPTS="--config-file {config} --data-root /srv/docker"\n')
    block = exec_start("/usr/sbin/dockerd -H fd:// $DOCKER_OPTS") + f"\nEnvironmentFiles={tmp_path}/default (x)"
    found = references(docker_service=block)
    assert paths(found["@docker.config_file"]) == [str(config)]
    assert paths(found["@docker.data_root"]) == ["/srv/docker"]
    assert paths(found["@docker.environment_file"]) == [f"{tmp_path}/default"]


def test_tls_files_come_from_flags_first_then_daemon_json(config: Path) -> None:
    config.write_text(json.dumps({"tlsverify": True, "tlscert": "/j/cert.pem"}))
    found = references(docker_service=exec_start(f"/d --config-file={config} --tlscacert /f/ca.pem"))
    assert found["@docker.tlscacert"].paths == [("/f/ca.pem", "docker.service ExecStart --tlscacert")]
    assert found["@docker.tlscert"].paths == [("/j/cert.pem", f"{config} tlscert")]
    assert paths(found["@docker.tlskey"]) == ["/root/.docker/key.pem"]


def test_tls_without_paths_looks_in_docker_cert_path(config: Path) -> None:
    found = references(
        docker_service=exec_start(f"/d --config-file={config} --tls") + "\nEnvironment=DOCKER_CERT_PATH=/c"
    )
    assert paths(found["@docker.tlscacert"]) == ["/c/ca.pem"]


def test_without_tls_there_are_no_tls_files(config: Path) -> None:
    found = references(docker_service=exec_start(f"/d --config-file={config} --tls=false"))
    assert found["@docker.tlskey"].status == "absent"


@pytest.mark.parametrize("content", [b"{", b'\xef\xbb\xbf{"tls": true}', b'{"tls": true, "tls": false}'])
def test_a_daemon_json_that_cannot_be_read_leaves_unknown_what_hangs_on_it(config: Path, content: bytes) -> None:
    config.write_bytes(content)
    found = references(docker_service=exec_start(f"/d --config-file={config} --tlscert=/f"))
    assert found["@docker.tlskey"].status == "unknown"
    assert str(config) in found["@docker.tlskey"].reason
    assert paths(found["@docker.tlscert"]) == ["/f"]
    assert paths(found["@docker.config_file"]) == [str(config)]
    assert found["@docker.data_root"].status == "unknown"


def test_the_data_root_is_daemon_jsons_where_nothing_runs(config: Path) -> None:
    config.write_text('{"data-root": "/srv/d/"}')
    found = references(docker_service=exec_start(f"/d --config-file={config}"))
    assert paths(found["@docker.data_root"]) == ["/srv/d"]


def test_the_socket_is_the_socket_units_with_fd(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    line = socket.socket(socket.AF_UNIX)
    line.bind(str(path))
    found = references(docker_service=exec_start("/d -H fd://"), docker_socket=f"Listen={path} (Stream)")
    assert paths(found["@docker.socket"]) == [str(path)]
    other = references(docker_service=exec_start(f"/d -H tcp://0.0.0.0:1 -H unix://{path}"))
    assert paths(other["@docker.socket"]) == [str(path)]
    line.close()


def test_a_daemon_on_tcp_alone_has_no_socket() -> None:
    found = references(docker_service=exec_start("/d -H tcp://0.0.0.0:2376"))
    assert found["@docker.socket"].status == "absent"


def test_a_host_without_docker_has_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remediator.host.observe.docker.DEFAULT_PATH", "/nonexistent")
    found = references()
    assert {reference.status for reference in found.values()} == {"absent"}


def test_containerd_is_read_from_its_own_configuration(tmp_path: Path) -> None:
    sock = tmp_path / "c.sock"
    line = socket.socket(socket.AF_UNIX)
    line.bind(str(sock))
    toml = tmp_path / "config.toml"
    toml.write_text(f'state = "/srv/state"\n[grpc]\n address = "{sock}"\n')
    block = "ActiveState=active\n" + exec_start(f"/usr/bin/containerd --config {toml}")
    state = state_of(containerd_service=block)
    found = containerd_references(state, DockerHost(state))
    assert paths(found["@containerd.config_file"]) == [str(toml)]
    assert paths(found["@containerd.socket"]) == [str(sock)]
    assert paths(found["@containerd.state_directory"]) == ["/srv/state"]
    assert state.systems["containerd"]["present"] is True
    line.close()


def test_a_containerd_that_docker_starts_itself_is_below_its_exec_root(tmp_path: Path) -> None:
    (tmp_path / "containerd").mkdir()
    (tmp_path / "containerd" / "containerd.toml").touch()
    block = "ActiveState=activating\n" + exec_start(f"/d --exec-root={tmp_path}")
    state = state_of(docker_service=block)
    found = containerd_references(state, DockerHost(state))
    assert paths(found["@containerd.state_directory"]) == [f"{tmp_path}/containerd"]
    assert paths(found["@containerd.config_file"]) == [f"{tmp_path}/containerd/containerd.toml"]
    assert found["@containerd.socket"].status == "absent"


class Daemon:
    """A daemon on a socket that gives canned answers and keeps what it was asked."""

    def __init__(self, path: Path, answers: dict[str, bytes]) -> None:
        self.asked: list[bytes] = []
        self.answers = answers
        self.path = str(path)
        self.line = socket.socket(socket.AF_UNIX)
        self.line.bind(self.path)
        self.line.listen(50)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.line.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65536)
                self.asked.append(request)
                answer = self.answers.get(request.split()[1].decode(), b"HTTP/1.0 404 Not Found\r\n\r\n{}")
                try:
                    connection.sendall(answer)
                except OSError:
                    continue

    def close(self) -> None:
        self.line.shutdown(socket.SHUT_RDWR)
        self.line.close()
        self.thread.join(10)


def ok(document: Any) -> bytes:
    return b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + json.dumps(document).encode()


INFO = {
    "DockerRootDir": "/srv/docker",
    "ServerVersion": "26.1.5",
    "LiveRestoreEnabled": True,
    "Swarm": {"LocalNodeState": "active"},
}
LISTED = [
    {"Id": "bb", "Names": ["/job"], "State": "exited", "Command": "secret-command"},
    {"Id": "aa", "Names": ["/web/alias", "/web"], "State": "running", "Command": "secret-command"},
]
INSPECTED = {
    "Config": {"Env": ["PASSWORD=secret-env"], "Cmd": ["secret-cmd"]},
    "HostConfig": {"RestartPolicy": {"Name": "always"}, "AutoRemove": False},
}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    answers = {
        "/info": ok(INFO),
        "/containers/json?all=1": ok(LISTED),
        "/containers/aa/json": ok(INSPECTED),
        "/containers/bb/json": ok({"HostConfig": {"AutoRemove": True}}),
    }
    started = Daemon(tmp_path / "docker.sock", answers)
    yield started
    started.close()


def test_the_daemon_tells_of_itself_and_its_containers(daemon: Daemon) -> None:
    facts = docker_facts(daemon.path, True)
    assert (facts["data_root"], facts["live_restore"], facts["swarm"]) == ("/srv/docker", True, "active")
    assert facts["containers"] == [
        {"id": "aa", "name": "web", "state": "running", "restart_policy": "always", "auto_remove": False},
        {"id": "bb", "name": "job", "state": "exited", "restart_policy": "no", "auto_remove": True},
    ]


def test_environment_and_command_of_a_container_stay_on_the_host(daemon: Daemon) -> None:
    assert "secret" not in json.dumps(docker_facts(daemon.path, True))


def test_the_daemon_is_only_asked_with_get(daemon: Daemon) -> None:
    docker_facts(daemon.path, True)
    assert len(daemon.asked) == 4
    assert all(request.startswith(b"GET ") for request in daemon.asked)


def test_a_container_that_went_away_meanwhile_is_told_as_unknown(daemon: Daemon) -> None:
    del daemon.answers["/containers/aa/json"]
    assert docker_facts(daemon.path, True)["containers"][0]["restart_policy"] == "unknown"


def test_a_stopped_docker_is_never_spoken_to(daemon: Daemon) -> None:
    state = state_of(
        docker_service="ActiveState=inactive\n" + exec_start("/d -H fd://"),
        docker_socket=f"Listen={daemon.path} (Stream)",
    )
    facts = DockerHost(state).ask(with_containers=True)
    assert facts == {"error": "docker.service is inactive"}
    assert daemon.asked == []


def test_an_active_docker_is_asked_on_its_units_socket(daemon: Daemon) -> None:
    state = state_of(
        docker_service="ActiveState=active\n" + exec_start("/d -H fd://"),
        docker_socket=f"Listen={daemon.path} (Stream)",
    )
    docker = DockerHost(state)
    docker.ask(with_containers=False)
    assert docker_references(state, docker)["@docker.data_root"].paths == [("/srv/docker", "docker info")]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "does not speak HTTP"),
        (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.0 500 Oops\r\n\r\n{}", "answered 500"),
        (b"HTTP/1.0 200 OK\r\n\r\nno json", "no JSON"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100000, "no JSON"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b" " * (MAX_BODY + 10), "larger than"),
    ],
)
def test_a_daemon_that_answers_nonsense_is_an_error(daemon: Daemon, answer: bytes, why: str) -> None:
    daemon.answers["/info"] = answer
    assert why in docker_facts(daemon.path, False)["error"]


@pytest.mark.parametrize("document", [[], "x", {"Swarm": 5}, 7])
def test_a_daemon_whose_answer_has_another_shape_is_an_error(daemon: Daemon, document: Any) -> None:
    daemon.answers["/info"] = ok(document)
    assert "shape" in docker_facts(daemon.path, False)["error"]


def test_a_daemon_that_tells_of_itself_and_not_of_its_containers_leaves_what_it_told(daemon: Daemon) -> None:
    del daemon.answers["/containers/json?all=1"]
    facts = docker_facts(daemon.path, True)
    assert "answered 404" in facts["error"]
    assert (facts["data_root"], facts["settings"]["live_restore"]) == ("/srv/docker", True)
    assert "containers" not in facts


def test_a_daemon_that_never_answers_is_given_up(tmp_path: Path) -> None:
    line = socket.socket(socket.AF_UNIX)
    line.bind(str(tmp_path / "s"))
    line.listen(1)
    with pytest.raises(DaemonError, match="does not answer"):
        ask_daemon(str(tmp_path / "s"), "/info", time.monotonic() + 0.3)
    line.close()


def test_drop_ins_are_told_apart_by_their_unit_and_keep_the_order_in_which_systemd_applies_them(tmp_path: Path) -> None:
    service = [f"{tmp_path}/run/docker.service.d/50-b.conf", f"{tmp_path}/etc/docker.service.d/60-a.conf"]
    found = references(
        docker_service=exec_start("/d") + "\nDropInPaths=" + " ".join(service),
        docker_socket=f"DropInPaths={tmp_path}/etc/docker.socket.d/10.conf",
    )
    assert found["@docker.unit_drop_ins"].paths == [
        (service[0], "docker.service"),
        (service[1], "docker.service"),
        (f"{tmp_path}/etc/docker.socket.d/10.conf", "docker.socket"),
    ]


def make_certificate(path: Path) -> bytes:
    """A certificate, with its key beside it."""
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a", "-days", "2"]
    files = ["-out", str(path), "-keyout", str(path.with_suffix(".key"))]
    subprocess.run(["openssl", *words, *files], check=True, capture_output=True)
    return path.read_bytes()


def test_everything_that_tls_is_decided_from_is_read_out_when_it_is_asked_for(config: Path, tmp_path: Path) -> None:
    files = {
        "unit_file": "[Service]\nExecStart=/d\n",
        "unit_drop_ins": "[Service]\nEnvironment=A=1\n",
        "environment_file": "DOCKER_OPTS=--debug\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    certificate = make_certificate(tmp_path / "cert.pem")
    config.write_text(json.dumps({"tlscacert": f"{tmp_path}/cert.pem", "tlskey": f"{tmp_path}/cert.key"}))
    block = exec_start(f"/d --config-file={config} --tlscert={tmp_path}/cert.pem")
    block += f"\nFragmentPath={tmp_path}/unit_file\nDropInPaths={tmp_path}/unit_drop_ins"
    block += f"\nEnvironmentFiles={tmp_path}/environment_file (ignore_errors=yes)"
    state = state_of(docker_service=block)
    names = ["@docker." + name for name in (*files, "config_file", "tlscacert", "tlscert", "tlskey")]
    observe_references(state, DockerHost(state), names)
    observe_files(state, {"contents": names, "paths": []})
    facts = state.files.answer()
    for name, content in files.items():
        assert base64.b64decode(facts[f"{tmp_path}/{name}"]["content"]).decode() == content
    assert base64.b64decode(facts[str(config)]["content"]) == config.read_bytes()
    assert base64.b64decode(facts[f"{tmp_path}/cert.pem"]["content"]) == certificate
    assert "masked" not in facts[f"{tmp_path}/cert.pem"]
    assert "content" not in facts[f"{tmp_path}/cert.key"]


def test_a_certificate_with_its_key_in_one_file_stays_on_the_host(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "cert.pem")
    both = tmp_path / "both.pem"
    both.write_bytes(certificate + (tmp_path / "cert.key").read_bytes())
    facts = state_of().files.add(str(both), content=True)
    assert "content" not in facts
    assert "private key" in facts["error"]
