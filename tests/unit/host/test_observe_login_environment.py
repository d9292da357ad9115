"""Where log-ins get their environment from, in PAM, sudo and environment.d files that really lie on a disk."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from remediator.host.observe import login_environment as observed
from remediator.host.observe.login_environment import (
    CONTENT_TRUST,
    MAX_SUDO_LINE,
    MAX_SUDO_LINES,
    MAX_TRUST_FILES,
    content_trust_references,
    login_environment,
)
from remediator.observation import LoginEnvironment

# Debian 12's and 13's own, without comments.
DEBIAN = {
    "sshd": "@include common-auth\naccount required pam_nologin.so\nsession [success=ok ignore=ignore default=bad] "
    "pam_selinux.so close\n@include common-session\nsession required pam_env.so # [1]\n"
    "session required pam_env.so user_readenv=1 envfile={root}/etc/default/locale\n",
    "su": "auth sufficient pam_rootok.so\nsession required pam_env.so readenv=1\n@include common-session\n",
    "su-l": "auth include su\nsession optional pam_keyinit.so force revoke\nsession include su\n",
    "sudo": "session required pam_limits.so\n@include common-auth\n@include common-session\n",
    "common-auth": "auth requisite pam_deny.so\n",
    "common-session": "session required pam_unix.so\nsession optional pam_systemd.so\n",
}
# As on Fedora: pam_env in the auth stack, told to sudo as well.
FEDORA = {
    "sshd": "auth substack password-auth\nsession include password-auth\n",
    "sudo": "auth include system-auth\nsession include system-auth\n",
    "sudo-i": "auth include sudo\nsession include sudo\n",
    "password-auth": "auth required pam_env.so\nauth required pam_deny.so\n",
    "system-auth": "auth required \\\n pam_env.so\nsession required pam_unix.so\n",
}


class Host:
    """A directory that stands for the root of a host."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, content: str) -> str:
        """Write a file below the root and return where it is."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content.replace("{root}", str(self.root)))
        return str(place)

    def pam(self, files: dict[str, str]) -> LoginEnvironment:
        """The section with these PAM files."""
        for name, content in files.items():
            self.write(f"etc/pam.d/{name}", content)
        return self.section()

    def sudo(self, **files: str) -> LoginEnvironment:
        """The section with this policy; `sudoers` is the main file, others lie in sudoers.d."""
        for name, content in files.items():
            self.write("etc/sudoers" if name == "sudoers" else f"etc/sudoers.d/{name}", content)
        return self.section()

    def section(self) -> LoginEnvironment:
        """The section as the controller reads it."""
        return LoginEnvironment.model_validate(json.loads(json.dumps(login_environment())))

    def settings(self) -> list[tuple[str, str]]:
        """What the reference stands for, below the root."""
        reference = content_trust_references([CONTENT_TRUST])[CONTENT_TRUST]
        assert reference.status == "resolved", reference.reason
        return [(path.removeprefix(f"{self.root}/"), kind) for path, kind in reference.paths]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    def moved(path: str) -> str:
        return f"{tmp_path}{path}"

    monkeypatch.setattr(observed, "ETC_ENVIRONMENT", moved("/etc/environment"))
    monkeypatch.setattr(observed, "SUDOERS", moved("/etc/sudoers"))
    for name in ("PAM_DIRECTORIES", "ENVIRONMENT_DIRECTORIES", "SYSTEMD_PROGRAMS"):
        monkeypatch.setattr(observed, name, tuple(map(moved, getattr(observed, name))))
    for name in ("TRUST_FILES", "TRUST_DIRECTORIES"):
        monkeypatch.setattr(observed, name, tuple((moved(path), *rest) for path, *rest in getattr(observed, name)))
    monkeypatch.setattr(observed, "find_program", lambda name: f"/usr/bin/{name}")
    (tmp_path / "etc").mkdir()
    return Host(tmp_path)


def test_on_debian_log_ins_read_the_file_and_sudo_does_not(host: Host) -> None:
    assert host.pam(DEBIAN).pam == {"sshd": True, "su-l": True, "sudo": False}


def test_on_fedora_sudo_reads_it_through_its_auth_stack(host: Host) -> None:
    assert host.pam(FEDORA).pam == {"sshd": True, "sudo": True, "sudo-i": True}


@pytest.mark.parametrize(
    ("line", "reads"),
    [
        ("session required pam_env.so", True),
        ("-session optional /usr/lib/security/pam_env.so debug", True),
        ("session [default=ignore success=ok] pam_env.so readenv=1", True),
        ("session required pam_env.so readenv=0", False),
        ("session required pam_env.so envfile=/etc/default/locale", False),
        ("#session required pam_env.so", False),
        ("account required pam_env.so", False),
        ("session required pam_environment.so", False),
        ("session include sshd", False),
        ("@include sshd", False),
    ],
)
def test_a_pam_line_is_read_as_pam_reads_it(host: Host, line: str, reads: bool) -> None:
    assert host.pam({"sshd": f"{line}\n"}).pam == {"sshd": reads}


def test_an_include_takes_the_lines_of_its_own_type_only(host: Host) -> None:
    files = {"login": "account include env\n", "sshd": "session include env\n", "env": "auth required pam_env.so\n"}
    assert host.pam(files).pam == {"login": False, "sshd": False}


def test_pam_files_of_the_system_stand_in_for_those_of_the_administrator(host: Host) -> None:
    host.write("usr/lib/pam.d/systemd-user", "session required pam_env.so\n")
    host.write("usr/lib/pam.d/sshd", "session required pam_env.so\n")
    assert host.pam({"sshd": "session required pam_unix.so\n"}).pam == {"sshd": False, "systemd-user": True}


def test_user_managers_read_the_file_by_a_link_in_environment_d(host: Host) -> None:
    assert host.section().environment_d is None
    host.write("usr/lib/systemd/systemd", "")
    assert host.section().environment_d is False
    link = host.root / "usr/lib/environment.d/99-environment.conf"
    link.parent.mkdir()
    link.symlink_to("../../../etc/environment")
    assert host.section().environment_d is True


def test_a_link_that_the_administrator_hid_is_none(host: Host) -> None:
    host.write("usr/lib/systemd/systemd", "")
    (host.root / "usr/lib/environment.d").mkdir()
    (host.root / "usr/lib/environment.d/99-environment.conf").symlink_to(host.root / "etc/environment")
    (host.root / "etc/environment.d").mkdir()
    (host.root / "etc/environment.d/99-environment.conf").symlink_to("/dev/null")
    assert host.section().environment_d is False


def test_what_sudo_keeps_is_told_in_the_order_in_which_sudo_takes_it(host: Host) -> None:
    host.write("etc/extra", "Defaults env_keep -= D\n")
    seen = host.sudo(
        sudoers="Defaults\tenv_reset\n# @includedir /nowhere\n#includedir {root}/etc/sudoers.d/\n"
        'Defaults env_keep += "A \\\n  B"\nDefaults use_pty\nroot ALL=(ALL) ALL\n',
        b='Defaults env_keep = "C"\n',
        a='Defaults:ops !env_keep\n@include {root}/etc/extra\n@include "b"\n',
    )
    assert seen.sudo == "read"
    etc = f"{host.root}/etc"
    assert [(line.path.removeprefix(etc), line.line, line.text.replace(etc, "")) for line in seen.sudo_lines] == [
        ("/sudoers", 1, "Defaults env_reset"),
        ("/sudoers", 3, "@includedir /sudoers.d"),
        ("/sudoers.d/a", 1, "Defaults:ops !env_keep"),
        ("/extra", 1, "Defaults env_keep -= D"),
        ("/sudoers.d/b", 1, 'Defaults env_keep = "C"'),
        ("/sudoers", 5, 'Defaults env_keep += "A B"'),
    ]


def test_names_that_sudo_passes_over_are_passed_over(host: Host) -> None:
    host.write("etc/sudoers.d/x.conf", "Defaults env_keep += A\n")
    host.write("etc/sudoers.d/y~", "Defaults env_keep += A\n")
    (host.root / "etc/sudoers.d/z").mkdir()
    seen = host.sudo(sudoers="@includedir {root}/etc/sudoers.d\n")
    assert [line.text.split()[0] for line in seen.sudo_lines] == ["@includedir"]


def test_a_policy_that_cannot_be_read_is_told_with_its_file(host: Host) -> None:
    assert host.section().sudo == "absent"
    seen = host.sudo(sudoers="@includedir {root}/etc/sudoers.d\n", big="x" * 2_000_000)
    assert (seen.sudo, seen.sudo_lines) == ("unreadable", ())
    assert f"{host.root}/etc/sudoers.d/big" in seen.sudo_problem


def test_a_policy_without_end_is_told(host: Host) -> None:
    seen = host.sudo(sudoers="Defaults env_keep += A\n" * (MAX_SUDO_LINES + 1))
    assert (seen.sudo, seen.sudo_lines) == ("unreadable", ())
    seen = host.sudo(sudoers="@include {root}/etc/sudoers\n" * 1000)
    assert (seen.sudo, seen.sudo_lines) == ("read", ())


@pytest.mark.parametrize("line", ["Defaults {x} env_keep += A", 'Defaults env_keep += "{x}"', "@include /nowhere/{x}"])
def test_a_policy_with_a_line_too_long_to_be_sent_cannot_be_read(host: Host, line: str) -> None:
    short = line.format(x="x" * (MAX_SUDO_LINE - len(line) + 3))
    assert len(short) == MAX_SUDO_LINE
    assert host.sudo(sudoers=f"  {short}\n").sudo == "read"
    seen = host.sudo(sudoers=f"Defaults env_reset\n{short.replace('x', 'xx', 1)}\n")
    assert (seen.sudo, seen.sudo_lines) == ("unreadable", ())
    assert f"{host.root}/etc/sudoers: line 2 is longer than {MAX_SUDO_LINE} characters" in seen.sudo_problem


@pytest.mark.parametrize("line", ["@include" + " " * 500000 + '"', "@include a" + " " * 500000, " " * 500000 + "x"])
def test_a_line_of_blanks_takes_no_time(host: Host, line: str) -> None:
    started = time.process_time()
    host.sudo(sudoers=f"{line}\n")
    host.sudo(sudoers=f"{line[:900]}\n" * 100)
    assert time.process_time() - started < 1


def test_pam_files_that_include_each_other_over_and_over_are_read_once(host: Host) -> None:
    files = {f"f{number}": f"@include f{number + 1}\n" * 2 for number in range(30)}
    started = time.process_time()
    seen = host.pam({"sshd": "@include f0\n", **files, "f30": "auth required pam_env.so\n"})
    assert time.process_time() - started < 1
    assert seen.pam == {"sshd": True}


def test_a_chain_of_pam_files_without_end_is_left(host: Host) -> None:
    files = {f"f{number}": f"@include f{number + 1}\n" for number in range(2000)}
    assert host.pam({"sshd": "@include f0\nauth required pam_env.so\n", **files}).pam == {"sshd": True}


def test_a_pam_file_that_is_included_for_each_type_is_read_for_each(host: Host) -> None:
    files = {"sshd": "session include env\nauth include env\n", "env": "auth required pam_env.so\n"}
    assert host.pam(files).pam == {"sshd": True}


def test_a_host_without_sudo_says_so(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "find_program", lambda name: None)
    assert host.sudo(sudoers="Defaults env_reset\n").sudo == "absent"


def test_the_settings_are_etc_environment_and_what_mentions_the_variable(host: Host) -> None:
    host.pam(DEBIAN)
    host.write("etc/profile", "# DOCKER_CONTENT_TRUST=1\n")
    host.write("etc/bash.bashrc", "export DOCKER_CONTENT_TRUST_SERVER=https://notary.lab\n")
    host.write("etc/profile.d/docker.sh", "export DOCKER_CONTENT_TRUST=0\n")
    host.write("etc/profile.d/docker.txt", "DOCKER_CONTENT_TRUST=0\n")
    host.write("etc/default/locale", "DOCKER_CONTENT_TRUST=0\n")
    host.write("etc/default/docker", "DOCKER_CONTENT_TRUST=0\n")
    host.write("etc/environment.d/10-a.conf", "DOCKER_CONTENT_TRUST=0\n")
    host.write("etc/systemd/system.conf", "#DefaultEnvironment=DOCKER_CONTENT_TRUST=0\n")
    host.write("etc/systemd/user.conf.d/a.conf", "[Manager]\nDefaultEnvironment=DOCKER_CONTENT_TRUST=0\n")
    host.write("etc/ssh/sshd_config.d/a.conf", "SetEnv DOCKER_CONTENT_TRUST=0\n")
    assert host.settings() == [
        ("etc/environment", "environment file"),
        ("etc/profile", "shell start-up file"),
        ("etc/systemd/system.conf", "configuration of systemd's system manager"),
        ("etc/profile.d/docker.sh", "shell start-up file"),
        ("etc/ssh/sshd_config.d/a.conf", "configuration of log-ins"),
        ("etc/systemd/user.conf.d/a.conf", "configuration of systemd's user managers"),
        ("etc/environment.d/10-a.conf", "environment file"),
        ("etc/default/locale", "environment file"),
    ]


def test_a_file_of_two_names_is_told_once_and_a_link_elsewhere_by_its_own(host: Host) -> None:
    host.write("etc/environment", "DOCKER_CONTENT_TRUST=0\n")
    (host.root / "etc/environment.d").mkdir()
    (host.root / "etc/environment.d/99-environment.conf").symlink_to("../environment")
    host.write("etc/bash.bashrc", "DOCKER_CONTENT_TRUST=0\n")
    (host.root / "etc/bashrc").symlink_to("bash.bashrc")
    host.write("opt/trust", "DOCKER_CONTENT_TRUST=0\n")
    (host.root / "etc/profile.d").mkdir()
    (host.root / "etc/profile.d/trust.sh").symlink_to(host.root / "opt/trust")
    assert [path for path, _ in host.settings()] == ["etc/environment", "etc/bash.bashrc", "etc/profile.d/trust.sh"]


def test_a_link_to_dev_null_sets_nothing(host: Host) -> None:
    (host.root / "etc/environment.d").mkdir(parents=True)
    (host.root / "etc/environment.d/99-environment.conf").symlink_to("/dev/null")
    assert [path for path, _ in host.settings()] == ["etc/environment"]


def test_what_cannot_be_read_could_set_it_too(host: Host) -> None:
    host.write("etc/profile", "x" * 2_000_000)
    os.mkfifo(host.root / "etc/bashrc")
    (host.root / "etc/profile.d/a.sh").mkdir(parents=True)
    assert [path for path, _ in host.settings()] == ["etc/environment", "etc/profile", "etc/bashrc"]


def test_more_files_than_can_be_looked_at_make_the_settings_unknown(host: Host) -> None:
    for number in range(MAX_TRUST_FILES + 1):
        host.write(f"etc/profile.d/{number}.sh", "")
    reference = content_trust_references([CONTENT_TRUST])[CONTENT_TRUST]
    assert (reference.status, reference.paths) == ("unknown", [])
    assert f"{host.root}/etc/profile.d holds more than {MAX_TRUST_FILES} files" in reference.reason


def test_nothing_is_looked_at_where_nobody_asks(host: Host) -> None:
    assert content_trust_references(["@docker.config_file"]) == {}
