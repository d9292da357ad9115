"""The inventory, read in a process of its own while this one gets ready: Ansible takes as long to load as all the rest.

The process is forked before anything costly is loaded here, so it shares this one's arguments, directory, environment
and terminal (a vault password script may ask there), and it ends with the answer.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from remediator.access import Access
from remediator.errors import RemediatorError, UsageError

if TYPE_CHECKING:
    from remediator.inventory import Inventory


class InventoryProcess:
    """A process that loads the inventory of `access` from now on. To be made before any thread is started.

    Leaving its context ends it.
    """

    def __init__(self, access: Access) -> None:
        to_read, to_ask = os.pipe()
        to_hear, to_answer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(to_ask)
            os.close(to_hear)
            _serve(access, os.fdopen(to_read, "rb"), os.fdopen(to_answer, "wb"))
        os.close(to_read)
        os.close(to_answer)
        self._asking: BinaryIO = os.fdopen(to_ask, "wb")
        self._hearing: BinaryIO = os.fdopen(to_hear, "rb")

    def __enter__(self) -> InventoryProcess:
        return self

    def __exit__(self, *_: object) -> None:
        """End it if nobody asked for its answer, and take its exit status."""
        self._hearing.close()
        if not self._asking.closed:
            os.kill(self._pid, signal.SIGTERM)
            self._asking.close()
        os.waitpid(self._pid, 0)

    def load(self, defaults: Mapping[str, Any]) -> Inventory:
        """What `remediator.inventory.load_inventory` returns or raises for these role defaults. To be called once."""
        try:
            # It may have found an error, answered and ended before it was asked.
            with contextlib.suppress(BrokenPipeError), self._asking as asking:
                pickle.dump(dict(defaults), asking)
            # Our own process wrote it, and it holds nothing but what `load_inventory` made.
            answer = pickle.load(self._hearing)  # noqa: S301
        except (EOFError, pickle.UnpicklingError):
            raise UsageError(
                "The process that reads the inventory ended without an answer; what it said stands above. Try "
                "`ansible-inventory --list` on the same inventory."
            ) from None
        if isinstance(answer, RemediatorError):
            raise answer
        if isinstance(answer, str):
            raise RuntimeError(f"reading the inventory failed:\n{answer}")
        inventory: Inventory = answer
        return inventory


def _serve(access: Access, asked: BinaryIO, answers: BinaryIO) -> None:
    """The child's life. It leaves nothing of the parent's behind: no buffers flushed twice, no exit handlers run."""
    status = 1
    try:
        # Plugins and scripts may print; standard output is the report's.
        sys.stdout = sys.stderr
        gc.disable()  # it makes many objects, no garbage, and ends soon
        os.dup2(2, 1)
        from remediator.inventory import read_inventory

        answer: object
        try:
            answer = read_inventory(access, lambda: pickle.load(asked))  # noqa: S301 - from our parent
        except RemediatorError as error:
            answer = error
        except (EOFError, KeyboardInterrupt):
            os._exit(status)
        except Exception:  # noqa: BLE001 - the parent reports the bug
            answer = traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()
        status = 0
    finally:
        os._exit(status)
