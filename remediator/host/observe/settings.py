"""Configuration files as their programs read them: daemon.json and the few TOML lines of containerd that matter."""

import errno
import json
import os

from remediator.host.common.names import raw, text_of
from remediator.host.common.patterns import pattern
from remediator.host.common.reading import UnreadableError, read_settings, reason_of

MYPY = False
if MYPY:
    from typing import Any

TOML_TABLE = pattern(r"^\s*\[+\s*([^\]]+?)\s*\]+\s*(?:#.*)?$")
TOML_STRING = pattern(r"^\s*([A-Za-z0-9_\-]+)\s*=\s*(?:\"([^\"\\]*)\"|'([^']*)')\s*(?:#.*)?$")


class SettingsError(Exception):
    """A configuration file cannot be understood; str() says why and names it."""


class DuplicateKeyError(Exception):
    """A JSON object holds a key twice; str() is the key."""


def read_json_settings(path: "str") -> "dict[str, Any]":
    """A JSON configuration file; empty where there is none.

    Raises SettingsError for what Go's decoder refuses (a byte order mark, no object) and for duplicate keys, of which
    it takes the last without a word while an editor of the file sees the first.
    """
    content = settings_content(path)
    if content.startswith(b"\xef\xbb\xbf"):
        raise SettingsError("%s begins with a byte order mark, which its program refuses: remove it" % path)
    if not content.strip():
        return {}
    try:
        document = json.loads(content.decode("utf-8"), object_pairs_hook=unique_pairs)
    except DuplicateKeyError as error:
        raise SettingsError("%s holds the key %s twice: remove one" % (path, json.dumps(str(error))))
    except (ValueError, RecursionError) as error:
        raise SettingsError("%s is not valid JSON: %s; correct it" % (path, error))
    if not isinstance(document, dict):
        raise SettingsError("%s holds no JSON object; correct it" % path)
    return document


def settings_content(path: "str") -> "bytes":
    """What is in a configuration file; nothing where there is none. Raises SettingsError where it cannot be read."""
    try:
        os.stat(raw(path))
        return read_settings(path)
    except UnreadableError as error:
        raise SettingsError("%s cannot be read: %s; repair it" % (path, error))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return b""
        raise SettingsError("%s cannot be read: %s" % (path, reason_of(error)))


def unique_pairs(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    """A JSON object; raises DuplicateKeyError for a key that stands in it twice."""
    document = dict(pairs)
    if len(document) != len(pairs):
        ordered = sorted(name for name, _ in pairs)
        raise DuplicateKeyError(next(name for name, after in zip(ordered, ordered[1:]) if name == after))  # noqa: B905, RUF007
    return document


def read_toml_strings(path: "str") -> "dict[str, str]":
    """The plain string settings of a TOML file, as `table.key`; keys above the first table as `key`.

    A line reader: enough for addresses and directories, blind to arrays and multi-line strings. Raises SettingsError
    where the file is there and cannot be read.
    """
    content = text_of(settings_content(path))
    settings: "dict[str, str]" = {}
    table = ""
    for line in content.split("\n"):
        found = TOML_TABLE.match(line)
        if found is not None:
            table = found.group(1) + "."
            continue
        found = TOML_STRING.match(line)
        if found is not None:
            settings[table + found.group(1)] = found.group(2) if found.group(2) is not None else found.group(3)
    return settings
