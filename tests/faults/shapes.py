"""The shapes of a transaction: each a host, ready, and a request that exercises one way in which commit writes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from remediator.plan import Action, EditSplice, Precondition, Step, Transaction
from tests.faults.scene import Scene
from tests.faults.services import AUDITCTL, BOOT_SETUP, DOCKERD, SYSTEMCTL
from tests.faults.strace import Point, clean_run, faulted
from tests.unit.host.commit.certificates import Key, key_pem, new_key, public_sha256
from tests.unit.host.commit.host import CommitHost, chmod, commit_host, seen, seen_masked, transaction, write

RULE = ("-w", "/usr/bin/runc", "-p", "wa", "-k", "docker")
OTHERS_RULE = ("-w", "/etc/passwd", "-p", "wa", "-k", "identity")
SECRET_CONFIG = b'{"log-opts": {"splunk-token": "hunter2"}, "icc": true}\n'
RESTART = (Step(do="restart", unit="docker.service"),)
ACTIVE = (Step(do="unit_active", unit="docker.service"),)

Prepare = Callable[[CommitHost], Scene]


@dataclass(frozen=True)
class Shape:
    """One of them. `changes`: a run without a fault leaves the host changed."""

    name: str
    prepare: Prepare
    changes: bool = True

    @contextmanager
    def scene(self, parent: str = "/var/cache") -> Iterator[Scene]:
        """A new host of this shape, gone at the end."""
        with commit_host(parent) as host:
            for name in ("bystander", ".daemon.json.bystander.remediator-0123456789ab.old"):
                os.utime(host.file(name, b"somebody's", 0o640, 5, 6), ns=(1_000_000_001, 2_000_000_002))
            yield self.prepare(host)


def dated(path: Path) -> Path:
    """The file, as if written long ago."""
    os.utime(path, ns=(1_111_111_111, 2_222_222_222))
    return path


def write_existing(host: CommitHost) -> Scene:
    path = host.file("daemon.json", b'{"old": 1}\n', 0o640, 0, 7)
    os.setxattr(path, "user.note", b"kept")
    return Scene(host, (transaction(write(dated(path), b'{"new": 1}\n', 0o600)),)).ready()


def write_new(host: CommitHost) -> Scene:
    return Scene(host, (transaction(write(host.files / "daemon.json", b"{}\n")),)).ready()


def edit_masked(host: CommitHost) -> Scene:
    path = dated(host.file("daemon.json", SECRET_CONFIG, 0o600))
    splice = EditSplice(offset=SECRET_CONFIG.index(b"true"), length=4, content=b"false")
    edit = Action(do="edit", path=str(path), splices=(splice,), mode=0o600, uid=0, gid=0)
    return Scene(host, (transaction(edit, preconditions=(seen_masked(path),)),)).ready()


def access(host: CommitHost) -> Scene:
    file = dated(host.file("ca.pem", b"ca\n", 0o4755, 12, 34))
    directory = host.files / "certs.d"
    directory.mkdir(mode=0o755)
    actions = [
        Action(do="chown", path=str(file), uid=0, gid=0),
        chmod(file, 0o444),
        Action(do="chown", path=str(directory), uid=0, gid=5),
        chmod(directory, 0o750),
    ]
    return Scene(host, (transaction(*actions),)).ready()


def make_directory(host: CommitHost) -> Scene:
    directory = host.files / "docker.service.d"
    made = Action(do="mkdir", path=str(directory), mode=0o750, uid=0, gid=5)
    return Scene(host, (transaction(made, write(directory / "a.conf", b"[Service]\n")),)).ready()


def remove(host: CommitHost) -> Scene:
    path = dated(host.file("old.rules", b"rules\n", 0o640, 3, 4))
    return Scene(host, (transaction(Action(do="remove", path=str(path))),)).ready()


def undo(host: CommitHost) -> Scene:
    """What an undo is: a backup restored, and a directory that was made removed with the file that was made in it."""
    path = dated(host.file("daemon.json", b"first\n", 0o640, 0, 7))
    directory = host.files / "new.d"
    made = Action(do="mkdir", path=str(directory), mode=0o755, uid=0, gid=0)
    [done] = host.run(transaction(write(path, b"second\n"), made, write(directory / "made", b"x")))
    assert done["outcome"] == "applied", done
    [backup] = (host.state / "transactions").glob("*/*.before")
    back = Action(do="restore", path=str(path), source=f"{backup.parent.name}/{backup.name}")
    actions = (back, Action(do="remove", path=str(directory / "made")), Action(do="rmdir", path=str(directory)))
    return Scene(host, (transaction(*actions),)).ready()


@lru_cache(maxsize=1)
def controllers_key() -> Key:
    """The key that the controller sends, the same to every host."""
    return new_key()


def key_from_controller(host: CommitHost) -> Scene:
    key = controllers_key()
    path = host.files / "key.pem"
    known = public_sha256(key.public_key())
    install = Action(
        do="install_key", path=str(path), source="controller", public_sha256=known, mode=0o400, uid=0, gid=0
    )
    return Scene(host, (transaction(install),), secret=key_pem(key)).ready()


def make_own_key(host: CommitHost) -> str:
    """Has the host make its key; the digest of its public half."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    [done] = host.run(transaction(Action(do="make_key", subject="web1"), group="tls"))
    assert done["outcome"] == "applied", done
    key = load_pem_private_key((host.state / "tls" / "key.pem").read_bytes(), None)
    return public_sha256(key.public_key())  # type: ignore[arg-type]


