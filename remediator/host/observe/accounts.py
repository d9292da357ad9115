"""Local accounts: names for numbers, and who is in a group."""

import grp
import pwd

MAX_ACCOUNTS = 4194304


class Accounts:
    """/etc/passwd and /etc/group read directly: listing accounts through a directory service can take minutes.

    Names of numbers that are not there are asked of the system (NSS) one by one.
    """

    def __init__(self, passwd: "bytes", group: "bytes") -> None:
        self.users: "dict[str, int]" = {}
        self.groups: "dict[str, int]" = {}
        self.user_names: "dict[int, str | None]" = {}
        self.group_names: "dict[int, str | None]" = {}
        self.member_names: "dict[int, set[str]]" = {}
        for fields in account_lines(passwd, 7):
            uid, gid = int(fields[2]), int(fields[3]) if fields[3].isdigit() else 0
            self.users.setdefault(fields[0], uid)
            self.user_names.setdefault(uid, fields[0])
            if uid != 0:
                self.member_names.setdefault(gid, set()).add(fields[0])
        for fields in account_lines(group, 4):
            gid = int(fields[2])
            self.groups.setdefault(fields[0], gid)
            self.group_names.setdefault(gid, fields[0])
            names = {name for name in fields[3].split(",") if name and self.users.get(name) != 0}
            self.member_names.setdefault(gid, set()).update(names)

    def user(self, uid: "int") -> "str | None":
        """The name of `uid`, None when it has none."""
        if uid not in self.user_names:
            try:
                self.user_names[uid] = pwd.getpwuid(uid).pw_name
            except (KeyError, OverflowError, OSError):
                self.user_names[uid] = None
        return self.user_names[uid]

    def group(self, gid: "int") -> "str | None":
        """The name of `gid`, None when it has none."""
        if gid not in self.group_names:
            self.group_names[gid] = None
            try:
                entry = grp.getgrgid(gid)
                self.group_names[gid] = entry.gr_name
                self.member_names.setdefault(gid, set()).update(entry.gr_mem)
            except (KeyError, OverflowError, OSError):
                pass
        return self.group_names[gid]

    def members(self, gid: "int") -> "int":
        """How many users other than root have `gid` as their primary or a supplementary group."""
        self.group(gid)
        return len(self.member_names.get(gid, ()))


def account_lines(content: "bytes", fields: "int") -> "list[list[str]]":
    """The well-formed lines of passwd(5) or group(5), split."""
    lines = [line.split(":") for line in content.decode("utf-8", "surrogateescape").split("\n")]
    return [line for line in lines if len(line) == fields and line[0] and line[2].isdigit() and len(line[2]) < 11]
