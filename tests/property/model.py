"""A model of a host for property tests: generated observations, sane and insane ones.

What becomes of such a host when a plan is applied stands in `commit_model`.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from hypothesis import strategies as st

from remediator.catalogue import Catalogue
from tests.property.commit_model import with_ancestors

Document = dict[str, Any]

PLACES = ("/etc/docker", "/etc/kubernetes", "/var/lib/docker", "/usr/lib/systemd/system", "/run/containerd", "/opt/x")
# Those of them that others may be able to write to.
DIRECTORIES = ("/etc/docker", "/etc/kubernetes", "/run/containerd")
SYSTEMS = ("docker", "containerd", "kubernetes", "control_plane", "kubelet", "etcd", "kube_proxy")
PLAIN_NAMES = ("a", "b.crt", "c.key", "d.json")
HOSTILE_NAMES = ("c d", "e\x1b[31m", "f\u202eg", "h\nj", "[bold]k", "$(l)")
OUR_RULES = "/etc/audit/rules.d/50-remediator-docker.rules"
OUR_DROP_IN = "/etc/systemd/system/docker.socket.d/50-remediator-access.conf"
OUR_TMPFILES = "/etc/tmpfiles.d/remediator-audit.conf"
THEIR_RULES = ("/etc/audit/rules.d/10-a.rules", "/etc/audit/rules.d/60-b.rules", "/etc/audit/rules.d/audit.rules")
# Lines of other people's rules files; `{}` is a path of the host.
BENIGN_LINES = (
    "-w {} -p wa -k other",
    "-w {} -p rwxa",
    "-a always,exit -F path={} -F perm=wa -k docker",
    "-a always,exit -F dir={} -F perm=wa -F key=docker",
    "-a exit,always -F arch=b64 -S execve -k exec",
    "## {}",
    "",
    "-D",
    "-b 8192",
)
HARMFUL_LINES = (
    "-a never,exit -F path={}",
    "-a never,task",
    "-w /no/such/file -p wa",
    "-a always,exit -F dir=/no/such -F perm=wa",
    "-W {} -p wa -k docker",
    "-e 2",
    "-c",
    "what is this",
)
# Lines of our own file: as we write them, as an earlier version may have, and as nobody should.
OUR_LINES = (
    "-a always,exit -F path={} -F perm=wa -F key=docker",
    "-a always,exit -F dir={} -F perm=wa -F key=docker",
    "-w {} -p wa -k docker",
    "-w {} -p wa -k docker # by hand",
)


def file_facts(content: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Document]:
    """Facts of one path; with `content`, a readable file holds some."""
    types = ["file", "directory", "socket", "missing", "unreadable", "fifo", "file", "file"]
    facts: st.SearchStrategy[Document] = st.fixed_dictionaries(
        {
            "type": st.sampled_from(types if content is None else ["file", "file", "file", "missing", "fifo"]),
            "mode": st.integers(0, 0o7777),
            "uid": st.sampled_from([0, 0, 33, 1000]),
            "gid": st.sampled_from([0, 0, 33, 998]),
            "group_members": st.integers(0, 2),
            "nlink": st.sampled_from([1] * 7 + [2]),
            "untrusted_ancestors": st.sampled_from([[], [], [], ["/opt"]]),
            "user": st.just("someone"),
            "group": st.just("some"),
            "acl": mostly(False),
            **locks(),
        }
    )
    return facts if content is None else st.builds(_holding, facts, content)


def locks() -> dict[str, st.SearchStrategy[bool]]:
    """What keeps a path from being changed by anybody, now and then."""
    return {"immutable": mostly(False), "read_only": mostly(False), "mount_point": mostly(False)}


def mostly(usual: bool) -> st.SearchStrategy[bool]:
    """`usual`, and its contrary in one of twelve."""
    return st.sampled_from([usual] * 11 + [not usual])


def _holding(facts: Document, text: str) -> Document:
    if facts["type"] != "file":
        return facts
    content = text.encode()
    sha256 = hashlib.sha256(content).hexdigest()
    return {**facts, "content": base64.b64encode(content).decode(), "sha256": sha256}


@st.composite
def observations(draw: st.DrawFn, catalogue: Catalogue) -> Document:
    """An observation that answers the catalogue's needs with generated facts, as a JSON document."""
    needs = catalogue.needs()
    names = st.one_of(st.sampled_from(PLAIN_NAMES), st.sampled_from(PLAIN_NAMES), st.sampled_from(HOSTILE_NAMES))
    paths = [f"{place}/{name}" for place in PLACES for name in draw(st.lists(names, max_size=3, unique=True))]
    files: Document = {path: {**draw(file_facts()), "resolved": path} for path in paths}
    for path in DIRECTORIES:
        mode = draw(st.sampled_from([0o755, 0o755, 0o700, 0o775, 0o777]))
        files[path] = {**draw(file_facts()), "type": "directory", "mode": mode, "resolved": path}
    _link(draw, files, paths)
    references = draw(resolved(sorted(needs.references), files))
    audit_controls = [control.id for control in catalogue.controls if control.kind == "audit_watch"]
    files.update(draw(own_files(audit_controls, paths)))
    audit, their_files = draw(audits([*DIRECTORIES, *paths]))
    files.update(their_files)
    audit["rules_files"] = sorted(path for path in files if path.endswith(".rules") and _is_there(files[path]))
    for facts in files.values():
        if facts["type"] == "missing":
            facts.update(mode=0, uid=0, gid=0, nlink=1, immutable=False, mount_point=False, acl=False)
    document = {
        "format_version": 1,
        "host": {"python": "3.11", "uid": 0},
        "systems": {name: {"present": draw(mostly(True)), "reason": f"generated {name}"} for name in SYSTEMS},
        "files": files,
        "references": references,
        "users": {"root": 0, "etcd": 120},
        "groups": {"root": 0, "docker": 998, "etcd": 120},
        "units": {"docker.socket": draw(socket_units())},
        "audit": audit,
    }
    return with_ancestors(document)


