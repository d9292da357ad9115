"""The plain YAML that Kubernetes' own tools write: block mappings and sequences of one-line scalars.

The standard library has no YAML. What this reader does not know for certain (anchors, tags, merge keys, tabs, several
documents, scalars over several lines, keys that stand twice) it refuses, so that a path is unknown rather than wrong.
Block scalars and flow collections are stepped over as OPAQUE.
"""

import json
import re

from remediator.host.common.patterns import pattern
from remediator.host.observe.settings import SettingsError

MYPY = False
if MYPY:
    from typing import Any

OPAQUE = object()
MAX_YAML = 262144
MAX_YAML_DEPTH = 40
YAML_KEY = pattern(
    r"^(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s\-?:,\[\]{}#&*!|>'\"%@`<][^#]*?|-[^\s#][^#]*?)\s*:(?:\s+(.*))?$"
)


class YamlLine:
    """One line that is neither blank nor a comment."""

    def __init__(self, indent: "int", text: "str", number: "int") -> None:
        self.indent = indent
        self.text = text
        self.number = number


class YamlReader:
    """Reads one document. `path` names it in errors."""

    def __init__(self, path: "str", content: "str") -> None:
        self.path = path
        self.lines: "list[YamlLine]" = []
        self.position = 0
        if len(content) > MAX_YAML:
            raise SettingsError("%s is larger than %d characters" % (path, MAX_YAML))
        for number, line in enumerate(content.split("\n"), 1):
            text = line.strip(" \r")
            if not text or text.startswith("#"):
                continue
            if text == "---" and not self.lines:
                continue
            if text.startswith(("--- ", "%")) or text in ("---", "..."):
                raise self.refusal(number, "it holds more than one plain document")
            indent = len(line) - len(line.lstrip(" "))
            if text.startswith("\t"):
                raise self.refusal(number, "a tab indents it")
            self.lines.append(YamlLine(indent, text, number))

    def refusal(self, number: "int", why: "str") -> "SettingsError":
        """The error for one line."""
        return SettingsError("%s line %d cannot be read for certain: %s" % (self.path, number, why))

    def document(self) -> "Any":
        """The whole document: dictionaries, lists, texts, None and OPAQUE."""
        if not self.lines:
            return None
        value = self.block(self.lines[0].indent, 0)
        if self.position < len(self.lines):
            raise self.refusal(self.lines[self.position].number, "its indentation fits nowhere")
        return value

    def block(self, indent: "int", depth: "int") -> "Any":
        """The mapping or sequence that begins at the current line."""
        if depth > MAX_YAML_DEPTH:
            raise self.refusal(self.lines[self.position].number, "it is nested too deep")
        line = self.lines[self.position]
        return self.sequence(indent, depth) if is_item(line.text) else self.mapping(indent, depth)

    def sequence(self, indent: "int", depth: "int") -> "list[Any]":
        """`- item` lines of one indentation."""
        items: "list[Any]" = []
        while self.position < len(self.lines):
            line = self.lines[self.position]
            if line.indent != indent or not is_item(line.text):
                break
            rest = line.text[1:].lstrip(" ")
            if not rest or rest.startswith("#"):
                items.append(self.below(indent, depth, indent + 1))
                continue
            inner = indent + len(line.text) - len(rest)
            if is_item(rest) or YAML_KEY.match(rest):
                self.lines[self.position] = YamlLine(inner, rest, line.number)
                items.append(self.block(inner, depth + 1))
            else:
                items.append(self.scalar(rest, indent))
        return items

    def mapping(self, indent: "int", depth: "int") -> "dict[str, Any]":
        """`key: value` lines of one indentation."""
        found: "dict[str, Any]" = {}
        while self.position < len(self.lines):
            line = self.lines[self.position]
            if line.indent != indent or is_item(line.text):
                break
            match = YAML_KEY.match(line.text)
            if match is None:
                raise self.refusal(line.number, "it is no `key: value`")
            key, rest = plain_key(match.group(1)), (match.group(2) or "").strip()
            if key in found:
                raise self.refusal(line.number, "the key %s stands twice" % json.dumps(key))
            if not rest or rest.startswith("#"):
                # A sequence may stand at its key's own indentation.
                found[key] = self.below(indent, depth, indent)
            else:
                found[key] = self.scalar(rest, indent)
        return found

    def below(self, indent: "int", depth: "int", sequence_indent: "int") -> "Any":
        """What stands under a key or a lone dash: a block, or nothing."""
        self.position += 1
        if self.position >= len(self.lines):
            return None
        line = self.lines[self.position]
        if line.indent > indent or (line.indent == sequence_indent == indent and is_item(line.text)):
            return self.block(line.indent, depth + 1)
        return None

    def scalar(self, text: "str", indent: "int") -> "Any":
        """A value that begins on the current line; deeper lines after it belong to it."""
        number = self.lines[self.position].number
        self.position += 1
        first = self.position
        while self.position < len(self.lines) and self.lines[self.position].indent > indent:
            self.position += 1
        several = self.position > first
        if text[0] in "|>":
            return OPAQUE
        if text[0] in "[{":
            simple = text.split(" #")[0].strip()
            return ([] if simple == "[]" else {} if simple == "{}" else OPAQUE) if not several else OPAQUE
        if several:
            raise self.refusal(number, "its value goes over several lines")
        if text[0] in "&*!%@`":
            raise self.refusal(number, "it uses anchors or tags")
        value = plain_scalar(text)
        if value is None:
            raise self.refusal(number, "its quotes are not closed")
        return None if text in ("null", "~") else value


def is_item(text: "str") -> "bool":
    """Whether a line is an item of a sequence."""
    return text == "-" or text.startswith("- ")


def plain_key(text: "str") -> "str":
    """A key without its quotes."""
    return text[1:-1] if text[0] in "\"'" else text


def plain_scalar(text: "str") -> "str | None":
    """A one-line scalar without quotes and comment; None where the quotes are not closed."""
    if text[0] == '"':
        found = re.match(r'("(?:[^"\\]|\\.)*")\s*(?:#.*)?$', text)
        if found is None:
            return None
        try:
            return str(json.loads(found.group(1)))
        except ValueError:
            return None
    if text[0] == "'":
        found = re.match(r"'((?:[^']|'')*)'\s*(?:#.*)?$", text)
        return found.group(1).replace("''", "'") if found is not None else None
    return text.split(" #")[0].rstrip()


def at(document: "Any", *keys: "str") -> "str | None":
    """The text below nested keys; None where there is none."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, str) and document else None
