"""The commit program: takes transactions and writes, activates, proves or undoes them, on the host."""

# In the order in which they are joined; the last one holds handle().
PARTS = (
    "common/serve.py",
    "common/audit_rules.py",
    "commit/roots.py",
    "commit/outcomes.py",
    "commit/request.py",
    "commit/programs.py",
    "commit/places.py",
    "commit/preconditions.py",
    "commit/refusals.py",
    "commit/access.py",
    "commit/files.py",
    "commit/kernel_audit.py",
    "commit/units.py",
    "commit/docker.py",
    "commit/steps.py",
    "commit/record.py",
    "commit/lock.py",
    "commit/transaction.py",
    "commit/main.py",
)