def key_from_host(host: CommitHost) -> Scene:
    path = dated(host.file("key.pem", b"somebody's key\n", 0o400))
    known = make_own_key(host)
    install = Action(do="install_key", path=str(path), source="host", public_sha256=known, mode=0o400, uid=0, gid=0)
    identity = seen(path, content=False).model_copy(update={"ctime_ns": path.stat().st_ctime_ns})
    return Scene(host, (transaction(install, preconditions=(identity,)),)).ready()


def make_key(host: CommitHost) -> Scene:
    return Scene(host, (transaction(Action(do="make_key", subject="web1"), group="tls"),)).ready()


def make_key_again(host: CommitHost) -> Scene:
    make_own_key(host)
    return make_key(host)


def audit_rules(host: CommitHost) -> Scene:
    host.program("auditctl", AUDITCTL)
    (host.base / "rules").write_text("-w /etc/passwd -p wa -k identity\n-w /etc/hosts -p wa -k theirs")
    rules = host.files / "50-remediator.rules"
    actions = (
        write(rules, b"-w /usr/bin/runc -p wa -k docker\n", 0o640),
        Action(do="audit_delete", rule=OTHERS_RULE),
        Action(do="audit_add", rule=RULE),
    )
    probe = (Step(do="audit_loaded", rule=RULE),)
    return Scene(host, (transaction(*actions, group="audit", probe=probe),)).ready()


def service(host: CommitHost, new: bytes = b'{"icc": false}\n', *probes: Step) -> Scene:
    """A daemon that is restarted, and remembers the bytes that it was started from."""
    host.program("systemctl", SYSTEMCTL)
    host.program("dockerd", DOCKERD)
    path = dated(host.file("daemon.json", b'{"icc": true}\n'))
    (host.base / "started_from").write_bytes(path.read_bytes())
    validation = (Step(do="json", path=str(path)), Step(do="dockerd", path=str(path)))
    planned = transaction(
        write(path, new), group="docker", validation=validation, activation=RESTART, probe=(*ACTIVE, *probes)
    )
    return Scene(host, (planned,)).ready()


def service_refuses(host: CommitHost) -> Scene:
    """A daemon that does not start with the new bytes: rolled back in mid-way."""
    return service(host, b'{"refused": true}\n')


def several(host: CommitHost) -> Scene:
    return Scene(host, (transaction(*several_actions(host)),)).ready()


def several_actions(host: CommitHost) -> list[Action]:
    """A change of every kind of path, in one directory and below it."""
    config = dated(host.file("etc/daemon.json", b"old " * 30_000, 0o640, 0, 7))
    os.setxattr(config, "user.note", b"kept")
    tool, gone = dated(host.file("etc/tool", b"tool", 0o4755, 12, 34)), dated(host.file("etc/gone", b"gone", 0o600))
    directory = host.files / "etc" / "new.d"
    return [
        write(config, b"new " * 40_000, 0o600),
        Action(do="chown", path=str(tool), uid=0, gid=0),
        chmod(tool, 0o755),
        Action(do="remove", path=str(gone)),
        Action(do="mkdir", path=str(directory), mode=0o700, uid=0, gid=0),
        write(directory / "new", b"x"),
        write(host.files / "etc" / "another", b"y"),
        chmod(host.files / "etc", 0o700),
    ]


