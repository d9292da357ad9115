"""Files that are wrong in every way: refused with the reason and the remedy, unchanged, and nobody else's verdict lost.

A missing audit rules directory is a case of tests/kinds: without a kernel's audit, a container never looks at it.
"""

from __future__ import annotations

import os
import pty
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .hosts.container import ContainerHost, start_docker_host
from .hosts.engine import Engine
from .hosts.interface import inventory
from .hosts.keys import Keys
from .product import REMEDIATE, Answer, Product

OURS = "/var/lib/remediator"
# Where the unit that would recover at boot comes and goes: the times of these directories tell.
BOOT_UNIT = {"/etc/systemd/system", "/etc/systemd/system/sysinit.target.wants"}
DAEMON_JSON = "/etc/docker/daemon.json"
DEFAULTS = "/etc/default/docker"
DROP_IN = "/etc/systemd/system/docker.socket.d"
SECONDS = 30

# What needs daemon.json to be understood.
TLS = [f"docker.files.tls-{what}" for what in ("ca-owner", "ca-mode", "certificate-owner", "key-owner", "key-mode")]

# By name: what puts it in /etc/docker, and words of the reason.
CONFIGURATIONS = {
    "no-json": ("printf '{\"tlsverify\": true' >daemon.json", ("not valid JSON", "correct it")),
    "duplicate-keys": ('printf \'{"tls": true, "tls": false}\' >daemon.json', ('"tls"', "twice", "remove one")),
    "byte-order-mark": ("printf '\\357\\273\\277{}' >daemon.json", ("byte order mark", "remove it")),
    "nested": ("head -c 900000 /dev/zero | tr '\\0' '[' >daemon.json", ("not valid JSON",)),
    "huge": ("head -c 52428800 /dev/zero | tr '\\0' ' ' >daemon.json", ("52428800 bytes", "repair it")),
    "fifo": ("mkfifo daemon.json", ("not a regular file", "repair it")),
    "looping-symlink": ("ln -s daemon.json daemon.json", ("symbolic links",)),
    "symlink-to-secrets": ("ln -s /etc/shadow daemon.json", ("not valid JSON",)),
}

FINGERPRINT = """
find /etc /usr/lib/systemd /run/docker.sock /var/lib/docker -maxdepth 6 -path /var/lib/docker/overlay2 -prune -o \\
    -path /var/lib/docker/containers -prune -o -printf '%p %i %y %m %U %G %s %C@\\n'
"""


@pytest.fixture(scope="module")
def host(engine: Engine, lab_keys: Keys) -> Iterator[ContainerHost]:
    """A Docker host whose environment file anybody in its group may write, and no daemon.json."""
    started = start_docker_host(engine, lab_keys, "debian12", "bad-files")
    # A container's disk copies a directory, and so changes those above it, the first time that anything changes there.
    start = "\n".join(f"mkdir -p {place}\ntouch -r {place} {place}" for place in sorted(BOOT_UNIT))
    started.script(f"{start}\nchmod 0664 {DEFAULTS}")
    yield started
    started.remove()


