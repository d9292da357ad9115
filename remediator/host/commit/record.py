"""A line in the host's own log for every path that was changed, or changed and put back."""

import errno
import os
import socket
import time
from typing import List, Tuple

from remediator.host.commit.journal import Journal
from remediator.host.commit.outcomes import Result, plain_line
from remediator.host.commit.request import Request, Transaction
from remediator.host.commit.staged_pair import KEY_PATH

LOGGED = ("applied", "rolled_back", "broken")
LOG_SOCKET = "/dev/log"
# RFC 3164: facility authpriv (10) times eight, plus the severity.
PRIORITY_NOTICE = 10 * 8 + 5
PRIORITY_ERROR = 10 * 8 + 3
# syslog(3) waits for ever on a log daemon that is stuck: a commit that holds the host's lock must not.
LOG_SECONDS = 2.0


def log_result(request: Request, transaction: Transaction, result: Result) -> None:
    """Writes to the host's syslog. A host whose log is missing or stuck loses nothing but these lines."""
    if result.outcome not in LOGGED:
        return
    targets = [action.path or " ".join(action.rule or (KEY_PATH,)) for action in transaction.actions]
    send_result((request.run, request.who, request.reason), targets, result)


def log_recovery(journal: Journal, result: Result) -> None:
    """Writes to the host's syslog what became of an interrupted transaction."""
    found = journal.document["entries"]
    targets = [entry.get("path") or " ".join(entry.get("rule") or (KEY_PATH,)) for entry in found]
    send_result(tuple(journal.document[name] for name in ("run", "who", "reason")), targets, result)


def send_result(order: Tuple[str, ...], targets: List[str], result: Result) -> None:
    """A line for each target; `order` is run, who and reason."""
    lines = []
    for target in dict.fromkeys(targets):
        fields = order + (result.group, target, result.outcome, result.reason)
        words = [plain_line(field, 200).replace('"', "'") for field in fields]
        lines.append('run=%s who="%s" reason="%s" group=%s path="%s" outcome=%s why="%s"' % tuple(words))
    try:
        send_lines(PRIORITY_NOTICE if result.outcome == "applied" else PRIORITY_ERROR, lines)
    except OSError:
        pass


def send_lines(priority: int, lines: List[str]) -> None:
    """Sends lines to the log daemon, a datagram each (or on a stream, where it wants one). Raises OSError."""
    end = time.monotonic() + LOG_SECONDS
    log, closing = open_log(socket.SOCK_DGRAM), b""
    try:
        try:
            log.connect(LOG_SOCKET)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
            log.close()
            log, closing = open_log(socket.SOCK_STREAM), b"\0"
            log.connect(LOG_SOCKET)
        for line in lines:
            log.settimeout(max(0.01, end - time.monotonic()))
            head = "<%d>%s remediator[%d]: " % (priority, time.strftime("%b %e %H:%M:%S"), os.getpid())
            log.sendall((head + line).encode("utf-8") + closing)
    finally:
        log.close()


def open_log(kind: int) -> socket.socket:
    """An unconnected socket that does not wait longer than LOG_SECONDS."""
    log = socket.socket(socket.AF_UNIX, kind)
    log.settimeout(LOG_SECONDS)
    return log
