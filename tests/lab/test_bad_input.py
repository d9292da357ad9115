"""Connections and hosts that are wrong in every way: each refusal names the host and the remedy and changes nothing."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .hosts.container import ContainerHost, start_host
from .hosts.engine import Engine
from .hosts.keys import Keys, make_keys
from .hosts.recipe import recipe
from .hosts.witness import Difference, changes_of
from .product import Answer, Product

# Where a failed log-in or sudo is written down, by sshd, PAM and sudo themselves.
LOGIN_TRACES = ("/var/log/journal", "/var/log/btmp", "/var/log/wtmp", "/var/log/lastlog", "/var/lib/sudo")
WRONG_PASSWORD = "wrong-4711"

# What the error's kind is, and words that tell the user where to look.
EXPECTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "closed": ("unreachable", ("port 2", "Check")),
    "hole": ("unreachable", ("Check",)),
    "nameless": ("unreachable", ("no-such-host.invalid", "Check")),
    "impostor": ("host_key", ("other_known_hosts", "known_hosts")),
    "stranger": ("host_key", ("known_hosts",)),
    "trusting": ("host_key", ("known_hosts",)),
    "unchecked": ("host_key", ("StrictHostKeyChecking", "known_hosts")),
    "nobody": ("authentication", ("nobody-here", "--private-key")),
    "wrong-key": ("authentication", ("root", "--private-key")),
    "wrong-password": ("authentication", ("opspw", "-k")),
    "no-sudo": ("become", ("sudo", "-K")),
    "sudo-refused": ("become", ("sudo", "-K")),
    "sudo-wants-password": ("become", ("sudo", "-K")),
    "sudo-wrong-password": ("become", ("sudo", "-K")),
    "pythonless": ("python", ("python3", "ansible_python_interpreter")),
    "misnamed-python": ("python", ("python3", "ansible_python_interpreter")),
    "old-python": ("python", ("2.7", "3.6", "ansible_python_interpreter")),
    "old-python-named": ("python", ("3.6", "ansible_python_interpreter")),
}
SECONDS = 60

# Runs at every daemon-reload: stops whoever holds the host's lock in the middle of its commit.
HOLD = """
mkdir -p /etc/systemd/system-generators
cat >/etc/systemd/system-generators/lab-hold <<'EOF'
#!/bin/sh
[ -e /var/lib/remediator/lock ] || exit 0
kill -STOP "$(sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p' /var/lib/remediator/lock)"
EOF
chmod 0755 /etc/systemd/system-generators/lab-hold
sed -i 's/^SocketMode=.*/SocketMode=0666/' /usr/lib/systemd/system/docker.socket
chmod 0664 /etc/default/docker
systemctl daemon-reload
"""
UNDO = """
rm -f /etc/systemd/system-generators/lab-hold
rm -rf /etc/systemd/system/docker.socket.d /var/lib/remediator
sed -i 's/^SocketMode=.*/SocketMode=0660/' /usr/lib/systemd/system/docker.socket
chmod 0644 /etc/default/docker
systemctl daemon-reload
"""
STATE = """
pid=$(sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p' /var/lib/remediator/lock)
echo "$pid"
sed -n 's/^State:.//p' "/proc/$pid/status"
"""


@dataclass(frozen=True)
class Checked:
    """A check of the good host and all the others at once."""

    answer: Answer
    seconds: float
    changed: Difference
    """What it changed on the good host."""
    files: dict[Path, bytes]
    """The known_hosts files before it."""


@pytest.fixture(scope="module")
def bare(engine: Engine, lab_keys: Keys) -> Iterator[dict[str, ContainerHost]]:
    """Hosts without a Python that will do, by image."""
    started: dict[str, ContainerHost] = {}
    try:
        for image in ("minimal", "python2"):
            started[image] = start_host(engine, lab_keys, recipe(image), f"{image}-bare", volumes=())
        yield started
    finally:
        for host in started.values():
            host.remove()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad-input")


@pytest.fixture(scope="module")
def known_hosts(place: Path, debian12: ContainerHost) -> dict[str, Path]:
    """known_hosts files that list another key for the good host's address, and nothing."""
    others = make_keys(place / "others")
    other = others.make_host_key("other").public
    files = {name: place / f"{name}_known_hosts" for name in ("other", "empty", "trusting")}
    files["other"].write_text(f"{debian12.address} {other}")
    for name in ("empty", "trusting"):
        files[name].write_text("")
    return files


@pytest.fixture(scope="module")
def inventory_file(
    place: Path, debian12: ContainerHost, bare: dict[str, ContainerHost], known_hosts: dict[str, Path]
) -> Path:
    good = debian12.inventory_vars()
    path = place / "hosts.json"
    path.write_text(json.dumps({"all": {"hosts": {"good": good, **_bad(place, debian12, bare, known_hosts)}}}))
    return path


def _bad(
    place: Path, debian12: ContainerHost, bare: dict[str, ContainerHost], known_hosts: dict[str, Path]
) -> dict[str, dict[str, object]]:
    good = debian12.inventory_vars()

    def checking(name: str, option: str = "StrictHostKeyChecking=yes") -> dict[str, object]:
        options = f"-o {option} -o UserKnownHostsFile={known_hosts[name]} -o GlobalKnownHostsFile=/dev/null"
        return {**good, "ansible_ssh_common_args": options}

    def user(name: str, password: str | None = None) -> dict[str, object]:
        given = {} if password is None else {"ansible_become_password": password}
        return {**good, "ansible_user": name, "ansible_become": True, **given}

    keyless = {name: value for name, value in good.items() if name != "ansible_ssh_private_key_file"}
    return {
        "closed": {**good, "ansible_port": 2},
        "hole": {**good, "ansible_host": f"{debian12.address.rpartition('.')[0]}.250"},
        "nameless": {**good, "ansible_host": "no-such-host.invalid"},
        "impostor": checking("other"),
        "stranger": checking("empty"),
        "trusting": checking("trusting", "StrictHostKeyChecking=accept-new"),
        "unchecked": checking("empty", "StrictHostKeyChecking=no"),
        "nobody": {**good, "ansible_user": "nobody-here"},
        "wrong-key": {**good, "ansible_ssh_private_key_file": str(place / "others" / "id_ed25519")},
        "wrong-password": {**keyless, "ansible_user": "opspw", "ansible_password": WRONG_PASSWORD},
        "no-sudo": user("plain"),
        "sudo-refused": user("plain", WRONG_PASSWORD),
        "sudo-wants-password": user("opspw"),
        "sudo-wrong-password": user("opspw", WRONG_PASSWORD),
        "pythonless": {**bare["minimal"].inventory_vars()},
        "misnamed-python": {**good, "ansible_python_interpreter": "/opt/no/python3"},
        "old-python": {**bare["python2"].inventory_vars()},
        "old-python-named": {**bare["python2"].inventory_vars(), "ansible_python_interpreter": "/usr/bin/python2"},
    }


@pytest.fixture(scope="module", params=["ssh", "ansible"])
def checked(
    request: pytest.FixtureRequest,
    remediate: Product,
    inventory_file: Path,
    debian12: ContainerHost,
    known_hosts: dict[str, Path],
) -> Checked:
    """One check over all of them; the good host is looked at before and after."""
    files = {path: path.read_bytes() for path in (*known_hosts.values(), debian12.known_hosts)}
    took: list[float] = []
    answers: list[Answer] = []

    def check() -> None:
        began = time.monotonic()
        answers.append(remediate.check(inventory_file, "--transport", request.param))
        took.append(time.monotonic() - began)

    changed = changes_of(debian12, check)
    return Checked(answers[0], took[0], changed, files)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_error_names_the_host_the_cause_and_the_remedy(checked: Checked, name: str) -> None:
    error = checked.answer.host(name)["error"]
    kind, words = EXPECTED[name]
    assert error["kind"] == kind, error
    assert error["message"].startswith(f"{name}: ")
    for word in words:
        assert word in error["message"], error
    assert WRONG_PASSWORD not in error["message"]


def test_every_control_of_a_host_that_was_not_reached_is_unknown(checked: Checked) -> None:
    good = checked.answer.verdicts("good")
    for name in EXPECTED:
        assert checked.answer.verdicts(name) == dict.fromkeys(good, "unknown")
        assert checked.answer.host(name)["changes"] == []


def test_bad_hosts_end_3_without_a_traceback_and_without_a_password(checked: Checked) -> None:
    assert checked.answer.code == 3
    assert "Traceback" not in checked.answer.out + checked.answer.err
    assert WRONG_PASSWORD not in checked.answer.out + checked.answer.err


def test_bad_hosts_neither_disturb_nor_delay_a_good_one(
    checked: Checked, inventory_file: Path, remediate: Product
) -> None:
    alone = remediate.check(inventory_file, "-l", "good")
    assert checked.answer.host("good") == alone.host("good")
    assert checked.seconds < SECONDS


def test_no_host_key_was_accepted_silently(checked: Checked) -> None:
    for path, before in checked.files.items():
        assert path.read_bytes() == before, path


def test_nothing_but_the_log_ins_is_left_on_the_host(checked: Checked) -> None:
    assert checked.changed.without(*LOGIN_TRACES).paths == []


def test_the_text_names_every_host_that_was_not_reached_with_its_remedy(
    inventory_file: Path, remediate: Product
) -> None:
    answer = remediate("check", "-i", str(inventory_file), "-l", "closed:unchecked:no-sudo")
    assert answer.code == 3
    for name in ("closed", "unchecked", "no-sudo"):
        assert f"not reached  {name}: " in answer.out
    assert "Traceback" not in answer.out + answer.err


def test_a_connection_that_somebody_opened_unchecked_is_not_used(
    debian12: ContainerHost, known_hosts: dict[str, Path], remediate: Product, tmp_path: Path
) -> None:
    """OpenSSH would send everything through a shared connection that is open, whoever opened it and however."""
    shared = Path(f"/tmp/{tmp_path.name[-20:]}.mux")  # a socket's name is short
    options = ["-F", "none", "-i", str(debian12.key), "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]
    options += ["-o", "UserKnownHostsFile=/dev/null", "-o", f"ControlPath={shared}"]
    login = f"{debian12.user}@{debian12.address}"
    subprocess.run(["ssh", *options, "-o", "ControlMaster=yes", "-fN", login], check=True, stdin=subprocess.DEVNULL)
    try:
        arguments = f"-o UserKnownHostsFile={known_hosts['empty']} -o GlobalKnownHostsFile=/dev/null"
        variables = {**debian12.inventory_vars(), "ansible_ssh_common_args": f"{arguments} -o ControlPath={shared}"}
        path = tmp_path / "hosts.json"
        path.write_text(json.dumps({"all": {"hosts": {"stranger": variables}}}))
        for transport in ("ssh", "ansible"):
            answer = remediate.check(path, "--transport", transport)
            assert answer.host("stranger")["error"]["kind"] == "host_key", transport
    finally:
        subprocess.run(["ssh", *options, "-O", "exit", login], check=False, capture_output=True)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("broken.yml", "all: [\n", "broken.yml"),
        ("broken.ini", "[all\n", "broken.ini"),
        ("empty.yml", "all: {hosts: {}}\n", "No hosts matched"),
        ("undefined.yml", "all: {hosts: {a: {ansible_host: '{{ nowhere }}'}}}\n", "nowhere"),
        ("port.yml", "all: {hosts: {a: {ansible_port: ssh}}}\n", "ansible_port"),
        ("vaulted.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n", "vaulted.yml"),
        ("script.sh", "#!/bin/sh\nexit 3\n", "script.sh"),
        ("binary", "\x7fELF\x00\x01\x02\x00\x00\n\x00", "binary"),
    ],
)
def test_a_broken_inventory_ends_2_and_is_named(
    remediate: Product, tmp_path: Path, name: str, content: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    path.chmod(0o755 if name.endswith(".sh") else 0o644)
    answer = remediate("apply" if name == "broken.yml" else "check", "-i", str(path))
    assert answer.code == 2, answer.err
    assert said in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err


def test_a_missing_inventory_ends_2_and_is_named(remediate: Product, tmp_path: Path) -> None:
    answer = remediate("check", "-i", str(tmp_path / "hosts.yml"))
    assert answer.code == 2
    assert str(tmp_path / "hosts.yml") in answer.err
    assert "no such inventory" in answer.err


def test_a_pattern_that_matches_no_host_ends_2_and_is_named(remediate: Product, inventory_file: Path) -> None:
    for verb in ("check", "apply"):
        answer = remediate(verb, "-i", str(inventory_file), "-l", "good:misspelt*")
        assert answer.code == 2
        assert "misspelt*" in answer.err
        assert "--limit" in answer.err


@pytest.fixture
def held_commit(debian12: ContainerHost) -> Iterator[ContainerHost]:
    """The good host, set up so that a commit that reloads systemd stays in its middle until it gets SIGCONT."""
    debian12.script(
        "mkdir -p /etc/systemd/system-generators /var/lib/remediator\nchmod 0700 /var/lib/remediator\n" + HOLD
    )
    yield debian12
    debian12.script(UNDO)


def test_a_second_run_on_a_host_ends_5_names_the_first_and_changes_nothing(
    held_commit: ContainerHost, inventory_file: Path, remediate: Product
) -> None:
    first: list[Answer] = []
    apply = ("-l", "good", "--control")
    running = threading.Thread(target=lambda: first.append(remediate.apply(inventory_file, *apply, "3.16")))
    running.start()
    pid = _stopped(held_commit)
    try:
        second = remediate("apply", "--yes", "-i", str(inventory_file), *apply, "3.20")
        mode = held_commit.text("stat", "-c", "%a", "/etc/default/docker")
    finally:
        held_commit.run("rm", "/etc/systemd/system-generators/lab-hold")
        held_commit.run("kill", "-CONT", pid)
        running.join()
    assert first[0].code == 0, first[0].out
    assert (second.code, mode) == (5, "664"), second.out
    assert first[0].document["run"] in second.out
    assert f"process {pid}" in second.out


def _stopped(host: ContainerHost) -> str:
    """The pid of the commit that holds the host's lock, once it stands still."""
    for _ in range(120):
        state = host.script(STATE, check=False)
        words = state.stdout.decode().split()
        if len(words) > 1 and words[1] == "T":
            return words[0]
        time.sleep(0.25)
    raise AssertionError("no commit came to stand in its middle")
