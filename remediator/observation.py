"""The typed view of what observe returned for one host.

Host text is bounded and normalised here, once: whatever passes this file can be shown, stored and compared. Lists are
bounded above what observe itself answers, so that a hostile host cannot hold up the deciding. Bytes travel as base64.
The same document is the fixture format of `tests/kinds/`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from remediator.errors import HostError
from remediator.host_values import Base64Bytes, HostDocument, HostText
from remediator.own_records import OwnState, OwnTransactions
from remediator.text import is_plain, one_line

FORMAT_VERSION = 1
# A whole answer: 64 MiB of JSON. The sweep stops reading there.
MAX_ANSWER = 64 * 1024 * 1024


class FileFacts(HostDocument):
    """One path. `type` is what lstat says of the path itself; a symlink's target stands under its own path."""

    type: Literal["missing", "file", "directory", "symlink", "socket", "fifo", "block", "char", "unreadable"]
    mode: int = 0  # permission bits with setuid, setgid and sticky: 0 to 0o7777
    uid: int = 0
    gid: int = 0
    user: HostText | None = None  # name of uid on the host, null when it has none
    group: HostText | None = None
    group_members: int = 0  # users other than root that have gid as primary or supplementary group
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    ino: int = 0
    dev: int = 0
    nlink: int = 1
    resolved: str | None = None  # realpath; null when it does not resolve
    error: HostText | None = None  # why it could not be stat'ed or read, e.g. "larger than 1048576 bytes"
    content: Base64Bytes | None = None  # masked at equal length where `masked` is not empty
    sha256: str | None = None  # of `content` as it stands here: never of what a mask hides
    masked: tuple[tuple[int, int], ...] = ()  # byte offset and length of each masked span
    untrusted_ancestors: Annotated[
        tuple[HostText, ...], Field(max_length=200)
    ] = ()  # directories above it that a user other than root can write
    mount_point: bool = False
    read_only: bool = False  # its filesystem is mounted read-only
    immutable: bool = False  # chattr +i or +a
    acl: bool = False  # has a POSIX access ACL: the group bits of mode are the ACL's mask
    public_sha256: str | None = None  # of a private key's public half (SubjectPublicKeyInfo, DER), where asked for
    key_problem: HostText | None = None  # why there is no such digest: encrypted, no private key, no openssl here
    plain: bool = True  # false: the real name has bytes or characters that cannot be shown as they are


class ReferencePath(HostDocument):
    """One path that a reference stands for, and where that was read (`daemon.json tlscacert`, `unit ExecStart`)."""

    path: str
    source: HostText


class Reference(HostDocument):
    """What a symbolic path (`@docker.tlscacert`) stands for on this host.

    `resolved`: `paths` holds every path, present or not. `absent`: there is no such thing here, `reason` says why.
    `unknown`: it could not be found out, `reason` says why. `managed`: the paths are right but another program writes
    those files again, so only that program's configuration can change them: `reason` names it.
    """

    status: Literal["resolved", "absent", "unknown", "managed"]
    paths: tuple[ReferencePath, ...] = Field(default=(), max_length=10_000)
    reason: HostText = ""


class Unit(HostDocument):
    """Properties of one unit, as `systemctl show` prints them; `load` is `not-found` where there is none."""

    load: HostText
    active: HostText = "inactive"
    main_pid: int = 0
    fragment: HostText | None = None
    drop_ins: tuple[HostText, ...] = ()
    need_daemon_reload: bool = False
    state_changed_ns: int | None = None  # since 1970, by the host's clock: the end of its last start, stop or reload
    properties: dict[str, HostText] = Field(default_factory=dict)


class Component(HostDocument):
    """A running component, identified by its unit or its static pod, never by its process name.

    `argv` has the values of options that hold secrets masked.
    """

    pid: int
    exe: HostText | None = None
    argv: tuple[HostText, ...] = ()
    how: Literal["unit", "static_pod"]
    source: HostText  # the unit's name or the manifest's path
    uid: int = 0
    replaced: bool = False  # of a unit's: the file of its program was taken away or replaced since it started
    started_ns: int | None = None  # since 1970, by the host's clock; null where it was not seen


class System(HostDocument):
    """Whether Docker, Kubernetes or one of their parts is on this host, and how that was recognised."""

    present: bool
    reason: HostText


class Container(HostDocument):
    """One container of the host's daemon. Its environment, command and arguments never leave the host."""

    id: HostText
    name: HostText
    state: HostText  # running, exited, restarting, paused, created, dead
    restart_policy: HostText = "no"
    auto_remove: bool = False


_Texts = Annotated[tuple[HostText, ...], Field(max_length=2000)] | None


