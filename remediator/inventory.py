"""Ansible's inventory, read in process: any format and plugin, vault, extra vars, ansible.cfg and ANSIBLE_*.

Ansible itself parses, merges and templates, so a variable means here what it means in a play. Only what a call needs is
imported and templated: start-up time is part of a sweep's time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from remediator.access import Access
from remediator.collection import collection_root
from remediator.connection import CONNECTION_VARIABLES, Connection, connection, register_settings
from remediator.errors import UsageError
from remediator.text import is_plain, one_line

LOCALHOST = "localhost,"
_OWN_PREFIX = "remediator_"
_UNPARSED = "Completely failed to parse inventory source "
_TEMPLATE_MARKS = ("{{", "{%", "{#")


@dataclass(frozen=True)
class Host:
    """One selected host: its name in the inventory, its role parameters and `remediator_*`, and how to reach it."""

    name: str
    variables: dict[str, Any]
    connection: Connection


@dataclass(frozen=True)
class Inventory:
    """The selected hosts in inventory order.

    `sources` are what Ansible is to be given with -i. `overrides` are host variables that it must be given as well,
    because they come from us and not from a source: localhost's local connection.
    """

    hosts: tuple[Host, ...]
    sources: tuple[str, ...]
    overrides: dict[str, dict[str, str]] = field(default_factory=dict)

    def get(self, name: str) -> Host:
        """The host of this name. Raises KeyError."""
        return {host.name: host for host in self.hosts}[name]


def load_inventory(access: Access, defaults: Mapping[str, Any]) -> Inventory:
    """The hosts that `access` selects; their variables are `defaults` (role defaults) with the inventory's on top.

    No source: ansible.cfg's or ANSIBLE_INVENTORY's inventory, else this machine over a local connection. Raises
    UsageError when a source is missing or broken, a vault stays shut, a pattern matches nothing or a value cannot be
    worked out.
    """
    return read_inventory(access, lambda: defaults)


def read_inventory(access: Access, defaults: Callable[[], Mapping[str, Any]]) -> Inventory:
    """Like `load_inventory`; the role defaults are asked for only when the sources have been parsed."""
    from ansible import constants
    from ansible.errors import AnsibleError

    sources = _sources(access, constants)
    trace = _Trace()
    try:
        manager, variable_manager, loader = _parse(access, sources, constants, trace)
        hosts = _select(manager, access.limit, sources)
        overrides = _local_hosts(sources, hosts, variable_manager)
        reader = _Reader(variable_manager, loader, constants, access, defaults())
        found = tuple(reader.host(host) for host in hosts)
    except AnsibleError as error:
        raise _usage_error(error, file=trace.last) from None
    return Inventory(found, sources, overrides)


def _sources(access: Access, constants: Any) -> tuple[str, ...]:
    """The sources to read, each checked: Ansible would take a missing path for a host name."""
    configured, origin = constants.config.get_config_value_and_origin("DEFAULT_HOST_LIST")
    given = access.sources or (tuple(configured) if origin != "default" else (LOCALHOST,))
    for source in given:
        if "," not in source and not os.path.exists(os.path.expanduser(source)):
            raise UsageError(
                f"{one_line(source)}: there is no such inventory file or directory. Correct the path, or write "
                f"'{one_line(source)},' with a comma if it is meant as a host's name."
            )
    return tuple(
        source if "," in source else os.path.abspath(os.path.expanduser(source))
        for source in (str(source) for source in given)
    )


class _Trace:
    """Which file Ansible read last: its errors about group_vars and host_vars files do not name them."""

    def __init__(self) -> None:
        self.last = ""
        self._read: Any = None

    def follow(self, loader: Any) -> None:
        """Note every file that `loader`, an Ansible DataLoader, reads from now on."""
        self._read = loader.get_text_file_contents
        loader.get_text_file_contents = self

    def __call__(self, file_name: str, encoding: str | None = None) -> Any:
        self.last = str(file_name)
        return self._read(file_name, encoding)


def _parse(access: Access, sources: tuple[str, ...], constants: Any, trace: _Trace) -> tuple[Any, Any, Any]:
    """Ansible's inventory manager, variable manager and data loader for `sources`."""
    from ansible import context
    from ansible.errors import AnsibleError
    from ansible.inventory import manager as manager_module
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils import vars as vars_module
    from ansible.utils.collection_loader import AnsibleCollectionConfig
    from ansible.utils.context_objects import CLIArgs
    from ansible.vars.manager import VariableManager

    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader()
    # Ansible keeps both for a whole process; a second inventory in one process must not see the first one's.
    context.CLIARGS = CLIArgs(register_settings(constants.config, access))
    vars(vars_module.load_extra_vars).pop("extra_vars", None)
    loader = DataLoader()
    # What ansible-playbook would use for our playbooks: group_vars of the working directory are not theirs.
    loader.set_basedir(str(collection_root() / "playbooks"))
    _open_vault(access, loader, constants)
    trace.follow(loader)
    manager = manager_module.InventoryManager(loader=loader, sources=list(sources), parse=False)
    failures = _Failures(manager_module.display)
    manager_module.display = failures
    # Ansible would warn and go on: without the hosts of a source that it cannot read, or that match a misspelt pattern.
    constants.INVENTORY_ANY_UNPARSED_IS_FAILED = True
    constants.HOST_PATTERN_MISMATCH = "error"
    try:
        manager.parse_sources(cache=True)
    except AnsibleError as error:
        source = _message(error).removeprefix(_UNPARSED)
        raise _usage_error(failures.likeliest(source) or error, f"The inventory source {source}") from None
    finally:
        manager_module.display = failures.display
    return manager, VariableManager(loader=loader, inventory=manager), loader


