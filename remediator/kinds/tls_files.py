"""The files of a daemon's TLS: what is wrong with those that it has, what the controller could put in their place.

Both kinds of the daemon's TLS stage the same edits from here, so that whichever is permitted gives the same diff.
cryptography is loaded where there is a certificate to look at, and not before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from remediator.dockerd import DaemonConfiguration
from remediator.host.commit.roots import is_normal_path
from remediator.kinds.interface import Parameters, Scope
from remediator.kinds.obstacle import access_obstacle, edit_obstacle
from remediator.observation import FileFacts
from remediator.overlay import Overlay, StagedKey
from remediator.request import Needs
from remediator.surroundings import Material
from remediator.text import one_line

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

GROUP = "docker"
# Where commit keeps the key that the host made for itself, until it is installed.
STAGED_KEY = "/var/lib/remediator/tls/key.pem"
DEFAULT_DIRECTORY = "/etc/docker/tls"
WAITS_FOR = "a certificate: remediate tls issue, or docker_tls_cert_file"
_SOON = timedelta(days=30)
_NOT_YET = timedelta(0)
_NAMES = {"tlscacert": "ca.pem", "tlscert": "cert.pem", "tlskey": "key.pem"}
_ROOT = ("root", 0)
# What observe says of a key that is there, can be read, and can serve no daemon. Anything else is just not known.
_USELESS_KEYS = ("it is encrypted", "it is no private key")


class TlsParameters(Parameters):
    """The role variables that hold the wanted addresses, and the directory for files that the daemon does not name."""

    listen: str
    directory: str


@dataclass(frozen=True)
class TlsPaths:
    """Where the daemon's CA certificate, its own certificate and its key are, or will be."""

    authority: str
    certificate: str
    key: str

    @property
    def all(self) -> tuple[str, str, str]:
        """The three paths."""
        return (self.authority, self.certificate, self.key)


@dataclass(frozen=True)
class Judged:
    """What is wrong with the files that a daemon has, in sentences.

    `wrong`: only other files help; `ending`: they soon will be; `loose`: others than root can write the CA's;
    `unknown`: what could not be found out. `chain` and `authorities` are the certificates, none where they cannot be
    read.
    """

    wrong: tuple[str, ...]
    ending: tuple[str, ...]
    loose: tuple[str, ...]
    unknown: tuple[str, ...]
    chain: tuple[Certificate, ...] = ()
    authorities: tuple[Certificate, ...] = ()
    fingerprint: str = ""  # of the daemon's own certificate, empty where there is none

    @property
    def sound(self) -> bool:
        """Whether a daemon starts with these files today and its clients trust it."""
        return not (self.wrong or self.unknown)


@dataclass(frozen=True)
class Offer:
    """What the controller could install: `material` and, where the host has another key, `key`.

    Without material `why_not` says what is in the way (empty where there just is none), `waits_for` what would help.
    """

    material: Material | None = None
    key: StagedKey | None = None
    why_not: str = ""
    waits_for: str = WAITS_FOR


def tls_file_needs() -> Needs:
    """What must be observed of the files, named by the daemon or not, and of the directories above them."""
    named = Needs.of(["@docker.tlskey", STAGED_KEY], "docker_tls", contents=["@docker.tlscacert", "@docker.tlscert"])
    return named | directory_needs(DEFAULT_DIRECTORY)


def own_directory_needs(parameters: Parameters, variables: Mapping[str, object]) -> Needs:
    """What must be observed of the directory that a host's variable names in place of the usual one."""
    assert isinstance(parameters, TlsParameters)  # noqa: S101 - narrows for mypy: the catalogue made it
    value = variables.get(parameters.directory)
    directory = value.rstrip("/") if isinstance(value, str) else ""
    if directory in ("", DEFAULT_DIRECTORY) or not is_normal_path(directory):
        return Needs()
    return directory_needs(directory)


