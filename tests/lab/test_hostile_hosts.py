"""Hosts that lie: nothing they say harms a terminal, a document, another host or its time, and no decoy is believed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from .hosts.container import ContainerHost, start_docker_host
from .hosts.decoys import start_decoys
from .hosts.engine import Engine
from .hosts.interface import inventory
from .hosts.keys import Keys
from .product import Answer, Product

INTERPRETER = "/usr/local/bin/hostile"
PROGRAM = Path(__file__).with_name("hostile_python.py")
DEFAULTS = "/etc/default/docker"

# Controls and what turns text around, in a document or on a terminal; a newline is a line's end.
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

HARMLESS = ("noise", "whispers")
LIARS = ("dies", "lies", "reports", "deep", "number", "wrong_types", "bomb", "damaged", "cut")
ENDLESS = ("chatter", "complains", "silent", "drips")
# Seconds: when the good host must be done, and when the last of the others is given up.
GOOD, LAST = 45.0, 110.0

# A process that root runs under the daemon's name, with a configuration and TLS files that anybody may write.
DECOYS = """
install -d -m 0777 /opt/false /opt/false/tls
cp "$(readlink -f "$(command -v python3)")" /opt/false/dockerd
cp /opt/false/dockerd /opt/false/kube-apiserver
cp /opt/false/dockerd /opt/false/kubelet
printf '{"tlsverify": true, "data-root": "/opt/false", "tlskey": "/opt/false/tls/key.pem"}' >/opt/false/daemon.json
touch /opt/false/tls/ca.pem /opt/false/tls/cert.pem /opt/false/tls/key.pem
chmod 0666 /opt/false/daemon.json /opt/false/tls/*
for each in dockerd kube-apiserver kubelet; do
  systemd-run --quiet --unit="lab-false-$each" --setenv=PYTHONHOME=/usr "/opt/false/$each" \\
    -c 'import time; time.sleep(1e9)' --config-file=/opt/false/daemon.json --config=/opt/false/daemon.json \\
    --tlsverify --tlscacert=/opt/false/tls/ca.pem --tlscert=/opt/false/tls/cert.pem --tlskey=/opt/false/tls/key.pem \\
    --host=unix:///opt/false/docker.sock --data-root=/opt/false --etcd-certfile=/opt/false/tls/cert.pem
done
"""

# Names and text of a real host that are made to harm whoever shows them.
EVIL_FILES = r"""
exec python3 - <<'EOF'
import os
top = b"/etc/docker/certs.d/evil"
os.makedirs(top)
for name in (b"\x1b[2J\x1b]0;PWNED\x07.crt", b"two\nlines.crt", b"\xff\xfe.crt", "\u202egnp.crt".encode(),
             b"[red]PWNED[bold].crt", b"<b>PWNED.crt", b"{{ PWNED }}.crt", b"'; touch PWNED #.crt"):
    path = os.path.join(top, name)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.chmod(path, 0o666)
with open("/etc/passwd", "ab") as file:
    file.write(b"\x1b[31mevil\xe2\x80\xae:x:4712:4712::/:/bin/false\n")
with open("/etc/group", "ab") as file:
    file.write(b"[blink]evil\x1b[5m:x:4712:\n")
os.chown("/etc/default/docker", 4712, 4712)
with open("/etc/docker/daemon.json", "w") as file:
    file.write('{"\\u001b[31mPWNED\\u202e": 1, "\\u001b[31mPWNED\\u202e": 2}')
with open("/root/.bashrc", "wb") as file:
    file.write(b"printf '\\033[31mPWNED\\000\\033]0;PWNED\\007\\n'; printf '\\033[31mPWNED\\n' >&2\n")
EOF
"""
NO_EVIL_FILES = """
rm -rf /etc/docker/certs.d /etc/docker/daemon.json /root/.bashrc
sed -i '/:4712:/d' /etc/passwd /etc/group
chown root:root /etc/default/docker
"""


@pytest.fixture(scope="module")
def host(engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Docker host with something to fix, and the hostile interpreter."""
    started = start_docker_host(engine, lab_keys, "debian12", "hostile")
    started.put(INTERPRETER, PROGRAM.read_bytes(), mode="0755")
    started.script(f"chmod 0664 {DEFAULTS}")
    yield started
    started.remove()


@pytest.fixture(scope="module")
def hosts_file(host: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(inventory([host]))
    return path


@pytest.fixture(scope="module")
def hostile_file(host: ContainerHost, debian12: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hostile host once for each of its manners, once as it is, and a good one between them."""
    manners = [*ENDLESS, *HARMLESS]
    hosts: dict[str, object] = {each: _mannered(host, each) for each in manners}
    hosts |= {"good": debian12.inventory_vars(), "honest": host.inventory_vars()}
    hosts |= {each: _mannered(host, each) for each in LIARS}
    path = tmp_path_factory.mktemp("inventory") / "hosts.json"
    path.write_text(json.dumps({"all": {"hosts": hosts}}))
    return path


def _mannered(host: ContainerHost, mode: str) -> dict[str, object]:
    return {**host.inventory_vars(), "ansible_python_interpreter": f"{INTERPRETER} {mode}"}


def test_no_process_or_container_that_looks_like_a_daemon_changes_a_verdict(
    host: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    before = remediate.check(hosts_file).host(host.name)
    start_decoys(host)
    host.script(DECOYS)
    after = remediate.check(hosts_file).host(host.name)
    assert after == before
    assert "kubernetes" not in after["systems"]
    named = host.text("ps", "-C", "dockerd,etcd,kubelet,kube-apiserver", "-o", "args=").splitlines()
    assert len(named) == 8, "the host's own daemon, its shadows and its nested one were to be seen beside it"


@pytest.fixture
def evil_files(host: ContainerHost) -> Iterator[None]:
    host.script(EVIL_FILES)
    yield
    host.script(NO_EVIL_FILES)


@pytest.mark.usefixtures("evil_files")
def test_names_and_texts_of_a_host_are_harmless_wherever_they_are_shown(
    host: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    swept = remediate.check(hosts_file)
    carried = remediate.check(hosts_file, "--transport", "ansible")
    text = remediate("check", "-i", str(hosts_file), "-v")
    for answer in (swept, carried, text):
        assert answer.code == 3
        assert UNSAFE.findall(answer.out) == []
        assert UNSAFE.findall(answer.err) == []
        assert "Traceback" not in answer.out + answer.err
    assert swept.host(host.name) == carried.host(host.name)
    assert r"\x1b[31mevil\u202e" in text.out
    for shown in ("[red]PWNED[bold].crt", "<b>PWNED.crt", "{{ PWNED }}.crt"):
        assert f"/etc/docker/certs.d/evil/{shown}" in text.out
        assert f"/etc/docker/certs.d/evil/{shown}" in [change["path"] for change in swept.host(host.name)["changes"]]
    # What cannot be shown as it is is not changed unseen.
    assert swept.verdicts(host.name)["docker.files.registry-certificates-mode"] == "drifted"
    changed = {change["path"] for change in swept.host(host.name)["changes"] if "certs.d" in change["path"]}
    assert len(changed) == 4


@dataclass(frozen=True)
class Run:
    """A check of all manners at once."""

    answer: Answer
    seconds: float
    good: float
    """How many seconds after its start the good host was last heard of."""


@pytest.fixture(scope="module")
def runs(hostile_file: Path, debian12: ContainerHost, remediate: Product) -> dict[str, Run]:
    """By carrier; both at the same time, because each waits for hosts that never end."""
    began = time.time()

    def check(*words: str) -> tuple[Answer, float]:
        answer = remediate.check(hostile_file, *words)
        return answer, time.time() - began

    with ThreadPoolExecutor() as pool:
        swept = pool.submit(check, "--transport", "ssh")
        carried = pool.submit(check, "--transport", "ansible", "-e", "remediator_timeout=30")
    log = debian12.text("journalctl", "-u", "ssh", "-o", "short-unix", "--since", f"@{began:.0f}")
    closed = [float(line.split()[0]) - began for line in log.splitlines() if "session closed for user root" in line]
    ended = max(at for at in closed if at < swept.result()[1])
    return {name: Run(*each.result(), ended) for name, each in (("ssh", swept), ("ansible", carried))}


@pytest.fixture(params=["ssh", "ansible"])
def run(request: pytest.FixtureRequest, runs: dict[str, Run]) -> Run:
    return runs[request.param]


@pytest.mark.parametrize("mode", [*LIARS, *ENDLESS])
def test_an_answer_that_cannot_be_used_is_that_hosts_error_alone(run: Run, mode: str) -> None:
    error = run.answer.host(mode)["error"]
    assert error["kind"] == "answer" or mode == "reports", error
    assert error["message"].startswith(f"{mode}: ")
    assert "Look at" in error["message"] or mode == "reports"
    assert set(run.answer.verdicts(mode).values()) == {"unknown"}
    assert run.answer.host(mode)["changes"] == []
    assert UNSAFE.findall(error["kind"] + error["message"]) == []


def test_hostile_answers_end_3_and_put_nothing_unsafe_into_the_document(run: Run) -> None:
    assert run.answer.code == 3, run.answer.err
    assert UNSAFE.findall(run.answer.out) == []
    assert UNSAFE.findall(run.answer.err) == []
    assert "Traceback" not in run.answer.err
    assert UNSAFE.findall("".join(strings(run.answer.document)).replace("\n", "")) == []


def strings(value: object) -> Iterator[str]:
    """Every string of a JSON value, after its escapes were undone."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from strings(item)


def test_noise_around_an_answer_changes_nothing_in_it(run: Run) -> None:
    noisy = {**run.answer.host("noise"), "host": "honest"}
    assert noisy == run.answer.host("honest")


def test_a_well_formed_lie_has_one_verdict_a_control_like_any_answer(run: Run) -> None:
    assert run.answer.host("whispers")["error"] is None
    assert list(run.answer.verdicts("whispers")) == list(run.answer.verdicts("honest"))


def test_hostile_hosts_neither_disturb_nor_delay_a_good_one(
    run: Run, hostile_file: Path, remediate: Product, debian12: ContainerHost
) -> None:
    assert run.answer.host("good") == remediate.check(hostile_file, "-l", "good").host("good")
    assert run.good < GOOD
    assert run.seconds < LAST


def test_no_connection_to_a_host_that_never_ends_is_left_open(runs: dict[str, Run], host: ContainerHost) -> None:
    assert runs
    for _ in range(50):
        left = [line for line in _commands() if line.startswith("ssh\0") and f"\0{host.address}\0" in line]
        if not left:
            return
        time.sleep(0.2)
    raise AssertionError(left)


def _commands() -> Iterator[str]:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield entry.read_text(errors="replace")
        except OSError:
            continue


def test_a_host_that_claims_what_it_did_not_do_is_not_believed(
    host: ContainerHost, remediate: Product, tmp_path: Path
) -> None:
    answer = applied(host, remediate, tmp_path, "pretends")
    assert answer.code == 1, answer.err
    after = {entry["control"]: entry["verdict"] for entry in answer.host("pretends")["after"]["verdicts"]}
    assert after["docker.files.default-file-mode"] == "drifted"


def test_a_host_that_is_never_heard_of_again_in_a_commit_is_unreported(
    host: ContainerHost, remediate: Product, tmp_path: Path
) -> None:
    answer = applied(host, remediate, tmp_path, "deserts")
    assert answer.code == 3, answer.err
    # What was held back for want of consent was never sent.
    [outcome] = [each for each in answer.host("deserts")["outcomes"] if each["outcome"] != "held"]
    assert outcome["outcome"] == "unreported"
    assert "check this host" in outcome["reason"]


def applied(host: ContainerHost, remediate: Product, tmp_path: Path, mode: str) -> Answer:
    """An apply on the host in this manner; nothing was changed on it, and nothing unsafe is shown."""
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps({"all": {"hosts": {mode: _mannered(host, mode)}}}))
    answer = remediate.apply(path)
    assert host.text("stat", "-c", "%a", DEFAULTS) == "664"
    assert UNSAFE.findall(answer.out) == []
    assert UNSAFE.findall(answer.err) == []
    return answer
