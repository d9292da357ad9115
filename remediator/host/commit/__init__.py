"""The commit program: takes transactions and writes, activates, proves or undoes them, on the host."""

# In the order in which they are joined; the last one holds begin(). What starts the program in a unit of its own, and
# is all that the messenger compiles.
PARTS = (
    "common/serve.py",
    "observe/later.py",
    "commit/outcomes.py",
    "commit/programs.py",
    "commit/detached.py",
)
# What does the work; the last one holds handle().
ENGINE = (
    "common/audit_rules.py",
    "observe/patterns.py",
    "observe/names.py",
    "observe/reading.py",
    "observe/mask.py",
    "observe/kernel_sockets.py",
    "observe/handshake.py",
    "commit/roots.py",
    "commit/request.py",
    "commit/places.py",
    "commit/preconditions.py",
    "commit/refusals.py",
    "commit/access.py",
    "commit/reading.py",
    "commit/validations.py",
    "commit/files.py",
    "commit/edits.py",
    "commit/lock.py",
    "commit/openssl.py",
    "commit/staged_pair.py",
    "commit/key_install.py",
    "commit/kernel_audit.py",
    "commit/work.py",
    "commit/units.py",
    "commit/docker.py",
    "commit/mutual_tls.py",
    "commit/steps.py",
    "commit/record.py",
    "commit/transaction.py",
    "commit/main.py",
)
LATER = {"commit": ENGINE}
