"""What happened: one JSON record for each run, kept on the controller.

The hosts' journals are the truth about what was done to them; these records are an index.
"""

from remediator.history.record import RunRecord
from remediator.history.store import newest_first, runs_directory, save
from remediator.history.ulid import new_ulid, ulid_time

__all__ = ["RunRecord", "new_ulid", "newest_first", "runs_directory", "save", "ulid_time"]
