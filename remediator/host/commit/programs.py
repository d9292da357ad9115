"""The host's own programs, run by absolute path with a fixed environment and a deadline. Never a shell."""

from typing import List, NamedTuple

from remediator.host.commit.finding import PROGRAM_ENVIRONMENT, find_program
from remediator.host.commit.outcomes import StepError, plain_line, system_error

MAX_OUTPUT = 16 * 1024 * 1024


class Finished(NamedTuple):
    """What a program answered."""

    status: int
    output: str
    errors: str

    def complaint(self) -> str:
        """Its last words on standard error, or output, as one line; systemctl's hint where to look is none."""
        said = (self.errors.strip() or self.output.strip()).split("\n")
        lines = [line for line in said if line.strip() and not line.startswith("See ")]
        return plain_line(lines[-1].strip() if lines else "exit status %d" % self.status)


def run_program(name: str, arguments: List[str], seconds: float = 30, given: bytes = b"") -> Finished:
    """Runs it to its end, with `given` on its standard input.

    Raises StepError where it is missing, cannot be started or does not end within `seconds`.
    """
    try:
        # Loaded where a program is run: a commit that runs none is not to wait for it.
        import subprocess
    except Exception as error:  # noqa: BLE001 - a Python that is broken by now, too, ends in one of the two states
        raise StepError("%s cannot be run: %s" % (name, plain_line(str(error), 200)))
    path = find_program(name)
    if path is None:
        raise StepError(name + " is not installed on this host")
    # As bytes: Python 3.6 under the C locale cannot encode any other than ASCII itself.
    words = [word.encode("utf-8", "surrogateescape") for word in arguments]
    try:
        # No part of our session: a hang-up or Ctrl-C at a terminal of ours must not end what is half done.
        process = subprocess.Popen(
            [path.encode("ascii")] + words,
            stdin=subprocess.PIPE if given else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=PROGRAM_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:  # no memory or no process left: never a reason to leave what is half done as it is
        raise StepError(system_error(name, error))
    try:
        output, errors = process.communicate(given or None, timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise StepError("%s %s did not end within %d seconds" % (name, arguments[0], seconds))
    return Finished(process.returncode, shown_output(output), shown_output(errors))


def shown_output(data: bytes) -> str:
    """A program's bytes as text, bounded."""
    return data[:MAX_OUTPUT].decode("utf-8", "replace")
