"""How the hosts of one call are found and reached, as the command line said it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Secret:
    """A password. It shows itself to nobody: `reveal()` is the one way to the text."""

    _text: str

    def reveal(self) -> str:
        """The password itself, for the one place that sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"


@dataclass(frozen=True)
class Access:
    """The connection part of a command line. What is empty is left to the inventory, ansible.cfg and ssh_config.

    `sources` are inventory paths, directories or `host,` lists; `extra_vars` are raw -e values; `transport` is `auto`
    (the sweep wherever it can carry a host), `ssh` (the sweep only) or `ansible` (Ansible only).
    """

    sources: tuple[str, ...] = ()
    limit: str | None = None
    extra_vars: tuple[str, ...] = ()
    user: str | None = None
    private_key: str | None = None
    password: Secret | None = None
    become: bool = False
    become_password: Secret | None = None
    vault_password_files: tuple[str, ...] = ()
    vault_password: Secret | None = None
    forks: int = 20
    transport: str = "auto"
