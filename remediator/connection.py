"""How one host is reached: what Ansible's connection variables and settings mean, as one typed value.

The table below states, per setting, the variables, environment variables, ansible.cfg keys and command-line options
that Ansible reads it from; Ansible's own configuration code applies them, so their precedence is Ansible's. Sources:
the documentation of ansible-core's `ssh` connection, `sudo` become plugin and base configuration.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from remediator.access import Access, Secret
from remediator.errors import UsageError

_PLUGIN = ("connection", "remediator_sweep")
_SSH_PLUGINS = frozenset({"ssh", "smart", "paramiko", "paramiko_ssh"})


@dataclass(frozen=True)
class Become:
    """Privilege escalation on the host. `flags` are the become program's options without those we set ourselves."""

    method: str
    user: str
    executable: str
    flags: tuple[str, ...]
    password: Secret | None


@dataclass(frozen=True)
class Connection:
    """How Ansible would reach one host. None: left to ssh_config. `timeout` is in seconds.

    `ansible_only` says why the sweep cannot carry this host, None when it can.
    """

    plugin: str
    address: str
    port: int | None = None
    user: str | None = None
    password: Secret | None = None
    private_key: str | None = None
    ssh_arguments: tuple[str, ...] = ()  # ansible_ssh_args: ssh reads them before port, user and key, so they win
    ssh_more_arguments: tuple[str, ...] = ()  # common and extra arguments, which ssh reads after them
    become: Become | None = None
    python: str | None = None
    timeout: int = 10
    ansible_only: str | None = None

    @property
    def is_ssh(self) -> bool:
        """Whether SSH carries it, so that host keys are checked whichever carrier goes there."""
        return self.plugin in _SSH_PLUGINS


def _setting(
    variables: str, env: str = "", ini: str = "", cli: str = "", default: Any = None, kind: str = "string"
) -> dict[str, Any]:
    """One entry in the form of Ansible's plugin documentation; `ini` holds `section.key` words."""
    keys = [word.partition(".") for word in ini.split()]
    return {
        "default": default,
        "type": kind,
        "vars": [{"name": name} for name in variables.split()],
        "env": [{"name": name} for name in env.split()],
        "ini": [{"section": section, "key": key} for section, _, key in keys],
        "cli": [{"name": name} for name in cli.split()],
    }


_SETTINGS: dict[str, dict[str, Any]] = {
    "plugin": _setting("ansible_connection", "ANSIBLE_TRANSPORT", "defaults.transport", default="ssh"),
    "address": _setting("inventory_hostname ansible_host ansible_ssh_host"),
    "port": _setting("ansible_port ansible_ssh_port", "ANSIBLE_REMOTE_PORT", "defaults.remote_port", kind="int"),
    "user": _setting("ansible_user ansible_ssh_user", "ANSIBLE_REMOTE_USER", "defaults.remote_user", "user"),
    "password": _setting("ansible_password ansible_ssh_pass ansible_ssh_password"),
    "private_key": _setting(
        "ansible_private_key_file ansible_ssh_private_key_file",
        "ANSIBLE_PRIVATE_KEY_FILE",
        "defaults.private_key_file",
        "private_key_file",
    ),
    "ssh_args": _setting(
        "ansible_ssh_args",
        "ANSIBLE_SSH_ARGS",
        "ssh_connection.ssh_args",
        default="-C -o ControlMaster=auto -o ControlPersist=60s",
    ),
    "ssh_common_args": _setting(
        "ansible_ssh_common_args", "ANSIBLE_SSH_COMMON_ARGS", "ssh_connection.ssh_common_args", default=""
    ),
    "ssh_extra_args": _setting(
        "ansible_ssh_extra_args", "ANSIBLE_SSH_EXTRA_ARGS", "ssh_connection.ssh_extra_args", default=""
    ),
    "timeout": _setting(
        "ansible_ssh_timeout",
        "ANSIBLE_TIMEOUT ANSIBLE_SSH_TIMEOUT",
        "defaults.timeout ssh_connection.timeout",
        default=10,
        kind="int",
    ),
    "python": _setting(
        "ansible_python_interpreter", "ANSIBLE_PYTHON_INTERPRETER", "defaults.interpreter_python", default="auto"
    ),
    "become": _setting(
        "ansible_become", "ANSIBLE_BECOME", "privilege_escalation.become", "become", default=False, kind="bool"
    ),
    "become_method": _setting(
        "ansible_become_method", "ANSIBLE_BECOME_METHOD", "privilege_escalation.become_method", default="sudo"
    ),
    "become_user": _setting(
        "ansible_become_user ansible_sudo_user",
        "ANSIBLE_BECOME_USER ANSIBLE_SUDO_USER",
        "privilege_escalation.become_user sudo_become_plugin.user",
        default="root",
    ),
    "become_executable": _setting(
        "ansible_become_exe ansible_sudo_exe",
        "ANSIBLE_BECOME_EXE ANSIBLE_SUDO_EXE",
        "privilege_escalation.become_exe sudo_become_plugin.executable",
        default="sudo",
    ),
    "become_flags": _setting(
        "ansible_become_flags ansible_sudo_flags",
        "ANSIBLE_BECOME_FLAGS ANSIBLE_SUDO_FLAGS",
        "privilege_escalation.become_flags sudo_become_plugin.flags",
        default="-H",
    ),
    "become_password": _setting(
        "ansible_become_password ansible_become_pass ansible_sudo_pass",
        "ANSIBLE_BECOME_PASS ANSIBLE_SUDO_PASS",
        "sudo_become_plugin.password",
    ),
    # Settings that only Ansible's own plugins honour: a host that has one goes through Ansible.
    "ssh_executable": _setting("ansible_ssh_executable", "ANSIBLE_SSH_EXECUTABLE", "ssh_connection.ssh_executable"),
    "private_key_text": _setting("ansible_private_key ansible_ssh_private_key", "ANSIBLE_PRIVATE_KEY"),
    "pkcs11_provider": _setting(
        "ansible_ssh_pkcs11_provider", "ANSIBLE_PKCS11_PROVIDER", "ssh_connection.pkcs11_provider"
    ),
    "sudo_chdir": _setting("ansible_sudo_chdir", "ANSIBLE_SUDO_CHDIR", "sudo_become_plugin.chdir"),
    "paramiko_key": _setting(
        "ansible_paramiko_private_key_file",
        "ANSIBLE_PARAMIKO_PRIVATE_KEY_FILE",
        "paramiko_connection.private_key_file",
    ),
    "paramiko_proxy": _setting(
        "ansible_paramiko_proxy_command", "ANSIBLE_PARAMIKO_PROXY_COMMAND", "paramiko_connection.proxy_command"
    ),
}
_ANSIBLE_ONLY = {
    "ssh_executable": "another ssh program (ansible_ssh_executable)",
    "private_key_text": "a private key given as text (ansible_private_key)",
    "pkcs11_provider": "a PKCS#11 provider",
    "sudo_chdir": "ansible_sudo_chdir",
}
_PARAMIKO_ONLY = {
    "paramiko_key": "settings of Ansible's paramiko connection",
    "paramiko_proxy": "settings of Ansible's paramiko connection",
}

