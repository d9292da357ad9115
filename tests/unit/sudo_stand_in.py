"""Does what sudo does with -n, -S and -p, without an account or root: `sudo_stand_in.py RULE RECORD [...] -- command`.

RULE is `nopasswd`, `nobody` (not in sudoers) or the password. Every password that is read is added to the file RECORD.
"""

import os
import sys

rule, record, *words = sys.argv[1:]
options, command = words[: words.index("--")], words[words.index("--") + 1 :]
if rule == "nobody":
    sys.exit("bob is not in the sudoers file.  This incident will be reported.")
for _ in range(3):
    if rule == "nopasswd":
        break
    if "-n" in options:
        sys.exit("sudo: a password is required")
    sys.stderr.write(options[options.index("-p") + 1])
    sys.stderr.flush()
    given = bytearray()
    while not given.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit("\nsudo: no password was provided")
        given += byte
    with open(record, "ab") as file:
        file.write(given)
    if given.rstrip(b"\n") == rule.encode():
        break
    sys.stderr.write("Sorry, try again.\n")
else:
    sys.exit("sudo: 3 incorrect password attempts")
os.execv(command[0], command)  # noqa: S606 - what sudo does
