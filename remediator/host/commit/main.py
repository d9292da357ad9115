"""A host's whole commit: its lock, every precondition before the first write, then transaction by transaction."""

import os
import resource
import signal
from typing import Any, Dict, List

from remediator.host.commit.lock import take_lock
from remediator.host.commit.outcomes import Result
from remediator.host.commit.preconditions import difference
from remediator.host.commit.record import log_result
from remediator.host.commit.request import Request, parse_request
from remediator.host.commit.transaction import commit_transaction, key_difference, make_result
from remediator.host.common.serve import ProgramError


def handle(document: Dict[str, Any], secret: bytes) -> Dict[str, Any]:
    """The answer to a commit request. Raises ProgramError: `request`, `become`, `state`, `locked`.

    `secret` is the private key (PEM) that an install_key of source `controller` moves into place; else it is empty.
    """
    request = parse_request(document, secret)
    if os.geteuid() != 0:
        raise ProgramError("become", "changing a host needs root there: give -b, or log in as root")
    os.umask(0o077)
    # Every changed path keeps a descriptor until its transaction ends.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A connection that is cut, or a Ctrl-C that reaches us, must not end a transaction in its middle. Handlers rather
    # than SIG_IGN: the host's own programs that are started here must not inherit deafness.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    lock = take_lock(request)
    try:
        results = commit_all(request)
    finally:
        os.close(lock)
    return {
        "format_version": 1,
        "run": request.run,
        "host": request.host,
        "results": [result.document() for result in results],
    }


def commit_all(request: Request) -> List[Result]:
    """Every transaction's result, in order. One that ends `broken` holds back those after it."""
    differences = [difference(wanted) for item in request.transactions for wanted in item.preconditions]
    differences += [key_difference(act, request.secret) for item in request.transactions for act in item.actions]
    changed = [words for words in differences if words]
    if changed:
        reason = "; ".join(changed[:3]) + ("; and %d more" % (len(changed) - 3) if len(changed) > 3 else "")
        return [make_result(transaction, "stale", reason) for transaction in request.transactions]
    results: List[Result] = []
    for transaction in request.transactions:
        broken = next((result.group for result in results if result.outcome == "broken"), None)
        if broken is not None:
            results.append(make_result(transaction, "held", "transaction %s before it ended broken" % broken))
            continue
        result = commit_transaction(transaction, request)
        log_result(request, transaction, result)
        results.append(result)
    return results