@st.composite
def resolved(draw: st.DrawFn, names: list[str], files: Document) -> Document:
    """What every reference stands for. What another program writes again is that wherever it is met."""
    real = {path: facts["resolved"] or path for path, facts in files.items()}
    chosen = {real[path] for path in draw(st.lists(st.sampled_from(list(files)), max_size=3, unique=True))}
    managed = [path for path in files if real[path] in chosen]
    others = [path for path in files if real[path] not in chosen]
    references = {}
    for name in names:
        status = draw(st.sampled_from(["resolved"] * 7 + ["absent", "unknown", "managed"]))
        some = managed if status == "managed" else others if status != "absent" else []
        if name == "@etcd.data_directory":
            # It may be given to etcd: nothing else that the catalogue knows lies below it on any host.
            some = [path for path in some if real[path] not in DIRECTORIES]
        chosen = draw(st.lists(st.sampled_from(some), min_size=1, max_size=3, unique=True)) if some else []
        references[name] = {
            "status": status,
            "paths": [{"path": path, "source": "generated"} for path in chosen],
            "reason": "" if status == "resolved" else f"generated {status}",
        }
    return references


def _is_there(facts: Document) -> bool:
    return bool(facts["type"] != "missing")


def _link(draw: st.DrawFn, files: Document, paths: list[str]) -> None:
    """Makes some of `paths` symlinks to others of them, or to nothing."""
    links = draw(st.lists(st.sampled_from(paths), max_size=2, unique=True)) if paths else []
    for path in links:
        target = draw(st.sampled_from([None, *(other for other in paths if other not in links)]))
        why = st.sampled_from(["no such file or directory", "too many levels of symbolic links", "permission denied"])
        error = None if target is not None else draw(why)
        files[path] = {"type": "symlink", "mode": 0o777, "resolved": target, "error": error}


