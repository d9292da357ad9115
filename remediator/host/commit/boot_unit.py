"""The unit that recovers at the next boot, before Docker, the kubelet and auditd: there while a journal is open."""

import os
import sys

from remediator.host.commit.files import write_fully
from remediator.host.commit.journal import remove_name, replace_content
from remediator.host.commit.lock import STATE_DIRECTORY, open_state_directory
from remediator.host.commit.outcomes import StepError
from remediator.host.commit.places import DIRECTORY_FLAGS, PLACE_READ_FLAGS, UntrustedError, open_place
from remediator.host.common.serve import ProgramError

SYSTEMD_MARK = "/run/systemd/system"
UNIT_DIRECTORY = "/etc/systemd/system"
RECOVER_UNIT = b"remediator-recover.service"
WANTS_DIRECTORY = UNIT_DIRECTORY + "/sysinit.target.wants"
RECOVER_PROGRAM = b"recover.py"
UNIT_DRAFT = b"." + RECOVER_UNIT + b".new"
PROGRAM_DRAFT = b"recover.new"
# Early, before anything that starts from the files: what systemd itself has read by then is read again.
RECOVER_TEXT = """# Written by remediator while it changes this host, and removed afterwards.
[Unit]
Description=Put back what an interrupted remediator run left half done
DefaultDependencies=no
RequiresMountsFor=%(state)s /etc
After=local-fs.target
Before=sysinit.target auditd.service audit-rules.service docker.service docker.socket containerd.service
Before=kubelet.service etcd.service shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart=%(python)s -I -B %(state)s/recover.py
StandardOutput=null
TimeoutStartSec=300
"""
BOOT_REQUEST = b'{"format_version": 1, "do": "boot"}'
# The names that the bootstrap gives. Nothing comes behind the program: it holds all of its text.
PROGRAM_HEAD = b"""# What remediator runs at boot where a run was interrupted: see remediator-recover.service.
MARKER, RUN, REQUEST, SECRET, BODY, SOURCE, LATER_TEXT = b"recover", "-", %r, b"", b"", b"", b""
"""


def install_boot_unit(program: bytes) -> None:
    """Puts the unit in place, with this very program as what it runs: its text, empty where it came as compiled code.

    A host without systemd, or with unit files that cannot be written, is recovered at its next contact instead.
    """
    if not program or not os.path.isdir(SYSTEMD_MARK):
        return
    try:
        keep_program(PROGRAM_HEAD % BOOT_REQUEST + program)
        text = RECOVER_TEXT % {"state": STATE_DIRECTORY, "python": sys.executable}
        directory = unit_directory(UNIT_DIRECTORY)
        try:
            put_unit(directory, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(directory)
        wants = unit_directory(WANTS_DIRECTORY)
        try:
            link_unit(wants)
        finally:
            os.close(wants)
    except (OSError, StepError, UntrustedError, ProgramError):
        remove_boot_unit()


def remove_boot_unit() -> None:
    """Takes the unit away again, its link first, and what was left of one that was not written to its end."""
    try:
        state = open_state_directory()
        try:
            remove_name(state, PROGRAM_DRAFT)
        finally:
            os.close(state)
    except (OSError, ProgramError):
        pass  # the next program that is kept takes its place
    for path in (WANTS_DIRECTORY, UNIT_DIRECTORY):
        try:
            place = open_place(path + "/" + RECOVER_UNIT.decode("ascii"))
        except (OSError, UntrustedError):
            continue
        try:
            if place.missing is None:
                remove_name(place.parent, RECOVER_UNIT)
                remove_name(place.parent, UNIT_DRAFT)
        except OSError:
            pass  # without an open journal it finds nothing to do
        finally:
            place.close()


def keep_program(content: bytes) -> None:
    """The program as a file of ours, written only where it is another. Raises OSError, ProgramError."""
    state = open_state_directory()
    try:
        if content_of(state, RECOVER_PROGRAM) != content:
            replace_content(state, PROGRAM_DRAFT, RECOVER_PROGRAM, content)
    finally:
        os.close(state)


def content_of(directory: int, name: bytes) -> bytes:
    """A file's bytes; none where it is not there."""
    try:
        descriptor = os.open(name, PLACE_READ_FLAGS, dir_fd=directory)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def unit_directory(path: str) -> int:
    """A descriptor of a directory of systemd's, made where it is missing. Raises OSError, StepError, UntrustedError."""
    place = open_place(path)
    try:
        if place.missing is not None:
            raise StepError(place.missing + " is missing")
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.parent)
            os.chmod(place.name, 0o755, dir_fd=place.parent)  # noqa: S103 - as systemd's own
            os.fsync(place.parent)
        except FileExistsError:
            pass
        return place.open(DIRECTORY_FLAGS)
    finally:
        place.close()


def put_unit(directory: int, text: bytes) -> None:
    """The unit's file, on disk. Raises OSError."""
    if content_of(directory, RECOVER_UNIT) == text:
        return
    remove_name(directory, UNIT_DRAFT)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(UNIT_DRAFT, flags, 0o600, dir_fd=directory)
    try:
        os.fchmod(descriptor, 0o644)
        write_fully(descriptor, text)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(UNIT_DRAFT, RECOVER_UNIT, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def link_unit(wants: int) -> None:
    """Has sysinit.target pull the unit in. Raises OSError."""
    try:
        os.symlink(os.path.join(UNIT_DIRECTORY, RECOVER_UNIT.decode("ascii")), RECOVER_UNIT, dir_fd=wants)
    except FileExistsError:
        pass
    os.fsync(wants)
