"""How the users of this host have set up Docker's CLI: what lies in `~/.docker`, and nothing of its content but names
and addresses.

A home directory is its user's: below it no symlink is followed, and files that are neither the user's nor root's are
not read, so that nobody makes root read out what is not theirs.
"""

import json
import os
import stat
import time

from remediator.host.common.mask import mask_text
from remediator.host.common.names import is_shown, raw, shown, text_of
from remediator.host.common.reading import UnreadableError, open_regular, read_descriptor, reason_of
from remediator.host.observe.accounts import account_lines
from remediator.host.observe.files import FileBook, has_acl
from remediator.host.observe.state import HostState

MYPY = False
if MYPY:
    from typing import Any

MAX_CLIENTS = 100
MAX_CONTEXTS = 100
MAX_ENTRIES = 1000
MAX_CLIENT_FILE = 262144
MAX_CLIENT_TEXT = 300
CLIENT_SECONDS = 10.0


def docker_clients(state: "HostState", passwd: "bytes") -> "list[dict[str, Any]]":
    """Every account of `passwd` with a `~/.docker`, in its order; what could not be looked at is a problem."""
    found: "list[dict[str, Any]]" = []
    skipped: "list[str]" = []
    deadline = time.monotonic() + CLIENT_SECONDS
    for fields in account_lines(passwd, 7):
        if not fields[5].startswith("/"):
            continue
        if len(found) >= MAX_CLIENTS or time.monotonic() > deadline:
            skipped.append("%s and those after it" % shown(fields[0]))
            break
        home = ClientHome(shown(fields[0]), int(fields[2]), fields[5].rstrip("/"), deadline, state.files)
        facts = home.facts()
        skipped += home.skipped
        if facts is not None:
            found.append(facts)
    if skipped:
        rest = "; and %d more" % (len(skipped) - 5) if len(skipped) > 5 else ""
        state.files.problem("of users' Docker settings these were left out: " + "; ".join(skipped[:5]) + rest)
    return found


