"""The joined program of observe: read-only by construction, old enough for every host, and honest end to end."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from remediator import host
from remediator.errors import HostError
from remediator.host import observe_program
from remediator.host.common.handshake import PING
from remediator.host.observe import LATER, PARTS, main
from remediator.host.observe.command import COMMAND_ENVIRONMENT, COMMANDS
from remediator.observation import Observation, parse_observation
from remediator.request import Needs, compile_request
from remediator.wire import command, frame, new_marker, read_answer

# Nothing in these lists can make, change or remove anything; whoever adds to them says why it cannot.
OS_NAMES = {
    *("O_CLOEXEC", "O_DIRECTORY", "O_NOATIME", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_RDONLY", "ST_RDONLY"),
    *("fstat", "getxattr", "listdir", "lstat", "open", "path", "read", "readlink", "scandir", "stat", "statvfs"),
    *("close", "geteuid", "strerror", "uname"),
    "sysconf",  # processes.py: in which ticks the kernel counts
    "pread",  # public_keys.py: reads, and leaves the descriptor where openssl begins to read
    *("fork", "setsid", "dup2", "execve", "pipe", "waitpid", "kill", "_exit", "WEXITSTATUS", "WIFEXITED"),  # command.py
    "write",  # serve.py: the answer itself
}
OPEN_FLAGS = {
    *("O_RDONLY", "O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW", "O_NOCTTY", "O_NOATIME", "O_DIRECTORY"),
    "READ_FLAGS",
}
MODULES = {
    *("_sha2", "_sha256", "binascii", "errno", "fcntl", "grp", "hashlib", "json", "os", "pwd", "re", "select"),
    *("signal", "socket", "stat", "sys", "time", "typing", "zlib"),
    "ssl",  # handshake.py: a client without a certificate, which says one GET
}
READ_ONLY_COMMANDS = {
    ("auditctl", "-s"),
    ("auditctl", "-l"),
    ("systemctl", "show"),
    ("dpkg-query", "-W"),
    ("rpm", "-q"),
    ("docker", "--version"),  # with DOCKER_HOST set to a socket that is not there: 20.10 would call the daemon
    ("openssl", "pkey"),  # -pubout: prints the public half of the key on its standard input
}
# The only sockets: the daemon's local one, and TCP in one file, which calls addresses of this host that dockerd listens
# on. How those answer a caller without a certificate is the question itself, and a GET of /_ping changes nothing.
SOCKETS = {
    "observe/docker_api.py": "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
    "common/handshake.py": "socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_STREAM)",
}


def sources() -> list[str]:
    """The program and the groups in it that are compiled later."""
    program = observe_program()
    return [program.source.decode(), program.later.decode()]


def is_later(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)


def nodes() -> Iterator[ast.AST]:
    for source in sources():
        yield from ast.walk(ast.parse(source))


def calls(name: str) -> list[ast.Call]:
    return [node for node in nodes() if isinstance(node, ast.Call) and ast.unparse(node.func) == name]


def calls_in(file: str) -> list[str]:
    """Every call in one file of the program, as text."""
    source = (Path(host.__file__).parent / file).read_text()
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


def method_calls(name: str) -> set[str]:
    """Every call of a method of that name, whatever it is a method of."""
    found = [node for node in nodes() if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return {ast.unparse(node) for node in found if isinstance(node.func, ast.Attribute) and node.func.attr == name}


def observe(needs: Needs, python: str = sys.executable) -> Observation:
    """One observation of this machine, over the real wire."""
    marker = new_marker()
    result = subprocess.run(
        ["/bin/sh", "-c", command(python, marker)],
        input=frame(marker, observe_program(), compile_request(needs)),
        capture_output=True,
        timeout=120,
        check=False,
    )
    return parse_observation("here", read_answer("here", result.stdout, marker, result.returncode, result.stderr))


def test_it_parses_as_python_3_6() -> None:
    for source in sources():
        ast.parse(source, feature_version=(3, 6))


def test_it_imports_only_modules_that_are_listed() -> None:
    imported = {alias.name for node in nodes() if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in nodes() if isinstance(node, ast.ImportFrom)}
    assert imported <= MODULES


def test_it_uses_no_function_of_os_that_could_change_anything() -> None:
    used = {
        node.attr
        for node in nodes()
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    assert used <= OS_NAMES


def test_it_opens_for_reading_only() -> None:
    assert calls("open") == []
    assert calls("io.open") == []
    assert len(calls("os.open")) > 2
    for call in calls("os.open"):
        assert len(call.args) == 2
        names = {node.id for node in ast.walk(call.args[1]) if isinstance(node, ast.Name)} - {"os"}
        names |= {node.attr for node in ast.walk(call.args[1]) if isinstance(node, ast.Attribute)}
        assert names <= OPEN_FLAGS
    flags = next(
        node for node in nodes() if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "READ_FLAGS"
    )
    names = {node.attr for node in ast.walk(flags.value) if isinstance(node, ast.Attribute)}
    assert {"O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"} <= names <= OPEN_FLAGS


def test_it_writes_to_standard_output_only() -> None:
    assert [ast.unparse(call.args[0]) for call in calls("write_all")] == ["1"]
    assert len(calls("os.write")) == 1


def test_it_runs_read_only_commands_without_a_shell_and_nothing_else() -> None:
    assert {words[:2] for words in COMMANDS.values()} == READ_ONLY_COMMANDS
    assert [ast.unparse(call) for call in calls("os.execve")] == ["os.execve(program, words, COMMAND_ENVIRONMENT)"]
    assert [ast.unparse(call) for call in calls("run_child")] == [
        "run_child(self.program, COMMANDS[name], given, out_write, err_write)"
    ]
    assert {ast.unparse(call) for call in calls("Running")} == {"Running(name)", "Running('public_key', descriptor)"}
    assert [ast.unparse(call) for call in calls("os.kill")] == ["os.kill(self.pid, KILL)"]


def test_it_evaluates_nothing_but_its_own_later_parts() -> None:
    for name in ("eval", "__import__", "globals().update", "setattr", "delattr"):
        assert calls(name) == []
    assert [ast.unparse(call) for call in calls("exec")] == [
        "exec(compile(source, 'remediator-' + group, 'exec'), globals())"
    ]


def test_openssl_prints_nothing_but_a_public_half() -> None:
    assert COMMANDS["public_key"] == (
        *("openssl", "pkey", "-pubout", "-inform", "PEM", "-outform", "DER", "-passin", "pass:"),
    )


def test_a_cli_that_calls_its_daemon_unasked_calls_nobody() -> None:
    path = COMMAND_ENVIRONMENT["DOCKER_HOST"].partition("unix://")[2]
    assert path.startswith("/nonexistent/")
    assert not Path(path).exists()
    assert COMMAND_ENVIRONMENT["DOCKER_CONFIG"] == COMMAND_ENVIRONMENT["HOME"] == "/nonexistent"


def test_two_files_make_sockets_and_one_of_them_local_ones_only() -> None:
    files = [*PARTS, *(file for group in LATER.values() for file in group)]
    made = [(file, call) for file in files for call in calls_in(file) if call.startswith("socket.socket(")]
    assert sorted(made) == sorted(SOCKETS.items())
    assert {ast.unparse(call.func) for call in calls("socket.socket")} == {"socket.socket"}
    for name in ("bind", "listen", "accept", "send", "sendto", "sendmsg", "create_connection", "wrap_socket"):
        assert method_calls(name) == set()
    assert method_calls("connect") == {
        "line.connect(path.encode('utf-8', 'surrogateescape'))",
        "self.line.connect((host, port))",
    }


def test_only_addresses_that_the_kernel_gave_are_called_over_tcp() -> None:
    assert {ast.unparse(call) for call in calls("Caller")} == {"Caller(host, port, deadline)"}
    assert [ast.unparse(call) for call in calls("how_it_speaks")] == [
        "how_it_speaks(host, item.port, deadline, only_docker)"
    ]
    assert [ast.unparse(call) for call in calls("accepted_authorities")] == [
        "accepted_authorities(host, port, deadline)"
    ]
    assert [ast.unparse(call) for call in calls("authority_facts")] == ["authority_facts(host, item.port, deadline)"]
    chosen = [
        ast.unparse(node.value)
        for node in nodes()
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "callable_hosts"
    ]
    assert chosen == [
        "['::1', '127.0.0.1'] if len(item.address) == 16 else ['127.0.0.1']",
        "[socket.inet_ntop(socket.AF_INET if len(plain) == 4 else socket.AF_INET6, plain)]",
    ]


def test_it_says_nothing_but_get_on_any_socket() -> None:
    sent = method_calls("sendall")
    local = {call for call in sent if call.startswith("line.sendall(b'GET ' + ")}
    assert len(local) == 1
    # What TLS itself says goes out of a buffer into which only PING is written.
    assert sent - local == {"caller.line.sendall(PING)", "self.caller.line.sendall(self.outgoing.read())"}
    assert method_calls("write") - {"os.write(descriptor, view)"} == {
        "self.inner.write(PING)",
        "self.incoming.write(piece)",
    }
    assert PING.startswith(b"GET /_ping HTTP/1.0\r\n")


def test_it_shows_no_certificate_and_trusts_none() -> None:
    used = {
        ast.unparse(node) for node in nodes() if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ssl"
    }
    assert used == {
        *("ssl.SSLContext", "ssl.PROTOCOL_TLS_CLIENT", "ssl.CERT_NONE", "ssl.MemoryBIO", "ssl.SSLWantReadError"),
        "ssl.TLSVersion",  # of which the older one is asked for: its handshake is in the clear
    }
    assert method_calls("load_cert_chain") == set()


def test_of_signals_it_only_sets_its_own_alarm() -> None:
    used = [node for node in nodes() if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "signal"]
    assert {node.attr for node in used} == {"alarm"}


def test_the_only_ioctl_reads_flags() -> None:
    assert [ast.unparse(call.args[1]) for call in calls("fcntl.ioctl")] == ["GETFLAGS"]


def test_no_name_is_defined_twice_across_its_files() -> None:
    defined: list[str] = []
    for source in sources():
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.append(node.name)
            elif isinstance(node, ast.Assign | ast.AnnAssign) and not is_later(node):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                defined += [ast.unparse(target) for target in targets]
    assert {name for name in defined if defined.count(name) > 1} <= {"MYPY"}


def test_the_words_of_daemons_stand_in_no_argument_of_ours() -> None:
    words = " ".join(word for words in COMMANDS.values() for word in words if not word.endswith(".service"))
    started = command(None, new_marker())
    for name in ("dockerd", "kube-apiserver"):
        assert name not in started
        assert name not in words


@pytest.mark.parametrize(
    "section", ["audit", "docker", "docker_cli", "docker_clients", "docker_tls", "packages", "transactions"]
)
def test_every_section_is_answered_on_this_machine(section: str) -> None:
    seen = observe(Needs.of([], section))
    assert seen.host.uid == os.geteuid()
    assert seen.users["root"] == 0
    assert (seen.audit is not None) == (section == "audit")
    assert bool(seen.packages) == (section == "packages")


@pytest.mark.root
def test_keys_and_clients_of_a_host_are_answered_over_the_wire(tmp_path: Path) -> None:
    """In a mount namespace with accounts and a key of its own in our own place."""
    docker = tmp_path / "ann" / ".docker"
    docker.mkdir(parents=True)
    key = tmp_path / "lib" / "remediator" / "tls" / "key.pem"
    key.parent.mkdir(parents=True)
    for path in (key, docker / "key.pem"):
        subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", path], check=True)
    (tmp_path / "passwd").write_text(f"root:x:0:0::/nonexistent:/bin/sh\nann:x:0:0::{tmp_path}/ann:/bin/sh\n")
    marker = new_marker()
    setup = f"mount --bind {tmp_path}/passwd /etc/passwd; mount --bind {tmp_path}/lib /var/lib; "
    result = subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-ec", setup + command(sys.executable, marker)],
        input=frame(marker, observe_program(), compile_request(Needs.of([], "docker_tls", "docker_clients"))),
        capture_output=True,
        timeout=120,
        check=False,
    )
    answer = read_answer("here", result.stdout, marker, result.returncode, result.stderr)
    seen = parse_observation("here", answer)
    facts = seen.files["/var/lib/remediator/tls/key.pem"]
    public = load_pem_private_key(key.read_bytes(), None).public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (facts.type, facts.public_sha256, facts.key_problem) == ("file", sha256(der).hexdigest(), None)
    assert [client.key for client in seen.docker_clients] == [f"{docker}/key.pem"]
    assert seen.files[f"{docker}/key.pem"].public_sha256 is None
    for line in key.read_bytes().splitlines() + (docker / "key.pem").read_bytes().splitlines():
        assert line not in answer


def test_what_was_not_asked_for_costs_nothing_and_is_not_answered(tmp_path: Path) -> None:
    seen = observe(Needs.of([str(tmp_path)]))
    assert (seen.docker_listeners, seen.docker_clients, seen.docker_cli) == (None, (), None)
    assert "/var/lib/remediator/tls/key.pem" not in seen.files
    always = observe_program().source.decode()
    for name in (
        "def how_it_speaks",
        "def accepted_authorities",
        "def public_digest",
        "def docker_clients",
        "def listening_sockets",
    ):
        assert name not in always
        assert any(name in source for source in sources()[1:])


def test_a_path_and_its_content_are_answered(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello\n")
    seen = observe(Needs.of([str(tmp_path)], contents=[str(tmp_path / "a")]))
    assert seen.files[str(tmp_path / "a")].content == b"hello\n"
    assert seen.files[str(tmp_path)].type == "directory"
    assert seen.files[str(tmp_path)].content is None


def test_an_unknown_reference_is_unknown_and_takes_nothing_else_with_it() -> None:
    seen = observe(Needs.of(["@docker.config_file", "@docker.no_such_thing"]))
    assert seen.references["@docker.no_such_thing"].status == "unknown"
    assert seen.references["@docker.config_file"].status in ("resolved", "absent")


def test_a_fault_in_one_family_of_references_leaves_the_others_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> dict[str, object]:
        raise KeyError("a fault of ours")

    monkeypatch.setattr(main, "containerd_references", broken)
    monkeypatch.setattr("signal.alarm", lambda seconds: 0)
    answer = main.handle({"format_version": 1, "references": ["@docker.config_file", "@runc.binary"]})
    seen = parse_observation("here", json.dumps(answer).encode())
    assert seen.references["@docker.config_file"].status in ("resolved", "absent")
    assert seen.references["@runc.binary"].status == "unknown"
    assert "a fault of ours" in seen.references["@runc.binary"].reason


def test_every_reference_of_kubernetes_is_absent_on_a_machine_without_it() -> None:
    if Path("/etc/kubernetes").exists():
        pytest.fail("this test is for a machine that is no Kubernetes node")
    seen = observe(Needs.of(["@kube.pki", "@kubelet.config_file", "@etcd.manifest"]))
    assert {reference.status for reference in seen.references.values()} == {"absent"}
    assert not seen.systems["kubernetes"].present


@pytest.mark.parametrize(
    "request_document",
    [{"format_version": 2}, {"format_version": 1, "paths": "/etc"}, {"format_version": 1, "paths": [1]}],
)
def test_a_request_that_is_none_is_refused(request_document: dict[str, object]) -> None:
    marker = new_marker()
    result = subprocess.run(
        ["/bin/sh", "-c", command(sys.executable, marker)],
        input=frame(marker, observe_program(), json.dumps(request_document).encode()),
        capture_output=True,
        timeout=60,
        check=False,
    )
    with pytest.raises(HostError, match="request"):
        read_answer("here", result.stdout, marker)


def test_observing_changes_no_access_time_that_root_can_keep(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("hello")
    os.utime(path, ns=(1_000_000_000, 2_000_000_000))
    observe(Needs.of([], contents=[str(path)]))
    assert path.stat().st_atime_ns == 1_000_000_000
