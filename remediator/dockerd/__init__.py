"""How a Docker daemon is configured, as far as an observation tells, and byte-preserving edits of it.

dockerd takes options from the command line that its unit gives it (ExecStart= in the unit and its drop-ins, variables
from environment files) and from daemon.json; one that stands in both keeps it from starting. `configuration.py` reads
all of that, `configure.py` stages edits; the other files know one syntax each. Text in here is bytes decoded as
Latin-1 until it is a value: so a character is a byte, and an offset in the text is one in the file.
"""

from __future__ import annotations

from remediator.dockerd.configuration import (
    DROP_IN,
    DaemonConfiguration,
    Given,
    needs,
    other_variables,
    read_configuration,
)
from remediator.dockerd.configure import Wanted, configure
from remediator.dockerd.listen import normalise_listen

__all__ = [
    "DROP_IN",
    "DaemonConfiguration",
    "Given",
    "Wanted",
    "configure",
    "needs",
    "normalise_listen",
    "other_variables",
    "read_configuration",
]