@st.composite
def own_files(draw: st.DrawFn, controls: list[str], paths: list[str]) -> Document:
    """What lies in the places of our own files, and the directories around them."""
    files: Document = {}
    for path in ("/etc/audit/rules.d", "/etc/tmpfiles.d", "/etc/systemd/system"):
        files[path] = {"type": "directory", "mode": 0o755, "resolved": path, **draw(st.fixed_dictionaries(locks()))}
    if draw(mostly(False)):
        files["/etc/tmpfiles.d"] = {"type": "missing", "resolved": "/etc/tmpfiles.d"}
    for directory in ("/usr/bin", "/var/lib", "/run", "/etc"):
        files[directory] = {"type": "directory", "mode": 0o755, "resolved": directory}
    above = OUR_DROP_IN.rpartition("/")[0]
    there = draw(st.booleans())
    files[above] = {"type": "directory" if there else "missing", "mode": 0o755, "resolved": above}
    settings = st.sampled_from(["", "[Socket]\nSocketMode=0660\n", "[Socket]\nSocketMode=0600\nSocketGroup=docker\n"])
    contents = {OUR_RULES: own_rules(controls, paths), OUR_TMPFILES: st.just("d /run/other 0755 root root -\n")}
    if there:
        contents[OUR_DROP_IN] = settings
    else:
        files[OUR_DROP_IN] = {"type": "missing"}
    for path, content in contents.items():
        facts = draw(st.one_of(st.just({"type": "missing"}), file_facts(content)))
        files[path] = {**facts, "resolved": path}
    if draw(mostly(False)):
        files[OUR_RULES] = {"type": "symlink", "mode": 0o777, "resolved": "/etc/passwd"}
    return files


@st.composite
def own_rules(draw: st.DrawFn, controls: list[str], paths: list[str]) -> str:
    """Our rules file after an earlier apply: blocks of some controls, and perhaps of one that is no more."""
    lines = ["", "# Written by remediator"]
    for control in draw(st.lists(st.sampled_from([*controls, "docker.audit.no-more"]), max_size=8, unique=True)):
        lines += [f"## {control}", *draw(rule_lines(OUR_LINES, paths, most=3))]
    return "\n".join(lines) + "\n"


@st.composite
def rule_lines(draw: st.DrawFn, patterns: tuple[str, ...], paths: list[str], most: int) -> list[str]:
    """Lines of a rules file, on `paths` that stand in one without quoting."""
    plain = [path for path in paths if path.isprintable() and not set(path) & set(" []$()")] or ["/opt/x/nothing"]
    return [
        draw(st.sampled_from(patterns)).format(draw(st.sampled_from(plain))) for _ in range(draw(st.integers(0, most)))
    ]


def socket_units() -> st.SearchStrategy[Document]:
    """docker.socket with a sane or a loose mode, and perhaps a drop-in of others that comes after ours."""
    return st.fixed_dictionaries(
        {
            "load": st.sampled_from(["loaded", "loaded", "loaded", "not-found"]),
            "properties": st.fixed_dictionaries(
                {
                    "SocketMode": st.sampled_from(["0660", "0666", "0600"]),
                    "SocketGroup": st.sampled_from(["", "docker", "some"]),
                }
            ),
            "drop_ins": st.sampled_from([[], [], ["/etc/systemd/system/docker.socket.d/99-theirs.conf"]]),
            "need_daemon_reload": mostly(False),
        }
    )


@st.composite
def audits(draw: st.DrawFn, paths: list[str]) -> tuple[Document, Document]:
    """Audit facts, rules that others loaded among them, and other people's rules files."""
    watched = draw(st.lists(st.sampled_from(paths), max_size=3, unique=True))
    files: Document = {}
    for path in draw(st.lists(st.sampled_from(THEIR_RULES), max_size=2, unique=True)):
        lines = draw(rule_lines(BENIGN_LINES, paths, most=4))
        lines += draw(st.one_of(st.just([]), st.just([]), rule_lines(HARMFUL_LINES, paths, most=1)))
        ending = draw(st.sampled_from(["\n", "\n", "\n", ""]))
        files[path] = _holding({"type": "file", "mode": 0o640, "resolved": path}, "\n".join(lines) + ending)
    if files and draw(mostly(False)):
        files[min(files)] = {"type": "file", "mode": 0o640, "error": "larger than 1048576 bytes"}
    keys = st.sampled_from(["other", "docker"])
    audit = {
        "scope": draw(st.sampled_from(["kernel"] * 7 + ["container", "absent", "denied"])),
        "enabled": draw(st.sampled_from([1, 1, 1, 1, 1, 2, 0])),
        "loaded": [f"-w {path} -p wa -k {draw(keys)}" for path in watched],
        "rules_directory": draw(mostly(True)),
        "rule_paths": {"/no": False, "/no/such": False, "/no/such/file": False},
    }
    return audit, files