def directory_needs(directory: str) -> Needs:
    """What must be observed so that the files can be put into `directory`, which may have to be made first."""
    above = [directory[:end] for end, character in enumerate(directory) if character == "/" and end]
    contents = [f"{directory}/{_NAMES[option]}" for option in ("tlscacert", "tlscert")]
    return Needs.of([*above, directory, f"{directory}/{_NAMES['tlskey']}"], contents=contents)


def tls_paths(configuration: DaemonConfiguration, scope: Scope, directory: str) -> TlsPaths:
    """The files that the daemon names, else those that it looks for unasked, else the ones in `directory`."""
    paths = []
    for option, name in _NAMES.items():
        given = configuration.option(option)
        reference = scope.seen.references.get(f"@docker.{option}")
        if given is not None and given.value:
            paths.append(str(given.value))
        elif configuration.tls and reference is not None and len(reference.paths) == 1:
            paths.append(reference.paths[0].path)
        else:
            paths.append(f"{directory}/{name}")
    return TlsPaths(*paths)


def judge(paths: TlsPaths, scope: Scope) -> Judged:
    """What is wrong with the files at `paths`."""
    wrong: list[str] = []
    unknown: list[str] = []
    read: dict[str, bytes] = {}
    for path in (paths.authority, paths.certificate):
        facts = _followed(path, scope)
        if facts is not None and facts.type == "file" and facts.content is not None:
            read[path] = facts.content
        elif facts is None or facts.type == "missing":
            wrong.append(f"{one_line(path, 300)} {'was not looked at' if facts is None else 'is not there'}")
        else:
            unknown.append(f"{one_line(path, 300)}: {_unread(facts)}")
    present = Judged((), (), _loose(paths.authority, scope), ())
    if not (wrong or unknown):
        present = _judge_certificates(present, paths, read[paths.certificate], read[paths.authority], scope)
    wrong_key, unknown_key = _key_faults(paths, present.chain, scope)
    return replace(present, wrong=(*wrong, *present.wrong, *wrong_key), unknown=(*unknown, *unknown_key))


def _judge_certificates(present: Judged, paths: TlsPaths, chain: bytes, authority: bytes, scope: Scope) -> Judged:
    """With what is wrong with the certificates themselves."""
    from remediator.tls.certificates import UnreadableError, faults, fingerprint, read_chain

    around = scope.surroundings
    names = around.names
    if around.any_name:
        borne = [each for each in names if not faults(chain, authority, (each,), around.now, "server", _NOT_YET)]
        names = tuple(borne) or names
    now, later = (faults(chain, authority, names, around.now, "server", soon) for soon in (_NOT_YET, _SOON))
    name = one_line(paths.certificate, 300)
    wrong = tuple(f"the certificate {name} {fault}" for fault in now)
    ending = tuple(f"the certificate {name} {fault}" for fault in later if fault not in now)
    try:
        certificates, authorities = read_chain(chain), read_chain(authority)
    except UnreadableError:  # among the faults already
        return replace(present, wrong=wrong)
    return Judged(wrong, ending, present.loose, (), certificates, authorities, fingerprint(certificates[0]))


def offer(paths: TlsPaths, scope: Scope) -> Offer:
    """What of the controller's could be installed at `paths` on this host, or why nothing can."""
    around = scope.surroundings
    material = around.material
    if around.problem:
        return Offer(why_not=one_line(around.problem, 1000), waits_for="a certificate that can be used")
    if material is None:
        return Offer()
    from remediator.tls.certificates import faults

    found = faults(material.certificate, material.authority, around.names, around.now, "server", _NOT_YET)
    if found:
        return Offer(why_not=f"the certificate that the controller holds {'; '.join(found)}")
    configured = _followed(paths.key, scope)
    if configured is not None and configured.public_sha256 == material.public_sha256:
        return Offer(material)
    staged = scope.seen.files.get(STAGED_KEY)
    if material.source == "host" and (staged is None or staged.public_sha256 != material.public_sha256):
        why_not = "the key of the certificate that the controller holds is not on this host any more"
        return Offer(why_not=why_not, waits_for="remediate tls issue")
    if configured is not None and configured.type == "file" and configured.key_problem not in (None, *_USELESS_KEYS):
        # Which key is there would not be known afterwards either.
        return Offer(why_not=f"{one_line(paths.key, 300)}: {configured.key_problem}", waits_for="openssl on the host")
    return Offer(material, StagedKey(material.source, material.public_sha256))