def probe_fails(host: CommitHost) -> Scene:
    """Everything is written, then a probe fails: the rollback itself meets the faults."""
    impossible = Step(do="mode_is", path=str(host.file("etc/daemon.json")), mode=1, uid=0, gid=0)
    actions = several_actions(host)
    return Scene(host, (transaction(*actions, probe=(impossible,)),)).ready()


def one_filesystem(host: CommitHost) -> Scene:
    """Where the state directory and the file lie on one mount, backups are hard links."""
    outside = host.base / "var-lib"
    (outside / "docker").mkdir(mode=0o710)
    path = outside / "docker" / "config.json"
    path.write_bytes(b"old\n")
    gone = outside / "docker" / "gone.json"
    gone.write_bytes(b"gone\n")
    actions = (write(dated(path), b"new\n", 0o600), Action(do="remove", path=str(dated(gone))))
    return Scene(host, (moved(transaction(*actions), str(outside), "/var/lib"),)).ready()


def moved(planned: Transaction, outside: str, inside: str) -> Transaction:
    """The transaction with the names that its paths have inside the host."""
    preconditions = tuple(
        found.model_copy(
            update={name: getattr(found, name).replace(outside, inside, 1) for name in ("path", "resolved")}
        )
        for found in planned.preconditions
    )
    actions = tuple(
        action.model_copy(update={"path": (action.path or "").replace(outside, inside, 1)})
        for action in planned.actions
    )
    assert all(isinstance(found, Precondition) for found in preconditions)
    return planned.model_copy(update={"preconditions": preconditions, "actions": actions})


def with_boot_unit(host: CommitHost) -> Scene:
    """Under systemd the boot unit comes and goes with the journal."""
    (host.base / "units" / "sysinit.target.wants").mkdir(parents=True)
    path = dated(host.file("daemon.json"))
    return Scene(host, (transaction(write(path, b"new\n")),), setup=BOOT_SETUP.format(base=host.base)).ready()


def interrupted(prepare: Prepare, call: str) -> Prepare:
    """A host on which a commit was killed at its last `call`, and the request that recovers it."""

    @lru_cache(maxsize=1)
    def last() -> Point:
        with commit_host() as other:
            _, points = clean_run(prepare(other))
        return [point for point in points if point.call == call][-1]

    def ready(host: CommitHost) -> Scene:
        scene = prepare(host)
        process = scene.start(faulted(last(), "signal=KILL")).process
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, "it was not killed"
        scene.request = host.request(do="recover")
        scene.recovering = True
        return scene

    return ready


SHAPES = (
    Shape("write existing", write_existing),
    Shape("write new", write_new),
    Shape("edit masked", edit_masked),
    Shape("chmod and chown", access),
    Shape("mkdir and write in it", make_directory),
    Shape("remove", remove),
    Shape("restore, rmdir, remove", undo),
    Shape("install the host's key", key_from_host),
    Shape("install a key sent", key_from_controller),
    Shape("make the first key", make_key),
    Shape("make another key", make_key_again),
    Shape("audit rules", audit_rules),
    Shape("restart", service),
    Shape("restart that fails", service_refuses, changes=False),
    Shape("several paths", several),
    Shape("several paths, probe fails", probe_fails, changes=False),
    Shape("one filesystem", one_filesystem),
    Shape("with the boot unit", with_boot_unit),
    Shape("recovery of several paths", interrupted(several, "renameat"), changes=False),
    Shape("recovery of a restart", interrupted(service, "renameat"), changes=False),
    Shape("recovery of audit rules", interrupted(audit_rules, "renameat"), changes=False),
    Shape("recovery of another key", interrupted(make_key_again, "renameat"), changes=False),
    Shape("recovery on one filesystem", interrupted(one_filesystem, "renameat"), changes=False),
    Shape("recovery with the boot unit", interrupted(with_boot_unit, "renameat"), changes=False),
)


def shape(name: str) -> Shape:
    """The shape of that name."""
    return next(each for each in SHAPES if each.name == name)


def strace_version() -> str:
    """What strace says of itself. Raises FileNotFoundError where it is not installed."""
    return subprocess.run(["strace", "-V"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
