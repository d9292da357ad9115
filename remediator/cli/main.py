"""The command `remediate` and its verbs; every error becomes one line and an exit code here."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

import click

from remediator.errors import HostError, LockedError, RemediatorError, UsageError

# Verb -> what the list of verbs says of it. The verb's module is imported when it is called.
VERBS = {
    "check": "Preview: every verdict, and the exact bytes that would change.",
    "apply": "Show the preview, ask, and make exactly that change.",
    "rollback": "Show what takes a run back, ask, and do exactly that.",
    "transactions": "List what was done to each host, as its own journal has it.",
    "recover": "Put back what was interrupted on hosts.",
    "purge": "Take our traces off hosts; the hardening stays.",
    "controls": "List the controls, or explain one.",
    "tls": "Make certificates for Docker daemons and their clients.",
    "schema": "Print the JSON Schema of what --format json prints.",
}


class _Verbs(click.Group):
    """Verbs that are imported when they are called, and `--check` as another name of `check`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = getattr(importlib.import_module(f"remediator.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - each verb's file defines its command by its name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--check" in args and args[0] not in VERBS:
            args = ["check", *(word for word in args if word != "--check")]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS:
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, 1)
            hint = f"Did you mean {near[0]}?" if near else f"The verbs are {', '.join(VERBS)}."
            ctx.fail(f"There is no verb {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)


def _version(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from remediator.version import version

        click.echo(f"remediate {version()}")
        context.exit()


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="The same as the verb check.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show it and end.")
def remediate(check: bool) -> None:
    """Preview, apply and keep the hardening of Docker and Kubernetes hosts.

    `remediate --check` looks at this machine, `remediate --check -i INVENTORY` at a fleet, and neither changes
    anything. `remediate VERB --help` has the options.
    """


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments (those after the program's name); the exit code."""
    verbose = False
    try:
        with remediate.make_context("remediate", list(arguments)) as context:
            try:
                code = remediate.invoke(context)
                sys.stdout.flush()
                return int(code or 0)
            finally:
                verbose = bool(context.meta.get("remediator.verbose"))
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        _complain("stopped.")
        return 130
    except UsageError as error:
        _complain(str(error))
        return 2
    except LockedError as error:
        _complain(str(error))
        return 5
    except (HostError, RemediatorError) as error:
        _complain(str(error))
        return 3
    except Exception as error:  # noqa: BLE001 - the last resort: a user gets a sentence, never a traceback unasked
        return _bug(error, verbose)


def _complain(message: str) -> None:
    from remediator.text import visible

    click.echo(f"remediate: {visible(message)}", err=True)


def _bug(error: Exception, verbose: bool) -> int:
    """Say that this is a bug of ours and where; only -v shows the error's words, which may quote a host."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    where = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "nowhere"
    _complain(
        f"a bug in remediator ({type(error).__name__} at {where}). Please report it, with the output of the same "
        "command and -v."
    )
    if verbose:
        for line in traceback.format_exception(error):
            from remediator.text import visible

            click.echo(visible(line, 20_000), err=True, nl=False)
    return 70


def main() -> None:
    """The console script."""
    gc.set_threshold(100_000, 50, 50)  # a start makes many objects and hardly any garbage
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries' deprecations are our matter, not the user's
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that the locale cannot spell must not end the run
    code = run(sys.argv[1:])
    _close_output()
    sys.exit(code)


def _close_output() -> None:
    """Flush; where the reader has gone (`| head`), see to it that Python does not complain at its end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
