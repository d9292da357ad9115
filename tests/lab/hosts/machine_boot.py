"""Waiting for a machine: until a command over SSH succeeds, and until its boot is done."""

import time

from .interface import LabError, LabHost
from .machine_qemu import Emulator

BOOT_SECONDS = 600.0
"""How long a boot may take: a minute on two idle cores, three when others use them too."""

_ATTEMPT_SECONDS = 60.0
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
# Ends 0 once this boot is another than $1 and systemd has come up; a unit that failed makes it "degraded".
_BOOTED = f"""
id=$(cat {_BOOT_ID})
[ "$id" != "$1" ]
state=$(systemctl is-system-running --wait || :)
[ "$state" = running ] || [ "$state" = degraded ]
"""


def boot_id(host: LabHost) -> str:
    """What the kernel calls this boot; another after every boot."""
    return host.text("cat", _BOOT_ID)


def await_boot(host: LabHost, emulator: Emulator, other_than: str = "") -> None:
    """Wait until root can log in, to a boot `other_than` that one, and systemd has come up.

    Raises LabError, with the end of the console, after BOOT_SECONDS or where the emulator ended.
    """
    await_success(host, emulator, ("sh", "-euc", _BOOTED, "booted", other_than), BOOT_SECONDS)


def await_success(host: LabHost, emulator: Emulator, argv: tuple[str, ...], seconds: float) -> None:
    """Run `argv` on the machine, again and again, until it ends 0.

    Raises LabError, with the end of the console, after `seconds` or where the emulator ended.
    """
    deadline = time.monotonic() + seconds
    last = ""
    while time.monotonic() < deadline:
        if not emulator.running:
            raise LabError(emulator.last_words(f"({host.name}) ended"))
        try:
            result = host.run(*argv, check=False, timeout=_ATTEMPT_SECONDS)
        except LabError as error:  # the connection of a machine that goes down may hang
            last = str(error)
        else:
            if result.returncode == 0:
                return
            last = (result.stdout + result.stderr).decode(errors="backslashreplace").strip()
        time.sleep(0.5)
    raise LabError(emulator.last_words(f"({host.name}) is not up after {seconds:.0f} s; its last answer: {last!r}"))