@pytest.fixture(scope="module")
def hosts_file(host: ContainerHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inventory") / "hosts.yml"
    path.write_text(inventory([host]))
    return path


@pytest.fixture
def daemon_json(host: ContainerHost) -> Iterator[Callable[[str], None]]:
    """Runs a script in /etc/docker; daemon.json is gone afterwards."""

    def run(script: str) -> None:
        host.script(f"cd /etc/docker\n{script}")

    yield run
    host.script(f"chattr -fi {DAEMON_JSON} || true\nrm -rf {DAEMON_JSON} /etc/docker/real.json")


def fingerprint(host: ContainerHost) -> dict[str, str]:
    """Every path that remediator could touch, with what changes when it is touched."""
    lines = host.script(FINGERPRINT).stdout.decode(errors="backslashreplace").splitlines()
    return {path: facts for path, _, facts in (line.partition(" ") for line in lines)}


def reasons(answer: Answer, host: ContainerHost) -> dict[str, str]:
    return {entry["control"]: entry["reason"] for entry in answer.host(host.name)["verdicts"]}


def outcomes(answer: Answer, host: ContainerHost) -> dict[str, tuple[str, str]]:
    return {entry["transaction"]: (entry["outcome"], entry["reason"]) for entry in answer.host(host.name)["outcomes"]}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_daemon_json_that_cannot_be_understood_is_unknown_with_the_reason_and_unchanged(
    host: ContainerHost, hosts_file: Path, remediate: Product, daemon_json: Callable[[str], None], name: str
) -> None:
    script, words = CONFIGURATIONS[name]
    daemon_json(script)
    before = fingerprint(host)
    began = time.monotonic()
    answer = remediate.check(hosts_file)
    assert time.monotonic() - began < SECONDS
    assert answer.code == 3, answer.err
    verdicts = answer.verdicts(host.name)
    why = reasons(answer, host)
    for control in TLS:
        assert verdicts[control] == "unknown"
        for word in (DAEMON_JSON, *words):
            assert word in why[control]
    assert verdicts["docker.files.default-file-mode"] == "drifted"
    assert "Traceback" not in answer.out + answer.err
    assert fingerprint(host) == before


def test_a_symlink_that_leads_to_itself_is_not_taken_for_a_file_that_is_not_there(
    host: ContainerHost, hosts_file: Path, remediate: Product, daemon_json: Callable[[str], None]
) -> None:
    daemon_json("ln -s daemon.json daemon.json")
    answer = remediate.check(hosts_file, "--control", "3.17,3.18")
    assert set(answer.verdicts(host.name).values()) == {"unknown"}
    assert f"{DAEMON_JSON}: too many levels of symbolic links" in reasons(answer, host).values()


def test_no_line_of_a_file_that_daemon_json_leads_to_is_shown_and_its_access_is_left_alone(
    host: ContainerHost, hosts_file: Path, remediate: Product, daemon_json: Callable[[str], None]
) -> None:
    daemon_json("ln -s /etc/shadow daemon.json")
    answer = remediate.check(hosts_file, "-v")
    for line in host.text("cat", "/etc/shadow").splitlines():
        assert line not in answer.out + answer.err
    assert answer.verdicts(host.name)["docker.files.daemon-json-owner"] == "manual"
    assert "/etc/shadow" not in [change["path"] for change in answer.host(host.name)["changes"]]


def test_an_apply_beside_a_broken_daemon_json_changes_only_what_was_decided(
    host: ContainerHost, hosts_file: Path, remediate: Product, daemon_json: Callable[[str], None]
) -> None:
    daemon_json(CONFIGURATIONS["duplicate-keys"][0])
    before = fingerprint(host)
    answer = remediate.apply(hosts_file)
    assert answer.code == 3
    after = fingerprint(host)
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    assert changed - BOOT_UNIT == {DEFAULTS}
    host.run("chmod", "0664", DEFAULTS)


def test_a_daemon_json_that_is_a_symlink_is_changed_where_it_leads_and_stays_one(
    host: ContainerHost, hosts_file: Path, remediate: Product, daemon_json: Callable[[str], None]
) -> None:
    daemon_json("echo '{}' >real.json\nchmod 0666 real.json\nln -s real.json daemon.json")
    answer = remediate.apply(hosts_file, "--control", "3.18")
    assert answer.code == 0, answer.out + answer.err
    assert host.text("stat", "-c", "%a %F", "/etc/docker/real.json") == "644 regular file"
    assert host.text("readlink", DAEMON_JSON) == "real.json"


@dataclass(frozen=True)
class Lock:
    """What keeps everybody from changing daemon.json, and what a preview says of it."""

    script: str
    reason: str


LOCKS = {
    "immutable": Lock(
        f"chattr +i {DAEMON_JSON}",
        "it is immutable or append-only: take that away with chattr if it may change, then check again",
    ),
    "read-only": Lock(
        "mount --bind /etc/docker /etc/docker\nmount -o remount,ro,bind /etc/docker",
        "it lies on a filesystem that is mounted read-only: mount it writable if it may change, then check again",
    ),
}


@pytest.fixture(params=LOCKS)
def lock(request: pytest.FixtureRequest, host: ContainerHost, daemon_json: Callable[[str], None]) -> Iterator[Lock]:
    """A daemon.json that anybody may write, and what will lock it."""
    daemon_json("echo '{}' >daemon.json\nchmod 0666 daemon.json")
    yield LOCKS[request.param]
    host.script("umount /etc/docker 2>/dev/null || true")


def test_a_file_that_nobody_can_change_is_left_to_a_person_with_the_remedy(
    host: ContainerHost, hosts_file: Path, remediate: Product, lock: Lock
) -> None:
    host.script(lock.script)
    before = fingerprint(host)
    answer = remediate.check(hosts_file, "--control", "3.18")
    assert answer.verdicts(host.name) == {"docker.files.daemon-json-mode": "manual"}
    why = reasons(answer, host)["docker.files.daemon-json-mode"]
    assert (DAEMON_JSON in why, lock.reason in why) == (True, True), why
    assert answer.host(host.name)["changes"] == []
    assert remediate.apply(hosts_file, "--control", "3.18").code == 0
    assert fingerprint(host) == before


def test_a_file_that_was_locked_after_the_preview_makes_it_stale_and_nothing_is_touched(
    host: ContainerHost, hosts_file: Path, remediate: Product, lock: Lock
) -> None:
    locked: list[dict[str, str]] = []

    def meanwhile() -> None:
        host.script(lock.script)
        locked.append(fingerprint(host))

    code, said = apply_at_a_terminal(remediate, hosts_file, "3.18", meanwhile)
    assert (code, len(locked)) == (4, 1), said
    assert "stale, untouched" in said
    assert "Traceback" not in said
    assert fingerprint(host) == locked[0]


def apply_at_a_terminal(
    remediate: Product, hosts_file: Path, control: str, meanwhile: Callable[[], None]
) -> tuple[int, str]:
    """An apply by somebody who reads the preview and says yes after `meanwhile`: exit code, and all that it printed."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(remediate.home), "LC_ALL": "C.UTF-8"}
    keyboard, terminal = pty.openpty()
    with subprocess.Popen(
        [str(REMEDIATE), "apply", "-i", str(hosts_file), "--control", control],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**environment, **remediate.environment},
        cwd=remediate.home,
    ) as apply:
        assert apply.stdout is not None
        watchdog = threading.Timer(600, apply.kill)
        watchdog.start()
        try:
            said = b""
            while not said.endswith(b"[y/N] ") and (more := os.read(apply.stdout.fileno(), 65536)):
                said += more
            if said.endswith(b"[y/N] "):
                meanwhile()
            os.write(keyboard, b"y\n")
            said += apply.stdout.read()
            return apply.wait(), said.decode()
        finally:
            watchdog.cancel()
            apply.kill()
            os.close(keyboard)
            os.close(terminal)


@pytest.fixture
def open_socket_unit(host: ContainerHost) -> Iterator[None]:
    """A docker.socket that wants a drop-in."""
    unit = "/usr/lib/systemd/system/docker.socket"
    host.script(f"sed -i s/^SocketMode=.*/SocketMode=0666/ {unit}\nsystemctl daemon-reload")
    yield
    host.script(f"sed -i s/^SocketMode=.*/SocketMode=0660/ {unit}\nsystemctl daemon-reload")


@pytest.mark.usefixtures("open_socket_unit")
def test_a_full_disk_is_refused_with_the_remedy(host: ContainerHost, hosts_file: Path, remediate: Product) -> None:
    full = f"mount -t tmpfs -o size=64k,mode=0755 tmpfs {DROP_IN}\nhead -c 65536 /dev/zero >{DROP_IN}/fill"
    host.script(f"mkdir -p {DROP_IN}\n{full}")
    try:
        outcome, why = refused(host, hosts_file, remediate, "3.16")["docker"]
        assert host.text("ls", "-A", DROP_IN) == "fill"
    finally:
        host.script(f"umount {DROP_IN}\nrmdir {DROP_IN}")
    assert (outcome, DROP_IN in why, "No space left" in why, "make room" in why) == ("refused", True, True, True)


@pytest.mark.usefixtures("open_socket_unit")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"mount -t tmpfs -o size=4k,mode=0700 tmpfs {OURS}\nhead -c 4096 /dev/zero >{OURS}/fill", "No space left"),
        (f"chown plain {OURS}", "belongs to uid"),
    ],
    ids=["full", "anothers"],
)
def test_without_a_directory_of_our_own_nothing_is_changed(
    host: ContainerHost, hosts_file: Path, remediate: Product, script: str, said: str
) -> None:
    host.script(f"mkdir -p -m 0700 {OURS}\n{script}")
    before = fingerprint(host)
    try:
        answer = remediate.apply(hosts_file, "--control", "3.16")
    finally:
        host.script(f"umount {OURS} 2>/dev/null || true\nrm -rf {OURS}")
    error = answer.host(host.name)["error"]
    assert (answer.code, error["kind"]) == (3, "state"), answer.out
    for word in (host.name, OURS, said, "nothing was changed", "run this again"):
        assert word in error["message"]
    assert fingerprint(host) == before


def refused(host: ContainerHost, hosts_file: Path, remediate: Product, control: str) -> dict[str, tuple[str, str]]:
    """The outcomes of an apply of this control, which ends 3 and leaves everything as it was."""
    before = fingerprint(host)
    answer = remediate.apply(hosts_file, "--control", control)
    assert answer.code == 3, answer.out
    assert fingerprint(host) == before
    assert "Traceback" not in answer.out + answer.err
    return outcomes(answer, host)


def test_more_certificates_than_can_be_looked_at_are_unknown_not_compliant(
    host: ContainerHost, hosts_file: Path, remediate: Product
) -> None:
    many = "/etc/docker/certs.d/many"
    host.script(f"mkdir -p {many}\ncd {many}\nseq -f %g.crt 6000 | xargs touch\nchmod 0444 -- *\nchmod 0666 999.crt")
    try:
        answer = remediate.check(hosts_file, "--control", "3.8")
    finally:
        host.run("rm", "-r", "/etc/docker/certs.d")
    assert answer.verdicts(host.name) == {"docker.files.registry-certificates-mode": "unknown"}
    assert "more than 5000" in reasons(answer, host)["docker.files.registry-certificates-mode"]


_SIZE = 1_000_000
# Each takes a YAML library, or a careless pattern, minutes or all memory.
BOMBS = {
    "anchors": "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 60)),
    "flow": "kind: " + "[" * _SIZE,
    "deep": "\n".join(" " * n + "k:" for n in range(1400)),
    "dashes": "- " * (_SIZE // 2),
    "colons": "a: " * (_SIZE // 3),
    "quotes": 'a: "' + '\\"' * (_SIZE // 2),
    "line": "staticPodPath: " + "x" * _SIZE,
    "keys": "".join(f"k{n}: v\n" for n in range(_SIZE // 10)),
    "spaces": " " * _SIZE + "x: y",
    "comment": "a: b " + "#" * _SIZE,
    "merges": "a: &a {b: c}\n" + "<<: *a\n" * (_SIZE // 8),
    "block": "a: |\n" + " \n" * (_SIZE // 2),
}
KUBERNETES_FILES = (
    "/var/lib/kubelet/config.yaml",
    "/etc/kubernetes/kubelet.conf",
    *(f"/etc/kubernetes/manifests/{name}.yaml" for name in ("kube-apiserver", "kube-controller-manager")),
    *(f"/etc/kubernetes/manifests/{name}.yaml" for name in ("kube-scheduler", "etcd")),
)
KUBELET = """
install -d /var/lib/kubelet /etc/kubernetes/manifests
cp "$(readlink -f "$(command -v python3)")" /usr/local/bin/kubelet
cat >/etc/systemd/system/kubelet.service <<'EOF'
[Service]
Environment=PYTHONHOME=/usr
ExecStart=/usr/local/bin/kubelet -c "import time; time.sleep(1e9)" --config=/var/lib/kubelet/config.yaml \\
    --kubeconfig=/etc/kubernetes/kubelet.conf
EOF
systemctl daemon-reload
systemctl start kubelet.service
"""
NO_KUBELET = """
systemctl stop kubelet.service
rm -rf /etc/systemd/system/kubelet.service /usr/local/bin/kubelet /var/lib/kubelet /etc/kubernetes
systemctl daemon-reload
"""


@pytest.fixture(scope="module")
def kubelet(host: ContainerHost) -> Iterator[ContainerHost]:
    """The Docker host with a unit that passes for a kubelet."""
    host.script(KUBELET)
    yield host
    host.script(NO_KUBELET)


@pytest.mark.parametrize("first", range(0, len(BOMBS), len(KUBERNETES_FILES)))
def test_yaml_that_takes_minutes_to_parse_takes_no_time(
    kubelet: ContainerHost, hosts_file: Path, remediate: Product, first: int
) -> None:
    bombs = list(BOMBS.values())[first:]
    for path, bomb in zip(KUBERNETES_FILES, bombs, strict=False):
        kubelet.put(path, bomb.encode()[: 2**20], mode="0666")
    began = time.monotonic()
    answer = remediate.check(hosts_file)
    assert time.monotonic() - began < SECONDS
    assert answer.code == 3, answer.err
    # Who may write the files is decided without reading them.
    assert answer.verdicts(kubelet.name)["kube.files.kubelet-config-mode"] == "drifted"
    assert answer.verdicts(kubelet.name)["docker.files.default-file-mode"] == "drifted"
    assert "Traceback" not in answer.out + answer.err