class ClientHome:
    """One user's `~/.docker`. The facts of its keys go into `files`; `skipped` is what was not read and why."""

    def __init__(self, user: "str", uid: "int", home: "str", deadline: "float", files: "FileBook") -> None:
        self.user = user
        self.uid = uid
        self.home = home
        self.deadline = deadline
        self.files = files
        self.skipped: "list[str]" = []

    def facts(self) -> "dict[str, Any] | None":
        """The facts of this user; None where there is no `~/.docker` that can be looked into."""
        top = self.home + "/.docker"
        try:
            # The home itself is the administrator's: /etc/passwd may name one behind a symlink.
            home = os.open(raw(self.home or "/"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except NotADirectoryError:
            return None
        except OSError as error:
            self.skip(self.home, error)
            return None
        try:
            directory = self.open_directory(home, top)
        finally:
            os.close(home)
        if directory is None:
            return None
        try:
            settings = self.json_file(directory, top + "/config.json")
            return {
                "user": self.user,
                "uid": self.uid,
                "directory": shown(top),
                "key": self.key_in(directory, top),
                "current_context": text_in(settings, "currentContext"),
                "contexts": self.contexts(directory, top + "/contexts"),
            }
        finally:
            os.close(directory)

    def contexts(self, docker: "int", top: "str") -> "list[dict[str, Any]]":
        """The contexts of this user; each lies in a directory that is called by the sha256 of its name."""
        found: "list[dict[str, Any]]" = []
        contexts = self.open_directory(docker, top)
        meta = self.open_directory(contexts, top + "/meta")
        tls = self.open_directory(contexts, top + "/tls")
        for name in self.entries_of(meta, top + "/meta"):
            if len(found) >= MAX_CONTEXTS or time.monotonic() > self.deadline:
                self.skipped.append("%s: %s and those after it" % (self.user, shown(top + "/meta/" + name)))
                break
            place = self.open_directory(meta, top + "/meta/" + name)
            document = self.json_file(place, top + "/meta/" + name + "/meta.json")
            keys = self.open_directory(tls, top + "/tls/" + name)
            docker_keys = self.open_directory(keys, top + "/tls/" + name + "/docker")
            if document:
                found.append(context_facts(document, self.key_in(docker_keys, top + "/tls/" + name + "/docker")))
            close_all(place, keys, docker_keys)
        close_all(contexts, meta, tls)
        return found

    def open_directory(self, above: "int | None", path: "str") -> "int | None":
        """A descriptor of the directory `path`, which lies in the open directory `above`; None where there is none."""
        if above is None:
            return None
        try:
            return os.open(
                raw(os.path.basename(path)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=above
            )
        except NotADirectoryError:
            self.skipped.append("%s: %s is a symlink or no directory" % (self.user, shown(path)))
        except OSError as error:
            self.skip(path, error)
        return None

    def entries_of(self, directory: "int | None", path: "str") -> "list[str]":
        """The sorted names in an open directory, at most MAX_ENTRIES of however many its user made."""
        found: "list[str]" = []
        if directory is None:
            return found
        try:
            for entry in os.scandir(b"/proc/self/fd/%d" % directory):
                if len(found) >= MAX_ENTRIES:
                    self.skipped.append(
                        "%s: %s has more than %d entries: the rest" % (self.user, shown(path), MAX_ENTRIES)
                    )
                    break
                found.append(text_of(entry.name))
        except OSError as error:
            self.skip(path, error)
        return sorted(found)

    def json_file(self, directory: "int | None", path: "str") -> "dict[str, Any]":
        """The JSON object in a file of an open directory; empty where there is none that can be read."""
        if directory is None:
            return {}
        try:
            descriptor = open_regular(raw(os.path.basename(path)), directory)
            try:
                content = self.own_content(descriptor)
            finally:
                os.close(descriptor)
            # A long number takes long to convert, and none is asked for.
            document = json.loads(content.decode("utf-8", "replace"), parse_int=no_number, parse_float=no_number)
        except OSError as error:
            self.skip(path, error)
            return {}
        except UnreadableError as error:
            self.skipped.append("%s: %s is %s" % (self.user, shown(path), error))
            return {}
        except (ValueError, RecursionError):
            self.skipped.append("%s: %s is not valid JSON" % (self.user, shown(path)))
            return {}
        return document if isinstance(document, dict) else {}

    def own_content(self, descriptor: "int") -> "bytes":
        """What is in an open file of this user's. Raises UnreadableError where it is somebody else's or too large."""
        found = os.fstat(descriptor)
        if found.st_uid != self.uid and (found.st_uid != 0 or found.st_nlink > 1):
            raise UnreadableError("another user's")
        content = read_descriptor(descriptor, MAX_CLIENT_FILE + 1)
        if len(content) > MAX_CLIENT_FILE:
            raise UnreadableError("larger than %d bytes" % MAX_CLIENT_FILE)
        return content

    def key_in(self, directory: "int | None", path: "str") -> "str | None":
        """The path of `key.pem` in an open directory, None where there is none. Its facts are put among the files.

        They come by way of the directory and are those of a link itself: a user who makes it one, or the directory,
        gets nobody told anything of another file under the name of their own.
        """
        if directory is None:
            return None
        try:
            found = os.stat(b"key.pem", dir_fd=directory, follow_symlinks=False)
        except OSError:
            return None
        key = path + "/key.pem"
        facts = self.files.stat_facts(found)
        if not stat.S_ISLNK(found.st_mode):
            facts["acl"] = has_acl("/proc/self/fd/%d/key.pem" % directory)
        if not is_shown(key):
            facts["plain"] = False
        self.files.facts.setdefault(shown(key), facts)
        return shown(key)

    def skip(self, path: "str", error: "OSError") -> None:
        """Notes what was not looked at and why; what is not there needs no words."""
        if not isinstance(error, FileNotFoundError):
            self.skipped.append("%s: %s: %s" % (self.user, shown(path), reason_of(error)))


def close_all(*descriptors: "int | None") -> None:
    """Closes those that were opened."""
    for descriptor in descriptors:
        if descriptor is not None:
            os.close(descriptor)


def context_facts(document: "dict[str, Any]", key: "str | None") -> "dict[str, Any]":
    """One context from its meta.json."""
    endpoints = document.get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    docker = docker if isinstance(docker, dict) else {}
    return {
        "name": text_in(document, "Name"),
        "address": text_in(docker, "Host"),
        "skip_verify": docker.get("SkipTLSVerify") is True,
        "key": key,
    }


def no_number(digits: "str") -> None:
    """Stands for any number."""


def text_in(document: "dict[str, Any]", name: "str") -> "str":
    """A text in a JSON object, its secrets masked and then shortened; empty where there is none."""
    value = document.get(name)
    if not isinstance(value, str):
        return ""
    return mask_text(value.encode("utf-8", "replace").decode("utf-8"))[:MAX_CLIENT_TEXT]
