"""The kubelet's static pods: manifests as it reads them, and the processes in their pods' cgroups.

A static pod's process is recognised by its cgroup, whose pod UID the kubelet's own directories map to the manifest's
name; the UID of a pod that came through the API server has another form, so no pod can pass for a static one.
"""

import json
import os
import stat

from remediator.host.common.names import raw, text_of
from remediator.host.common.patterns import pattern
from remediator.host.common.reading import UnreadableError, names_in, read_proc, read_settings
from remediator.host.observe.processes import HostProcess, process_words
from remediator.host.observe.settings import DuplicateKeyError, SettingsError, unique_pairs
from remediator.host.observe.yaml_block import OPAQUE, YamlReader, at

MYPY = False
if MYPY:
    from typing import Any

POD_LOGS = "/var/log/pods"
# Static pods get a hash as their UID, all others a UUID (kubelet, pkg/kubelet/config/common.go).
POD_LOG_NAME = pattern(r"^kube-system_(.+)_([0-9a-f]{32})$")
POD_CGROUP = pattern(r"kubepods.*?pod([0-9a-f]{32})(?![0-9a-f])")


class Manifest:
    """One static pod: its file, its first container's command line and where that container's paths lie on the host."""

    def __init__(self, path: "str") -> None:
        self.path = path
        self.name = ""
        self.namespace = ""
        self.words: "list[str]" = []
        self.mounts: "list[tuple[str, str]]" = []  # (path in the container, path on the host), longest first
        self.error = ""

    @property
    def program(self) -> "str":
        """What the container runs, without directory; of a manifest that cannot be read, its file's name."""
        if self.words:
            return os.path.basename(self.words[0])
        return os.path.basename(self.path).split(".")[0] if self.error else ""

    def host_path(self, path: "str") -> "str | None":
        """Where a path of the container lies on the host; None where no host directory is mounted there."""
        for inside, outside in self.mounts:
            if path == inside or path.startswith(inside.rstrip("/") + "/"):
                return outside + path[len(inside.rstrip("/")) :]
        return None


def read_manifests(directory: "str") -> "list[Manifest]":
    """Every manifest that the kubelet would take: regular files without a leading dot, or the one file itself."""
    paths = [directory + "/" + name for name in names_in(directory, 200) if not name.startswith(".")]
    if not paths and not os.path.isdir(raw(directory)):
        paths = [directory]
    manifests = []
    for path in paths:
        try:
            if stat.S_ISREG(os.stat(raw(path)).st_mode):
                manifests.append(read_manifest(path))
        except OSError:
            continue
    return manifests


def read_manifest(path: "str") -> "Manifest":
    """One manifest; what cannot be read is its `error`."""
    manifest = Manifest(path)
    try:
        fill_manifest(manifest, read_document(path))
    except SettingsError as error:
        manifest.error = str(error)
    return manifest


def read_document(path: "str") -> "Any":
    """A YAML or JSON document. Raises SettingsError for what cannot be read for certain."""
    try:
        content = text_of(read_settings(path))
    except UnreadableError as error:
        raise SettingsError("%s cannot be read: %s" % (path, error))
    if not content.lstrip().startswith("{"):
        return YamlReader(path, content).document()
    try:
        return json.loads(content, object_pairs_hook=unique_pairs)
    except DuplicateKeyError as error:
        raise SettingsError("%s holds the key %s twice" % (path, json.dumps(str(error))))
    except (ValueError, RecursionError) as error:
        raise SettingsError("%s is not valid JSON: %s" % (path, error))


def fill_manifest(manifest: "Manifest", document: "Any") -> None:
    """Takes name, command line and mounts out of a Pod."""
    manifest.name = at(document, "metadata", "name") or ""
    manifest.namespace = at(document, "metadata", "namespace") or "default"
    pod = document.get("spec") if isinstance(document, dict) else None
    containers = pod.get("containers") if isinstance(pod, dict) else None
    if not isinstance(pod, dict) or not isinstance(containers, list) or not containers:
        raise SettingsError("%s holds no pod with containers" % manifest.path)
    container = containers[0] if isinstance(containers[0], dict) else {}
    for key in ("command", "args"):
        words = container.get(key) or []
        if words is OPAQUE or not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise SettingsError("the %s in %s is no plain list" % (key, manifest.path))
        manifest.words += words
    volumes = {}
    for volume in items_of(pod, "volumes"):
        name, path = at(volume, "name"), at(volume, "hostPath", "path")
        if name and path:
            volumes[name] = path
    for mount in items_of(container, "volumeMounts"):
        inside, name = at(mount, "mountPath"), at(mount, "name")
        if inside and name in volumes:
            below = at(mount, "subPath")
            manifest.mounts.append((inside, volumes[str(name)] + ("/" + below if below else "")))
    manifest.mounts.sort(key=lambda pair: -len(pair[0]))


def items_of(document: "dict[str, Any]", key: "str") -> "list[Any]":
    """The list under a key, empty where there is none."""
    value = document.get(key)
    return value if isinstance(value, list) else []


def static_processes(manifests: "list[Manifest]", node: "str") -> "dict[str, list[HostProcess]]":
    """The running process of each manifest's pod, by the program's name."""
    wanted = {m.name + "-" + node: m for m in manifests if m.name and m.namespace == "kube-system"}
    by_uid = {}
    for entry in names_in(POD_LOGS):
        found = POD_LOG_NAME.match(entry)
        if found is not None and found.group(1) in wanted:
            by_uid[found.group(2)] = wanted[found.group(1)]
    components: "dict[str, list[HostProcess]]" = {}
    if not by_uid:
        return components
    for uid, pids in pod_pids(set(by_uid)).items():
        manifest = by_uid[uid]
        for pid in pids:
            words = process_words(pid)
            # The container's first process: its parent, the shim, is no member of the pod. The other such process
            # is the sandbox's pause.
            if words and os.path.basename(words[0]) == manifest.program and parent_of(pid) not in pids:
                components.setdefault(manifest.program, []).append(HostProcess(pid, "static_pod", manifest.path))
    return components


def pod_pids(uids: "set[str]") -> "dict[str, set[int]]":
    """The processes in the cgroups of these pods."""
    found: "dict[str, set[int]]" = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        content = text_of(read_proc("/proc/" + name + "/cgroup", 16384))
        match = POD_CGROUP.search(content)
        if match is not None and match.group(1) in uids:
            found.setdefault(match.group(1), set()).add(int(name))
    return found


def parent_of(pid: "int") -> "int":
    """The parent of a process; the command's name in /proc/PID/stat may hold blanks and brackets."""
    fields = text_of(read_proc("/proc/%d/stat" % pid, 4096)).rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0
