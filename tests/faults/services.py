"""The host's own programs, as the campaign's hosts have them: each keeps its state on disk, and each is whole.

A lock makes every call of them one after the other, as the kernel and systemd do: the program that called may be gone.
"""

_LOCKED = """
import fcntl
lock = (here / "programs.lock").open("w")
fcntl.flock(lock, fcntl.LOCK_EX)
"""

# The kernel's rules, as auditctl lists and changes them.
AUDITCTL = (
    _LOCKED
    + """
rules = here / "rules"
held = rules.read_text().splitlines() if rules.exists() else []
words = " ".join(["-w"] + argv[1:])
if argv == ["-l"]:
    print("\\n".join(held) or "No rules")
elif argv == ["-s"]:
    print("enabled 1\\nfailure 1")
elif argv[0] == "-w":
    if words in held:
        sys.exit("Error sending add rule data request (Rule exists)")
    (here / "rules.new").write_text("\\n".join(held + [words]))
    (here / "rules.new").rename(rules)
elif argv[0] == "-W":
    if words not in held:
        sys.exit("Error sending delete rule data request (No such file or directory)")
    held.remove(words)
    (here / "rules.new").write_text("\\n".join(held))
    (here / "rules.new").rename(rules)
else:
    sys.exit("no such rule")
"""
)

# A unit that remembers the bytes that its process was started from, and does not start from some of them.
SYSTEMCTL = (
    _LOCKED
    + """
config, started = here / "files" / "daemon.json", here / "started_from"
if "show" in argv:
    state = "active" if started.exists() else "failed"
    print("ActiveState=%s\\nSubState=running\\nMainPID=999999999\\nNRestarts=0\\nNeedDaemonReload=no" % state)
    print("TimeoutStartUSec=1min 30s\\nTimeoutStopUSec=infinity\\nResult=exit-code")
elif "restart" in argv:
    content = config.read_bytes()
    started.unlink(missing_ok=True)
    if b"refused" in content:
        sys.exit("Job for docker.service failed.")
    (here / "started_new").write_bytes(content)
    (here / "started_new").rename(started)
"""
)

DOCKERD = 'print("configuration OK")'

# systemd is there, and its unit files lie in a directory of the test's.
BOOT_SETUP = """
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system
mount --bind {base}/units /etc/systemd/system
"""
