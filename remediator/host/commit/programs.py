"""The host's own programs, run by absolute path with a fixed environment and a deadline. Never a shell."""

import os
import subprocess
from typing import List, NamedTuple, Optional

from remediator.host.commit.outcomes import StepError, plain_line, system_error

PROGRAM_DIRECTORIES = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
PROGRAM_ENVIRONMENT = {
    "LC_ALL": "C",
    "PATH": ":".join(PROGRAM_DIRECTORIES),
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
    # What openssl makes is the same on every host, whatever that host's own configuration adds to requests.
    "OPENSSL_CONF": "/dev/null",
}
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


def find_program(name: str) -> Optional[str]:
    """Its absolute path in the directories of the system; None where it is not installed."""
    paths = [directory + "/" + name for directory in PROGRAM_DIRECTORIES]
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def run_program(name: str, arguments: List[str], seconds: float = 30, given: bytes = b"") -> Finished:
    """Runs it to its end, with `given` on its standard input.

    Raises StepError where it is missing, cannot be started or does not end within `seconds`.
    """
    path = find_program(name)
    if path is None:
        raise StepError(name + " is not installed on this host")
    # As bytes: Python 3.6 under the C locale cannot encode any other than ASCII itself.
    words = [word.encode("utf-8", "surrogateescape") for word in arguments]
    try:
        process = start_program(path, words, bool(given), subprocess.PIPE)
    except OSError as error:  # no memory or no process left: never a reason to leave what is half done as it is
        raise StepError(system_error(name, error))
    try:
        output, errors = process.communicate(given or None, timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise StepError("%s %s did not end within %d seconds" % (name, arguments[0], seconds))
    return Finished(process.returncode, shown_output(output), shown_output(errors))


def start_program(path: str, words: List[bytes], given: bool, errors: Optional[int]) -> "subprocess.Popen[bytes]":
    """Starts it, its output on a pipe; its input too where it is `given` one, its standard error where `errors` says.

    It is no part of our session: a hang-up or Ctrl-C at a terminal of ours must not end what is half done.
    """
    return subprocess.Popen(
        [path.encode("ascii")] + words,
        stdin=subprocess.PIPE if given else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=PROGRAM_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


def shown_output(data: bytes) -> str:
    """A program's bytes as text, bounded."""
    return data[:MAX_OUTPUT].decode("utf-8", "replace")
