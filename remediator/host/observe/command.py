"""The fixed list of read-only commands that observe runs, and the only place that starts a process.

No shell, no words from the host or the controller: every argument stands in COMMANDS, and a file that a command is to
read is its standard input, already open. Programs are looked up in the system's own directories only, and run only
where nobody but root can replace them.
"""

import os
import select
import stat
import time

COMMAND_DIRECTORIES = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
# People's own docker stands before the packaged one on their PATH: that one's version matters.
DOCKER_DIRECTORIES = ("/usr/local/bin",) + COMMAND_DIRECTORIES
COMMAND_ENVIRONMENT = {
    "LC_ALL": "C",
    "PATH": "/usr/bin:/usr/sbin:/bin:/sbin",
    "SYSTEMD_COLORS": "0",
    "TERM": "dumb",
    "HOME": "/nonexistent",
    # Nobody's settings. Docker's CLI speaks to the daemon even for --version (20.10), which would start a stopped one
    # through its socket unit: it is sent to a place where there is none.
    "DOCKER_CONFIG": "/nonexistent",
    "DOCKER_HOST": "unix:///nonexistent/docker.sock",
    # No engine, provider or module of the host's has a part in reading a key.
    "OPENSSL_CONF": "/dev/null",
}
COMMAND_SECONDS = 15
MAX_PROGRAM_LINKS = 40
ELF = b"\x7fELF"
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
    "CanReload",
    "StateChangeTimestampMonotonic",
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
    "docker_cli": ("docker", "--version"),
    "public_key": ("openssl", "pkey", "-pubout", "-inform", "PEM", "-outform", "DER", "-passin", "pass:"),
    "rpm": ("rpm", "-q", "--qf", "%{NAME}\\t%{VERSION}-%{RELEASE}\\tii\\n") + PACKAGE_NAMES,
}


class Finished:
    """What a command answered; `status` is None where it was not there, was killed or gave no exit status."""

    def __init__(self, status: "int | None", output: "str", errors: "str") -> None:
        self.status = status
        self.output = output
        self.errors = errors


class Running:
    """A started command; several run side by side. It reads `given`, an open file, or nothing."""

    def __init__(self, name: "str", given: "int | None" = None) -> None:
        self.program = find_program(COMMANDS[name][0])
        self.pid = 0
        if self.program is None:
            return
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            run_child(self.program, COMMANDS[name], given, out_write, err_write)
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
    """The resolved path of a command in the system's directories: a regular file that only root can replace.

    Of docker only the first one that is there counts, as on people's PATH: None where that may not be run.
    """
    for path in program_paths(name):
        try:
            real = where_only_root_leads(path)
            if real is not None and may_run(name, real):
                return real
        except OSError:
            pass  # It is gone again, or in a directory that we may not search.
        if name == "docker":
            break
    return None


def program_paths(name: "str") -> "list[str]":
    """Every path at which a command could be called, in the order of PATH, whoever can write there."""
    found = []
    for directory in DOCKER_DIRECTORIES if name == "docker" else COMMAND_DIRECTORIES:
        path = directory + "/" + name
        try:
            there = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(there.st_mode) and there.st_mode & 0o111:
            found.append(path)
    return found


def where_only_root_leads(path: "str") -> "str | None":
    """The path with every symlink resolved; None where one of the directories on the way is writable by others.

    Directories that links stand in count as well: who can change a link chooses the program. Raises OSError.
    """
    waiting = path.split("/")[::-1]
    place = "/"
    links = 0
    while waiting:
        name = waiting.pop()
        if name in ("", "."):
            continue
        if name == "..":
            place = os.path.dirname(place)
            continue
        if not only_root_writes(os.lstat(place)):
            return None
        path = place.rstrip("/") + "/" + name
        if not stat.S_ISLNK(os.lstat(path).st_mode):
            place = path
            continue
        links += 1
        if links > MAX_PROGRAM_LINKS:
            return None
        target = os.readlink(path)
        place = "/" if target.startswith("/") else place
        waiting += target.split("/")[::-1]
    return place


def may_run(name: "str", real: "str") -> "bool":
    """Whether a resolved path is a program that root alone can write. Raises OSError.

    A docker that is a script is none of Docker's: it may do anything, as whoever calls it.
    """
    found = os.lstat(real)
    if not stat.S_ISREG(found.st_mode) or not only_root_writes(found):
        return False
    if name != "docker":
        return True
    descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, len(ELF)) == ELF
    finally:
        os.close(descriptor)


def only_root_writes(found: "os.stat_result") -> "bool":
    """Whether root owns it and its mode lets nobody else write."""
    return found.st_uid == 0 and not found.st_mode & 0o022


def run_child(
    program: "str", words: "tuple[str, ...]", given: "int | None", out_pipe: "int", err_pipe: "int"
) -> "None":
    """Becomes the command. Never returns."""
    try:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY) if given is None else given, 0)
        os.dup2(out_pipe, 1)
        os.dup2(err_pipe, 2)
        os.execve(program, words, COMMAND_ENVIRONMENT)  # noqa: S606 - no shell is what is wanted
    finally:
        os._exit(127)
