"""Options that verbs share, declared once, and the typed values that they become.

Nothing here imports what a call may not need: `remediate --help` starts with click alone.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from remediator.access import Access, Secret
from remediator.errors import UsageError

if TYPE_CHECKING:
    from remediator.exit_codes import Threshold
    from remediator.run import Batches, Selection

SEVERITIES = ("low", "medium", "high", "critical")
LOCALHOST = "localhost,"
DEFAULT_SERIAL = (1, "5%", "20%")
_OF_CHECK_ALONE = ("sources", "strict", "fail_on", "output", "verbose")
_OF_ISSUE_ALONE = ("sources", "renew", "passphrase_file", "output", "verbose")
FILE = click.Path(exists=True, dir_okay=False)
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _words(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Repeated values and comma lists alike: `--role a,b --role c`."""
    return tuple(word.strip() for value in values for word in value.split(",") if word.strip())


def _serial(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[int | str, ...]:
    words = _words(context, option, values)
    for word in words:
        if re.fullmatch(r"[1-9][0-9]{0,5}|[1-9][0-9]?%|100%", word) is None:
            raise click.BadParameter(f"{word!r} is neither a number of hosts such as 5 nor a share such as 20%.")
    return tuple(word if word.endswith("%") else int(word) for word in words) or DEFAULT_SERIAL


def _verbose(context: click.Context, _option: click.Parameter, value: bool) -> bool:
    context.meta["remediator.verbose"] = value  # shared with the group's context, for a bug's traceback
    return value


_CONNECTION = (
    click.option("-i", "--inventory", "sources", multiple=True, metavar="INVENTORY", help="Ansible inventory."),
    click.option("-l", "--limit", metavar="PATTERN", help="Only the hosts that match."),
    click.option("-e", "--extra-vars", "extra_vars", multiple=True, metavar="VARS", help="Variables, or @FILE."),
    click.option("-u", "--user", metavar="NAME", help="Log in as this user."),
    click.option("-k", "--ask-pass", is_flag=True, help="Ask for the login password."),
    click.option("--private-key", "--key-file", "private_key", type=FILE, metavar="FILE", help="Log in with this key."),
    click.option("-b", "--become", is_flag=True, help="Become root after the login."),
    click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the password to become root."),
    click.option("-J", "--ask-vault-pass", is_flag=True, help="Ask for the vault password."),
    click.option("--vault-password-file", "vault_files", multiple=True, type=FILE, metavar="FILE", help="Its file."),
    click.option("-f", "--forks", type=click.IntRange(1, 1000), default=20, show_default=True, help="Hosts at once."),
    click.option(
        "--transport",
        type=click.Choice(("auto", "ssh", "ansible")),
        default="auto",
        show_default=True,
        help="What carries the questions.",
    ),
)
_SELECTION = (
    click.option("--role", "roles", multiple=True, callback=_words, metavar="ROLE", help="Only this role's controls."),
    click.option("--control", "controls", multiple=True, callback=_words, metavar="ID", help="Only this control."),
    click.option("--skip-control", "skip", multiple=True, callback=_words, metavar="ID", help="Not this control."),
    click.option(
        "--allow",
        multiple=True,
        callback=_words,
        metavar="guarded|ROLE|ID",
        help="Consent to guarded changes: all that are shown, a role's or a control's.",
    ),
)
_OUTPUT = (
    click.option("--strict", is_flag=True, help="Manual, pending and held findings count as drift too."),
    click.option("--fail-on", type=click.Choice(SEVERITIES), default="low", help="Lower severities are no drift."),
)
_FORMAT = click.option(
    "--format", "output", type=click.Choice(("text", "json")), default="text", show_default=True, help="Output."
)
_VERBOSE = click.option(
    "-v", "--verbose", is_flag=True, callback=_verbose, help="Show what is compliant or not applicable too."
)


def fleet_options(command: _Command) -> _Command:
    """All that `check` and `apply` share: which hosts, which controls, with whose consent, and what counts."""
    for option in reversed((*_CONNECTION, *_SELECTION, *_OUTPUT, _FORMAT, _VERBOSE)):
        command = option(command)
    return command


def connection_options(command: _Command) -> _Command:
    """Which hosts, and how they are reached: for verbs that are about no controls."""
    for option in reversed(_CONNECTION):
        command = option(command)
    return command


def listing_options(command: _Command) -> _Command:
    """What verbs share that only list."""
    return _FORMAT(_VERBOSE(command))


_YES = click.option("--yes", is_flag=True, help="Do not ask: yes.")
_REASON = click.option("--reason", default="", metavar="TEXT", help="Why, for the run's record.")


def errand_options(command: _Command) -> _Command:
    """What verbs share that change hosts in another way than an apply does."""
    return _YES(_REASON(command))


def require_consent(verb: str, chosen: Mapping[str, Any]) -> None:
    """Raises UsageError where hosts are not named, or nobody sees what there would be to approve."""
    if not chosen["sources"]:
        raise UsageError(f"{verb} changes hosts, so it wants them named: -i INVENTORY (this machine is -i localhost,).")
    if chosen["output"] == "json" and not chosen["yes"]:
        raise UsageError(
            "With --format json nobody sees what there is to approve: look without it first, then add --yes."
        )


batch_options: tuple[Callable[[_Command], _Command], ...] = (
    click.option(
        "--serial",
        multiple=True,
        callback=_serial,
        metavar="N|N%",
        help="Batches, as Ansible's serial.  [default: 1, 5%, 20%]",
    ),
    click.option(
        "--max-fail-percentage",
        type=click.IntRange(0, 100),
        default=0,
        show_default=True,
        help="Stop when more of a batch's hosts than this failed.",
    ),
)


_CONTROLS = _SELECTION[1]


def rollback_options(command: _Command) -> _Command:
    """What is taken back, over whose changes, and how."""
    own = (
        _CONTROLS,
        click.option("--force", is_flag=True, help="Take back what was changed since, too."),
        click.option("--check", is_flag=True, help="Only show it: change nothing."),
        click.option("--yes", is_flag=True, help="Do not ask: yes."),
        *batch_options,
        click.option("--reason", default="", metavar="TEXT", help="Why, for the run's record."),
    )
    for option in reversed(own):
        command = option(command)
    return command


def consent(chosen: Mapping[str, Any]) -> Callable[[str], bool]:
    """What answers the question whether to go on: `--yes`, or the user at the terminal."""
    return (lambda _question: True) if chosen["yes"] else _answer


def _answer(question: str) -> bool:
    """The user's answer; nothing, or the end of the input, is no. Raises UsageError without a terminal to ask at."""
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask at, so nothing was changed. Add --yes to approve beforehand.")
    click.echo(f"{question} [y/N] ", err=True, nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def access(chosen: Mapping[str, Any], sources: tuple[str, ...]) -> Access:
    """How the hosts are reached; asks for the passwords that were asked for.

    Raises UsageError when there is no terminal to ask at.
    """
    password = _ask("SSH password: ") if chosen["ask_pass"] else None
    become_password = None
    if chosen["ask_become_pass"]:
        hint = " [as the SSH password]" if password is not None else ""
        become_password = _ask(f"Become password{hint}: ")
        if password is not None and not become_password.reveal():
            become_password = password
    return Access(
        sources=sources,
        limit=chosen["limit"],
        extra_vars=chosen["extra_vars"],
        user=chosen["user"],
        private_key=chosen["private_key"],
        password=password,
        become=chosen["become"],
        become_password=become_password,
        vault_password_files=chosen["vault_files"],
        vault_password=_ask("Vault password: ") if chosen["ask_vault_pass"] else None,
        forks=chosen["forks"],
        transport=chosen["transport"],
    )


def selection(chosen: Mapping[str, Any]) -> Selection:
    """Which controls, and the consent to change them."""
    from remediator.run import Selection

    return Selection(chosen["roles"], chosen["controls"], chosen["skip"], chosen["allow"])


def batches(chosen: Mapping[str, Any]) -> Batches:
    """In which batches an apply goes through the fleet."""
    from remediator.run import Batches

    return Batches(chosen["serial"], chosen["max_fail_percentage"])


def threshold(chosen: Mapping[str, Any]) -> Threshold:
    """What counts as drift."""
    from remediator.exit_codes import Threshold

    return Threshold(chosen["strict"], chosen["fail_on"])


def apply_command(context: click.Context, sources: tuple[str, ...]) -> str:
    """The `remediate apply` that goes with this check, to be shown.

    Values of -e are left out as `...`: they may be secret, and output lands in logs.
    """
    return _command(["remediate", "apply"], context, sources, _OF_CHECK_ALONE)


def preview_command(context: click.Context, sources: tuple[str, ...]) -> str:
    """The `remediate --check` of role docker_tls that goes with this `tls issue`, to be shown as `apply_command` is."""
    words = ["remediate", "--check", "--role", "docker_tls"]
    return _command(words, context, sources, _OF_ISSUE_ALONE)


def _command(words: list[str], context: click.Context, sources: tuple[str, ...], left_out: tuple[str, ...]) -> str:
    """`words`, the inventory, and what else was given to this call, except for the parameters `left_out`."""
    for source in sources:
        words += ["-i", source]
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
        if name in left_out or not given:
            continue
        value = context.params[name]
        for one in value if isinstance(value, tuple) else (value,):
            words += [parameter.opts[0]] if one is True else [parameter.opts[0], _shown(name, str(one))]
    return " ".join(word if word == "..." else shlex.quote(word) for word in words)


def _shown(name: str, value: str) -> str:
    return "..." if name == "extra_vars" and not value.startswith("@") else value


def _ask(question: str) -> Secret:
    """A password from the terminal, without echo. Raises UsageError when there is none to ask at."""
    import getpass

    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        if not sys.stdin.isatty():  # getpass would go on and echo
            name = question.rstrip(": ").split(" [")[0]
            raise UsageError(
                f"There is no terminal to ask for the {name} at. Run this in a terminal, or give the password in the "
                "inventory through Ansible Vault with --vault-password-file."
            ) from None
    try:
        return Secret(getpass.getpass(question))
    except EOFError:
        raise UsageError("The terminal was closed before the password was given. Run it again.") from None
