"""What the references of etcd stand for: a static pod's, a unit's, or nothing where etcd runs elsewhere."""

from remediator.host.common.reading import is_there
from remediator.host.observe.kubernetes import KubernetesHost
from remediator.host.observe.manifests import read_document
from remediator.host.observe.references import HostReference, absent, resolved, unknown
from remediator.host.observe.settings import SettingsError
from remediator.host.observe.words import flag
from remediator.host.observe.yaml_block import at

ETCD_UNIT = "etcd.service"
NO_ETCD = "etcd does not run on this host"


def etcd_references(host: "KubernetesHost") -> "dict[str, HostReference]":
    """`@etcd.manifest` and `@etcd.data_directory`."""
    if host.rancher is not None:
        return host.rancher.etcd_references()
    return {"@etcd.manifest": etcd_manifest(host), "@etcd.data_directory": etcd_data_directory(host)}


def etcd_manifest(host: "KubernetesHost") -> "HostReference":
    """etcd's manifest; of a service its unit, drop-ins, environment files and, if root reads it, its configuration."""
    manifests = [(manifest.path, "static pod") for manifest in host.manifests if manifest.program == "etcd"]
    if manifests:
        return resolved(*manifests)
    unit = host.state.units[ETCD_UNIT]
    if unit.is_loaded:
        files = [(path, ETCD_UNIT) for path in [unit.fragment] + unit.drop_ins if path]
        files += [(path, ETCD_UNIT + " EnvironmentFile") for path in unit.environment_files if is_there(path)]
        config = flag(host.state.words_of(ETCD_UNIT), "config-file")
        # An etcd that is not root must be able to read its configuration, so root:root 0600 is not right for it.
        if config and host.user_of("etcd") == 0 and ETCD_UNIT in host.state.processes:
            files.append((config, host.state.source_of(ETCD_UNIT) + " --config-file"))
        return resolved(*files)
    if host.config_error or host.manifests_error:
        return unknown(host.config_error or host.manifests_error)
    return absent(NO_ETCD)


def etcd_data_directory(host: "KubernetesHost") -> "HostReference":
    """Where etcd keeps its data: flag, then variable, then configuration file, then etcd's default."""
    manifest = host.manifest_of("etcd")
    line = host.words_of("etcd")
    if manifest is not None and manifest.error and line is None:
        return unknown(manifest.error)
    if line is None:
        hidden = host.config_error or host.manifests_error
        return unknown(hidden) if hidden else absent(NO_ETCD)
    words, source = line
    given, told = flag(words, "data-dir"), source + " --data-dir"
    if not given and manifest is None:
        given, told = host.state.environment_of(ETCD_UNIT).get("ETCD_DATA_DIR"), ETCD_UNIT + " ETCD_DATA_DIR"
    config = flag(words, "config-file")
    if not given and config:
        try:
            path = host.on_host("etcd", config)
            given = at(read_document(path), "data-dir") if path and is_there(path) else None
            told = config + " data-dir"
        except SettingsError as error:
            return unknown(str(error))
    if not given:
        return etcd_default_directory(host, words)
    on_host = host.on_host("etcd", given)
    if on_host is None or not on_host.startswith("/"):
        return unknown("etcd's data directory %s (%s) is not on a path of this host" % (given, told))
    return resolved((on_host, told))


def etcd_default_directory(host: "KubernetesHost", words: "list[str]") -> "HostReference":
    """`NAME.etcd` in the working directory, where no data directory is given."""
    top = host.state.units[ETCD_UNIT].working_directory
    name = flag(words, "name") or host.state.environment_of(ETCD_UNIT).get("ETCD_NAME") or "default"
    if top.startswith("/"):
        return resolved((top + "/" + name + ".etcd", "etcd's default"))
    return unknown("etcd is given no data directory, and its working directory is not known")