def is_due(present: Judged, offered: Offer) -> bool:
    """Whether what the controller offers shall replace the present files.

    The user's own files always shall where they differ, and so shall those of another CA; the private CA's where the
    present ones are faulty or end sooner: what was renewed from elsewhere stays. What is there and could not be read
    is never replaced.
    """
    material = offered.material
    if material is None or (present.unknown and not present.chain):
        return False
    from remediator.tls.certificates import read_chain

    if set(present.authorities) != set(read_chain(material.authority)):
        return True
    if offered.key is None and present.chain == read_chain(material.certificate):
        return False
    own = material.source == "controller"
    return own or bool(present.wrong) or material.expires > present.chain[0].not_valid_after_utc


def install(control: str, paths: TlsPaths, offered: Offer, scope: Scope, overlay: Overlay) -> str:
    """Stage what is offered at `paths`; or return why a person must put it there, with nothing staged."""
    from remediator.tls.certificates import describe, read_chain

    material = offered.material
    assert material is not None  # noqa: S101 - narrows for mypy: what is due has material
    authority = tuple(line for each in read_chain(material.authority) for line in describe(each))
    written = [
        (path, content, details)
        for path, content, details in (
            (place(paths.authority, overlay), material.authority, authority),
            (place(paths.certificate, overlay), material.certificate, material.details),
        )
        if not _holds(overlay, path, content)
    ]
    key = place(paths.key, overlay)
    touched = [path for path, _, _ in written] + ([key] if offered.key is not None else [])
    directories: dict[str, None] = {}
    for path in touched:
        obstacle = _obstacle(path, path == key, scope, overlay, directories)
        if obstacle:
            return obstacle
    for directory in directories:
        if directory not in overlay.files:
            overlay.make_directory(control, GROUP, directory, 0o755)
    for path, content, details in written:
        overlay.write(control, GROUP, path, content, 0o444, details)
        overlay.set_access(control, GROUP, path, mode=overlay.mode(path) & 0o444, owner=_ROOT, group_owner=_ROOT)
    if offered.key is not None:
        where = "made on this host" if offered.key.source == "host" else "from the controller"
        said = f"public half sha256:{offered.key.public_sha256}; {where}"
        overlay.install_key(control, GROUP, key, offered.key, 0o400, (said,))
    return ""


def close_authority(control: str, path: str, scope: Scope, overlay: Overlay) -> str:
    """Stage that only root can write the CA's file; or return why a person must see to that, with nothing staged."""
    facts = _followed(path, scope)
    if facts is None:
        return f"{path}: the host did not answer"
    real = facts.resolved or path
    obstacle = access_obstacle(real, facts, scope, overlay)
    if obstacle:
        return f"{one_line(real, 300)}: {obstacle}"
    depth = len(facts.untrusted_ancestors)
    group = f"files-{depth + 1}" if depth else "files"
    overlay.set_access(control, group, real, mode=overlay.mode(real) & 0o444, owner=_ROOT, group_owner=_ROOT)
    return ""


def _followed(path: str, scope: Scope) -> FileFacts | None:
    facts = scope.seen.files.get(path)
    if facts is not None and facts.type == "symlink" and facts.resolved is not None:
        return scope.seen.files.get(facts.resolved)
    return facts


def place(path: str, overlay: Overlay) -> str:
    """`path` as every other control that changes the same file calls it: resolved, where the file is there."""
    facts = overlay.seen.files.get(path)
    return facts.resolved or path if facts is not None and facts.type == "file" else path