class DaemonSettings(HostDocument):
    """What the running daemon says of its own settings (GET /info), its own additions included.

    Null where it does not tell, or answers in a shape that is not Docker's. Secrets are masked on the host.
    """

    storage_driver: HostText | None = None
    log_driver: HostText | None = None
    cgroup_driver: HostText | None = None
    default_runtime: HostText | None = None
    init_binary: HostText | None = None
    live_restore: bool | None = None
    debug: bool | None = None
    experimental: bool | None = None
    labels: _Texts = None
    runtimes: _Texts = None  # names
    registry_mirrors: _Texts = None
    insecure_registries: _Texts = None  # hosts and networks
    authorization_plugins: _Texts = None
    address_pools: _Texts = None  # `BASE SIZE`
    security_options: _Texts = None  # `name=seccomp,profile=builtin`, `name=userns`...


class DockerFacts(HostDocument):
    """What the daemon itself answers on its socket (GET /info, /version, /containers). `error`: why there is none."""

    error: HostText | None = None
    data_root: HostText | None = None
    configured_root: HostText | None = None  # where the data-root of daemon.json really is, symlinks followed
    server_version: HostText | None = None
    live_restore: bool = False
    swarm: HostText = "inactive"
    settings: DaemonSettings | None = None
    containers: tuple[Container, ...] = ()


class Listener(HostDocument):
    """One TCP address on which the running daemon listens for its API, and how it answers a caller without certificate.

    `speaks` is `plain` (HTTP), `tls` (it serves anybody over TLS), `mutual_tls` (it refuses who has no certificate), or
    `nothing` where it answered neither in time. `certificate` is what it presented, in DER. `authorities` are the names
    (DER) of the CAs whose clients it says it takes, at most 100: those that its process read when it started. None
    where it did not say.
    """

    address: HostText  # as the kernel has it: 0.0.0.0, ::, 192.0.2.7
    port: int = Field(ge=1, le=65535)
    speaks: Literal["plain", "tls", "mutual_tls", "nothing"]
    certificate: Base64Bytes | None = None
    authorities: Annotated[tuple[Base64Bytes, ...], Field(max_length=100)] | None = None


class ClientContext(HostDocument):
    """A context of the Docker CLI in a user's home directory (docker context)."""

    name: HostText
    address: HostText  # its docker endpoint's Host
    skip_verify: bool = False
    key: HostText | None = None  # path of its private key


class DockerClient(HostDocument):
    """How one user of the host has set up the Docker CLI: what lies in `~/.docker`, and nothing of its content."""

    user: HostText
    uid: int
    directory: HostText  # ~/.docker
    key: HostText | None = None  # ~/.docker/key.pem where it is there; its facts stand under files
    current_context: HostText = ""
    contexts: Annotated[tuple[ClientContext, ...], Field(max_length=100)] = ()


class SudoLine(HostDocument):
    """One line of the sudoers policy: `Defaults` that say which variables sudo keeps, or `@includedir DIRECTORY`."""

    path: HostText
    line: int
    text: HostText


class LoginEnvironment(HostDocument):
    """Who hands the assignments of /etc/environment on, and what sudo keeps, from the programs' own files.

    `sudo` is `absent` where it is not installed, `unreadable` where `sudo_problem` says why its policy is not known.
    """

    pam: dict[HostText, bool] = Field(default_factory=dict, max_length=20)  # configured services: whether they read it
    environment_d: bool | None = None  # systemd's user managers read it by environment.d(5); null without systemd
    sudo: Literal["absent", "unreadable", "read"]
    sudo_problem: HostText = ""
    sudo_lines: Annotated[tuple[SudoLine, ...], Field(max_length=250)] = ()  # in the order in which sudo takes them


class AuditFacts(HostDocument):
    """The kernel's audit rules and state, and what loads them at boot.

    `scope` is `kernel` where auditctl answered, `container` where the host is in a container or another PID namespace
    and the kernel refuses, `denied` without root, `absent` where auditctl is not installed, `error` else.
    """

    scope: Literal["kernel", "container", "denied", "absent", "error"]
    error: HostText | None = None
    enabled: int | None = None  # 0 off, 1 on, 2 immutable until reboot (auditctl -s)
    loaded: tuple[HostText, ...] = Field(default=(), max_length=20_000)  # lines of auditctl -l
    rules_directory: bool = False  # /etc/audit/rules.d exists
    rules_files: tuple[str, ...] = Field(
        default=(), max_length=1000
    )  # its *.rules in the order in which augenrules joins them; contents under files
    loader: HostText | None = None  # the unit that loads them at boot: auditd.service or audit-rules.service
    rule_paths: dict[str, bool] = Field(default_factory=dict)  # paths and parents that rules name: is it there now
    rule_directories: tuple[str, ...] = ()  # those of them that are directories
    boot_directories: tuple[str, ...] = ()  # directories below /run that tmpfiles.d makes before rules are loaded
    disk_full_action: HostText | None = None  # auditd.conf
    disk_error_action: HostText | None = None
    admin_space_left_action: HostText | None = None


