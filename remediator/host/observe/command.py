"""The fixed list of read-only commands that observe runs, and the only place that starts a process.

No shell, no words from the host or the controller: every argument stands in COMMANDS. Programs are looked up in the
system's own directories only.
"""

import os
import select
import stat
import time

COMMAND_DIRECTORIES = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
COMMAND_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/usr/sbin:/bin:/sbin", "SYSTEMD_COLORS": "0", "TERM": "dumb"}
COMMAND_SECONDS = 15
KILL = 9  # SIGKILL everywhere, without importing signal
COMMAND_OUTPUT = 4194304

# Units whose state says what this host is. One call answers for all.
UNIT_NAMES = (
    "docker.service",
    "docker.socket",
    "containerd.service",
    "kubelet.service",
    "etcd.service",
    "kube-proxy.service",
    "kube-apiserver.service",
    "kube-controller-manager.service",
    "kube-scheduler.service",
    "k3s.service",
    "k3s-agent.service",
    "rke2-server.service",
    "rke2-agent.service",
    "auditd.service",
    "audit-rules.service",
)
UNIT_PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "MainPID",
    "FragmentPath",
    "DropInPaths",
    "NeedDaemonReload",
    "ExecStart",
    "Environment",
    "EnvironmentFiles",
    "Listen",
    "SocketMode",
    "SocketUser",
    "SocketGroup",
    "RefuseManualStop",
    "WorkingDirectory",
)
PACKAGE_NAMES = (
    "docker.io",
    "docker-ce",
    "moby-engine",
    "containerd",
    "containerd.io",
    "runc",
    "auditd",
    "audit",
    "kubelet",
    "kubeadm",
    "etcd-server",
)
COMMANDS = {
    "audit_state": ("auditctl", "-s"),
    "audit_rules": ("auditctl", "-l"),
    "units": ("systemctl", "show", "--no-pager", "--property=" + ",".join(UNIT_PROPERTIES), "--") + UNIT_NAMES,
    "dpkg": ("dpkg-query", "-W", "-f", "${Package}\\t${Version}\\t${db:Status-Abbrev}\\n", "--") + PACKAGE_NAMES,
    "rpm": ("rpm", "-q", "--qf", "%{NAME}\\t%{VERSION}-%{RELEASE}\\tii\\n") + PACKAGE_NAMES,
}


class Finished:
    """What a command answered; `status` is None where it was not there, was killed or gave no exit status."""

    def __init__(self, status: "int | None", output: "str", errors: "str") -> None:
        self.status = status
        self.output = output
        self.errors = errors


class Running:
    """A started command; several run side by side."""

    def __init__(self, name: "str") -> None:
        self.program = find_program(COMMANDS[name][0])
        self.pid = 0
        if self.program is None:
            return
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            run_child(self.program, COMMANDS[name], out_write, err_write)
        os.close(out_write)
        os.close(err_write)
        self.pipes = (out_read, err_read)
        self.deadline = time.monotonic() + COMMAND_SECONDS

    def finish(self) -> "Finished":
        """Waits for the end, or kills the command at its deadline or when it prints too much."""
        if self.program is None:
            return Finished(None, "", "not installed")
        output, complete = self.collect()
        if not complete:
            os.kill(self.pid, KILL)
        status = os.waitpid(self.pid, 0)[1]
        for pipe in self.pipes:
            os.close(pipe)
        code = os.WEXITSTATUS(status) if complete and os.WIFEXITED(status) else None
        texts = [b"".join(output[pipe]).decode("utf-8", "surrogateescape") for pipe in self.pipes]
        if not complete:
            texts[1] = "no end after %d seconds or %d bytes" % (COMMAND_SECONDS, COMMAND_OUTPUT)
        return Finished(code, texts[0], texts[1])

    def collect(self) -> "tuple[dict[int, list[bytes]], bool]":
        """Everything that both pipes give until they end, and whether they did end in time and within bounds."""
        output: "dict[int, list[bytes]]" = {pipe: [] for pipe in self.pipes}
        poll = select.poll()
        for pipe in self.pipes:
            poll.register(pipe, select.POLLIN)
        open_pipes = len(self.pipes)
        total = 0
        while open_pipes:
            left = self.deadline - time.monotonic()
            if left <= 0 or total > COMMAND_OUTPUT:
                return output, False
            for pipe, _ in poll.poll(int(left * 1000) + 1):
                piece = os.read(pipe, 65536)
                total += len(piece)
                output[pipe].append(piece)
                if not piece:
                    poll.unregister(pipe)
                    open_pipes -= 1
        return output, True


def find_program(name: "str") -> "str | None":
    """The path of a command in the system's directories: a regular file that root owns and others cannot write."""
    for directory in COMMAND_DIRECTORIES:
        path = directory + "/" + name
        try:
            found = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022:
            return path
    return None


def run_child(program: "str", words: "tuple[str, ...]", out_pipe: "int", err_pipe: "int") -> "None":
    """Becomes the command. Never returns."""
    try:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out_pipe, 1)
        os.dup2(err_pipe, 2)
        os.execve(program, words, COMMAND_ENVIRONMENT)  # noqa: S606 - no shell is what is wanted
    finally:
        os._exit(127)