def _unread(facts: FileFacts) -> str:
    return facts.error or ("its content did not come" if facts.type == "file" else f"it is a {facts.type}")


def _key_faults(paths: TlsPaths, chain: tuple[Certificate, ...], scope: Scope) -> tuple[list[str], list[str]]:
    """What is wrong with the key, and what is not known of it."""
    name = one_line(paths.key, 300)
    facts = _followed(paths.key, scope)
    if facts is None or facts.type == "missing":
        return [f"{name} {'was not looked at' if facts is None else 'is not there'}"], []
    if facts.key_problem in _USELESS_KEYS:
        return [f"{name} is of no use to the daemon: {facts.key_problem}"], []
    if facts.public_sha256 is None:
        return [], [f"{name}: {facts.key_problem or _unread(facts)}"]
    if not chain:
        return [], []
    from remediator.tls.certificates import public_sha256

    try:
        fits = public_sha256(chain[0]) == facts.public_sha256
    except Exception:  # noqa: BLE001 - a certificate's key that cannot be read is fitted by none
        fits = False
    return ([] if fits else [f"{name} is not the key of {one_line(paths.certificate, 300)}"]), []


def _loose(path: str, scope: Scope) -> tuple[str, ...]:
    """Who else than root can write the CA's file, or put another in its place."""
    link = scope.seen.files.get(path)
    facts = _followed(path, scope)
    if link is None or facts is None or facts.type != "file":
        return ()
    name = one_line(path, 300)
    found = []
    if facts.uid != 0:
        found.append(f"{name} belongs to {facts.user or facts.uid}, who can make the daemon trust other clients")
    if facts.mode & 0o022:
        found.append(f"{name} has mode {facts.mode:04o}: others than root can make the daemon trust other clients")
    above = dict.fromkeys((*link.untrusted_ancestors, *facts.untrusted_ancestors))
    if above:
        found.append(f"{name} lies below {one_line(next(iter(above)), 300)}, which others than root can write")
    return tuple(found)


def _holds(overlay: Overlay, path: str, pem: bytes) -> bool:
    """Whether `path` has these certificates already, whatever else stands in the file."""
    from remediator.tls.certificates import UnreadableError, read_chain

    content = overlay.content(path)
    if content is None:
        return False
    try:
        return content == pem or read_chain(content) == read_chain(pem)
    except UnreadableError:
        return False


def _obstacle(path: str, is_key: bool, scope: Scope, overlay: Overlay, directories: dict[str, None]) -> str:
    """Why one of our files cannot be written at `path`; adds the directories that must be made first."""
    facts = overlay.seen.files.get(path)
    if facts is None:
        return (
            f"{one_line(path, 300)} was not looked at: leave docker_tls_directory at {DEFAULT_DIRECTORY}, or have the "
            "daemon name its files itself (tlscacert, tlscert and tlskey)"
        )
    if facts.type == "missing" and facts.resolved is None:
        missing = _missing_directories(path, overlay)
        if not missing:
            return f"the directory of {one_line(path, 300)} is not there: make it (root's, mode 0755), then check again"
        directories.update(dict.fromkeys(missing))
        return next(filter(None, (edit_obstacle(directory, scope, overlay) for directory in missing)), "")
    if is_key and facts.type == "file":
        reason = access_obstacle(path, facts, scope, overlay)
        if not reason and facts.mount_point:
            reason = "it is a mount point, whose content cannot be replaced: unmount it, then check again"
        return f"{one_line(path, 300)}: {reason}" if reason else ""
    return edit_obstacle(path, scope, overlay)


def _missing_directories(path: str, overlay: Overlay) -> list[str]:
    """The directories to make above `path`, outermost first; none where it is not known what is there."""
    found: list[str] = []
    directory = path.rpartition("/")[0]
    while directory:
        facts = overlay.seen.files.get(directory)
        if facts is None:
            return []
        if facts.type != "missing":
            return found[::-1] if facts.type == "directory" else []
        found.append(directory)
        directory = directory.rpartition("/")[0]
    return []