class HostFacts(HostDocument):
    """The host itself."""

    python: HostText
    uid: int  # effective user id that observed: 0 sees everything
    clock_ns: int | None = None  # its clock as it was observed, since 1970
    kernel: HostText = ""
    os: HostText = ""  # ID of os-release: debian, ubuntu, rhel...
    os_version: HostText = ""
    boot_id: HostText = ""
    container: HostText | None = None  # what kind of container the host is itself, as its init recorded it
    init: HostText = ""  # comm of PID 1


class Observation(HostDocument):
    """Everything that observe answered for one host."""

    format_version: Literal[1]
    host: HostFacts
    systems: dict[HostText, System] = Field(
        default_factory=dict, max_length=100
    )  # docker, kubernetes, etcd, kubelet, kube-proxy...
    files: dict[str, FileFacts] = Field(default_factory=dict, max_length=25_000)
    references: dict[HostText, Reference] = Field(default_factory=dict, max_length=1000)
    units: dict[HostText, Unit] = Field(default_factory=dict, max_length=1000)
    components: dict[HostText, Annotated[tuple[Component, ...], Field(max_length=100)]] = Field(
        default_factory=dict, max_length=100
    )
    users: dict[HostText, int] = Field(
        default_factory=dict, max_length=100_000
    )  # local accounts (/etc/passwd): name to uid
    groups: dict[HostText, int] = Field(
        default_factory=dict, max_length=100_000
    )  # local groups (/etc/group): name to gid
    packages: dict[str, HostText | None] = Field(default_factory=dict)  # version, null when not installed
    docker: DockerFacts | None = None
    docker_listeners: Annotated[tuple[Listener, ...], Field(max_length=100)] | None = None  # null: it was not seen
    docker_cli: HostText | None = None  # version of the Docker CLI, null where it is not installed or not asked for
    docker_clients: Annotated[tuple[DockerClient, ...], Field(max_length=1000)] = ()
    login_environment: LoginEnvironment | None = None
    audit: AuditFacts | None = None
    state: OwnState | None = None  # null: not known to the version that answered
    transactions: OwnTransactions | None = None  # null: not asked for
    problems: Annotated[tuple[HostText, ...], Field(max_length=1000)] = ()  # what observe itself could not do, for -v


_SUSPECT = re.compile(rb"\\u(?:00[01]|d[89a-fA-F]|D[89a-fA-F])|[\x00-\x08\x0b\x0c\x0e-\x1f]")
_LONE = re.compile("[\ud800-\udfff]")


def parse_observation(host: str, answer: bytes) -> Observation:
    """The observation in `answer`, the JSON bytes that observe printed on `host`.

    Raises HostError (`answer`) when it is no such document, whatever a hostile host made of it.
    """
    import json

    try:
        if _SUSPECT.search(answer) is None:
            return _with_resolved(Observation.model_validate_json(answer))
        return _with_resolved(Observation.model_validate(_repaired(json.loads(answer.decode("utf-8", "replace")))))
    except (ValidationError, ValueError, RecursionError) as error:
        raise HostError(
            host,
            "answer",
            f"{host}: the answer is no observation document ({_first_line(error)}). Nothing was decided or changed "
            "there. Look at what runs on the host in place of its Python, and at its login scripts.",
        ) from None


def _with_resolved(seen: Observation) -> Observation:
    """The observation with each file also under its resolved path (a file below a linked directory has two)."""
    for facts in list(seen.files.values()):
        if facts.resolved is not None and facts.type not in ("symlink", "missing"):
            seen.files.setdefault(facts.resolved, facts)
    return seen


def _repaired(value: Any) -> Any:
    """JSON values with lone surrogates replaced, so that the strict parser takes them and `plain` can catch them."""
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_repaired(item) for item in value]
    if isinstance(value, dict):
        return {_repaired(key): _repaired(item) for key, item in value.items()}
    return value


def _first_line(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        return one_line(f"{where}: {first['msg']}", 200)
    return one_line(str(error), 200)


def path_is_plain(path: str, facts: FileFacts) -> bool:
    """Whether `path` can be shown as it is, so that a preview names exactly what a commit would touch."""
    return facts.plain and path.startswith("/") and "\ufffd" not in path and is_plain(path)