class _Failures:
    """Ansible's display, except that it keeps why plugins could not parse a source instead of printing it."""

    def __init__(self, display: Any) -> None:
        self.display = display
        self._errors: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.display, name)

    def error_as_warning(self, msg: str | None, exception: Any) -> None:
        """Called once for each plugin that took a source and could not parse it; `msg` quotes the plugin's name."""
        self._errors["".join((msg or "").split("'")[1:2])] = exception

    def likeliest(self, source: str) -> Any:
        """The reason that helps: every file is offered to several plugins, most of which are not meant for it."""
        errors = dict(self._errors)
        # `auto` reads files of other plugins, which name theirs; other YAML files are none of its business.
        if "no root 'plugin' key" in str(errors.get("auto", "")):
            del errors["auto"]
        structured = source.endswith((".yml", ".yaml", ".json"))
        order = ("auto", "yaml") if structured else ("script", "toml", "ini")
        return next((errors[name] for name in order if name in errors), next(iter(errors.values()), None))


def _open_vault(access: Access, loader: Any, constants: Any) -> None:
    """Give Ansible every vault password that the command line and the configuration name."""
    from ansible.errors import AnsibleError
    from ansible.parsing import vault

    secrets: list[tuple[str, Any]] = []
    if access.vault_password is not None:
        secrets.append(("default", vault.VaultSecret(access.vault_password.reveal().encode())))
    identities = [("", file) for file in access.vault_password_files]
    for slug in constants.DEFAULT_VAULT_IDENTITY_LIST or []:
        label, _, file = slug.rpartition("@")
        identities.append((label, file))
    if constants.DEFAULT_VAULT_PASSWORD_FILE:
        identities.append(("", constants.DEFAULT_VAULT_PASSWORD_FILE))
    for label, file in identities:
        if file.startswith("prompt"):
            continue
        try:
            secret = vault.get_file_vault_secret(filename=file, vault_id=label or None, loader=loader)
            secret.load()
        except AnsibleError as error:
            raise UsageError(
                f"The vault password file {one_line(file)} could not be used: {_message(error)}. Correct the path or "
                "the file."
            ) from None
        secrets.append((label or "default", secret))
    loader.set_vault_secrets(secrets)
    # Values tagged !vault are opened later, through this; Ansible allows one for a process and we may load twice.
    vault.VaultSecretsContext._current = None
    vault.VaultSecretsContext.initialize(vault.VaultSecretsContext(secrets))


def _select(manager: Any, limit: str | None, sources: tuple[str, ...]) -> list[Any]:
    """The hosts that match `limit`, every part of which must match something."""
    everything = manager.get_hosts()
    if not everything:
        raise UsageError(f"No hosts matched: there is no host in {', '.join(map(one_line, sources))}.")
    for host in everything:
        if not is_plain(host.name):  # Ansible takes a binary file for a list of host names
            raise UsageError(
                f"{', '.join(map(one_line, sources))}: `{one_line(host.name, 60)}` is no name of a host. "
                "Correct the inventory, or name another file."
            )
    if limit is None:
        return list(everything)
    from ansible.inventory.manager import split_host_pattern

    patterns = [pattern for word in split_host_pattern(limit) for pattern in _limit_words(word)]
    for pattern in patterns:
        # Ansible would only warn, and would invent an implicit localhost.
        if not _matches(manager, pattern.lstrip("!&")):
            raise UsageError(
                f"{one_line(pattern)}: no host or group in the inventory matches this pattern. "
                f"Correct --limit; `ansible-inventory --graph` lists what there is."
            )
    manager.subset(patterns)
    selected = [host for host in manager.get_hosts() if host.name in manager.hosts]
    if not selected:
        raise UsageError(f"No hosts matched --limit {one_line(limit)}.")
    return selected


def _matches(manager: Any, pattern: str) -> bool:
    """Whether a pattern without its modifier matches a host that a source named."""
    from ansible.errors import AnsibleError

    try:
        return any(host.name in manager.hosts for host in manager.get_hosts(pattern, ignore_limits=True))
    except AnsibleError:
        return False


