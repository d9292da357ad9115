"""What the running daemon answers of its own settings (GET /info), as far as daemon.json may set them.

An answer of another shape than Docker's counts as none: nothing is known then, and nobody else's answer is lost.
"""

from remediator.host.common.mask import mask_text

MYPY = False
if MYPY:
    from typing import Any

# More of anything than a daemon is told; longer than what the controller keeps of a text, so that a cut shows there.
MAX_LISTED = 1000
MAX_TEXT = 5000


def daemon_settings(info: "dict[str, Any]") -> "dict[str, Any]":
    """The settings in a daemon's answer to GET /info; None where it does not tell one. Secrets are masked.

    Docker 20.10 to 29 answer all of these. What they add to a setting that nobody made (the runtime runc, the loopback
    among insecure registries) stands here too.
    """
    registry = told_object(info.get("RegistryConfig"))
    return {
        "storage_driver": told_text(info.get("Driver")),
        "log_driver": told_text(info.get("LoggingDriver")),
        "cgroup_driver": told_text(info.get("CgroupDriver")),
        "default_runtime": told_text(info.get("DefaultRuntime")),
        "init_binary": told_text(info.get("InitBinary")),
        "live_restore": told_switch(info.get("LiveRestoreEnabled")),
        "debug": told_switch(info.get("Debug")),
        "experimental": told_switch(info.get("ExperimentalBuild")),
        "labels": told_texts(info.get("Labels") or []),
        "runtimes": told_texts(told_names(info.get("Runtimes"))),
        "registry_mirrors": told_texts(registry.get("Mirrors") or []),
        "insecure_registries": insecure_registries(registry),
        "authorization_plugins": told_texts(told_object(info.get("Plugins")).get("Authorization") or []),
        "address_pools": address_pools(info.get("DefaultAddressPools") or []),
        "security_options": told_texts(info.get("SecurityOptions") or []),
    }


def told_object(value: "Any") -> "dict[str, Any]":
    """A JSON object; an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def told_names(value: "Any") -> "list[str] | None":
    """The keys of a JSON object, sorted."""
    return sorted(value) if isinstance(value, dict) else None


def told_text(value: "Any") -> "str | None":
    """A text, bounded, its secrets masked."""
    if not isinstance(value, str):
        return None
    # JSON's escapes can make what is no character: lone surrogates.
    return mask_text(value[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8"))


def told_switch(value: "Any") -> "bool | None":
    """True or false, and nothing that only counts as such."""
    return value if isinstance(value, bool) else None


def told_texts(value: "Any") -> "list[str] | None":
    """A list of texts; None where it is longer than any daemon's or holds anything else."""
    if not isinstance(value, list) or len(value) > MAX_LISTED:
        return None
    found = [told_text(item) for item in value]
    return None if None in found else [item for item in found if item is not None]


def insecure_registries(registry: "dict[str, Any]") -> "list[str] | None":
    """The registries and networks to which the daemon speaks without verified TLS."""
    listed = registry.get("InsecureRegistryCIDRs") or []
    indexes = registry.get("IndexConfigs") or {}
    if not isinstance(listed, list) or not isinstance(indexes, dict) or len(indexes) > MAX_LISTED:
        return None
    return told_texts(listed + [name for name in sorted(indexes) if told_object(indexes[name]).get("Secure") is False])


def address_pools(value: "Any") -> "list[str] | None":
    """The pools from which networks get their addresses, as `BASE SIZE`."""
    if not isinstance(value, list) or len(value) > MAX_LISTED:
        return None
    return told_texts(["%s %s" % (told_object(pool).get("Base"), told_object(pool).get("Size")) for pool in value])