CONNECTION_VARIABLES = frozenset(entry["name"] for setting in _SETTINGS.values() for entry in setting["vars"])


def register_settings(config: Any, access: Access) -> dict[str, Any]:
    """Make the table known to Ansible's configuration (`ansible.constants.config`).

    Returns the command-line values that it refers to, for Ansible's context; passwords are not among them.
    """
    config.initialize_plugin_configuration_definitions(*_PLUGIN, _SETTINGS)
    given = {
        "user": access.user,
        "private_key_file": access.private_key,
        "become": access.become or None,
        "extra_vars": tuple(access.extra_vars),
    }
    return {name: value for name, value in given.items() if value is not None}


def connection(host: str, config: Any, access: Access, variables: Mapping[str, Any]) -> Connection:
    """The connection of `host`, from its templated connection variables.

    Raises UsageError when a value has the wrong type.
    """
    from ansible.errors import AnsibleError

    try:
        options, origins = config.get_plugin_options_and_origins(*_PLUGIN, variables=variables)
        first = shlex.split(options["ssh_args"] or "")
        more = shlex.split(f"{options['ssh_common_args'] or ''} {options['ssh_extra_args'] or ''}")
    except (AnsibleError, ValueError) as error:
        raise UsageError(
            f"{host}: a connection setting is wrong ({error}). Correct it in the inventory or in ansible.cfg."
        ) from None
    plugin = _short(options["plugin"])
    inventoried = str(origins["become_password"]).startswith("var:")
    become = _become(options, access, inventoried) if options["become"] else None
    python = options["python"]
    return Connection(
        plugin=plugin,
        address=options["address"] or host,
        port=options["port"],
        user=options["user"],
        password=Secret(options["password"]) if options["password"] else access.password,
        private_key=options["private_key"],
        ssh_arguments=tuple(first),
        ssh_more_arguments=tuple(more),
        become=become,
        python=None if python in ("auto", "auto_silent", "auto_legacy", "auto_legacy_silent") else python,
        timeout=options["timeout"],
        ansible_only=_ansible_only(plugin, become, options),
    )


def _short(name: str) -> str:
    """A plugin's name without the namespace of what ships with Ansible."""
    return name.removeprefix("ansible.builtin.").removeprefix("ansible.legacy.")


def _become(options: Mapping[str, Any], access: Access, inventoried: bool) -> Become:
    """Variables win over the command line's password, and that over the environment and ansible.cfg."""
    password = Secret(options["become_password"]) if options["become_password"] else None
    return Become(
        method=_short(options["become_method"]),
        user=options["become_user"],
        executable=options["become_executable"],
        flags=tuple(shlex.split(options["become_flags"] or "")),
        password=password if inventoried and password else access.become_password or password,
    )


def _ansible_only(plugin: str, become: Become | None, options: Mapping[str, Any]) -> str | None:
    if plugin not in _SSH_PLUGINS:
        return f"its connection is {plugin}"
    if become is not None and become.method != "sudo":
        return f"its become method is {become.method}"
    special = dict(_ANSIBLE_ONLY)
    if plugin.startswith("paramiko"):
        special.update(_PARAMIKO_ONLY)
    for name, what in special.items():
        if options[name] and not (name == "ssh_executable" and options[name] == "ssh"):
            return f"it uses {what}"
    return None
