"""Where the host's own programs are, and what environment they get."""

import os

PROGRAM_DIRECTORIES = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
PROGRAM_ENVIRONMENT = {
    "LC_ALL": "C",
    "PATH": ":".join(PROGRAM_DIRECTORIES),
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
    # What openssl makes is the same on every host, whatever that host's own configuration adds to requests.
    "OPENSSL_CONF": "/dev/null",
}


def find_program(name: "str") -> "str | None":
    """Its absolute path in the directories of the system; None where it is not installed."""
    paths = [directory + "/" + name for directory in PROGRAM_DIRECTORIES]
    return next((path for path in paths if os.access(path, os.X_OK)), None)