def _limit_words(word: str) -> list[str]:
    """The patterns of one --limit word; `@file` stands for the lines of that file."""
    if not word.startswith("@"):
        return [word]
    try:
        lines = Path(word[1:]).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{one_line(word[1:])}: the --limit file could not be read ({error}).") from None
    return [line.strip() for line in lines if line.strip()]


def _local_hosts(sources: tuple[str, ...], hosts: Iterable[Any], variable_manager: Any) -> dict[str, dict[str, str]]:
    """`localhost` of a host list is this machine over a local connection, unless the inventory says otherwise."""
    if not any("localhost" in source.split(",") for source in sources if "," in source):
        return {}
    overrides: dict[str, dict[str, str]] = {}
    for host in hosts:
        if host.name != "localhost":
            continue
        variables = variable_manager.get_vars(host=host, include_hostvars=False)
        added = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        if "ansible_connection" not in variables and "ansible_host" not in variables:
            overrides["localhost"] = {name: text for name, text in added.items() if name not in variables}
            for name, text in overrides["localhost"].items():
                host.set_variable(name, text)
    return overrides


class _Reader:
    """Reads single hosts out of a parsed inventory."""

    def __init__(
        self, variable_manager: Any, loader: Any, constants: Any, access: Access, defaults: Mapping[str, Any]
    ) -> None:
        self._variable_manager = variable_manager
        self._loader = loader
        self._constants = constants
        self._access = access
        self._defaults = defaults

    def host(self, host: Any) -> Host:
        """The host with every variable that is wanted, templated. Raises UsageError, AnsibleError."""
        raw = self._variable_manager.get_vars(host=host, include_hostvars=False)
        own = {name: raw[name] for name in raw if name.startswith(_OWN_PREFIX) or name in self._defaults}
        reach = {name: raw[name] for name in CONNECTION_VARIABLES if name in raw}
        wanted = {**self._defaults, **own, **reach}
        if any(_needs_template(value) for value in wanted.values()):
            wanted = self._template(host, wanted)
        plain = {str(name): _plain(value) for name, value in wanted.items()}
        return Host(
            name=host.name,
            variables={name: value for name, value in plain.items() if name not in reach},
            connection=connection(
                host.name, self._constants.config, self._access, {name: plain[name] for name in reach}
            ),
        )

    def _template(self, host: Any, wanted: dict[str, Any]) -> dict[str, Any]:
        from ansible.errors import AnsibleError
        from ansible.template import Templar
        from ansible.vars.hostvars import HostVars

        # A template may look at other hosts and at role defaults; HostVars is costly, so only for who templates.
        self._variable_manager._hostvars = self._variable_manager._hostvars or HostVars(
            self._variable_manager._inventory, self._variable_manager, self._loader
        )
        variables = {**self._defaults, **self._variable_manager.get_vars(host=host)}
        templar = Templar(loader=self._loader, variables=variables)
        result = {}
        for name, value in wanted.items():
            try:
                result[name] = templar.template(value) if _needs_template(value) else value
            except AnsibleError as error:
                raise _usage_error(error, f"{host.name}: the variable {one_line(str(name))}") from None
        return result


def _needs_template(value: Any) -> bool:
    """Whether Ansible has to look at a value: a template in it, or a vaulted string."""
    if isinstance(value, str):
        return any(mark in value for mark in _TEMPLATE_MARKS)
    if isinstance(value, Mapping):
        return any(_needs_template(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_needs_template(item) for item in value)
    return not (value is None or isinstance(value, (bool, int, float)))


def _plain(value: Any) -> Any:
    """A value without Ansible's tags, in Python's own types; what JSON has no type for becomes text."""
    if isinstance(value, str):
        return "".join([value])
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {_plain(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    return str(value)


def _message(error: Any) -> str:
    """What an Ansible error says, on one line, without the excerpt of the file that may stand below it."""
    return one_line(str(getattr(error, "message", "") or error).strip().rstrip("."), 600)


def _usage_error(error: Any, subject: str = "The inventory", file: str = "") -> UsageError:
    """What an Ansible error means for the user; `file` is what it was about when it does not say so itself."""
    from ansible._internal._datatag._tags import Origin
    from ansible.parsing.vault import AnsibleVaultError

    about = getattr(error, "obj", None)
    origin = about if isinstance(about, Origin) else Origin.get_tag(about)
    place = str(origin) if origin is not None and origin.path else file
    where = f"{subject} ({one_line(place)})" if place else subject
    if isinstance(error, AnsibleVaultError) or "decrypt" in str(error).lower():
        return UsageError(
            f"{where} is in a vault that could not be opened: {_message(error)}. Give its password with "
            "--ask-vault-pass or --vault-password-file."
        )
    return UsageError(f"{where} could not be read: {_message(error)}. Correct it in the inventory.")
