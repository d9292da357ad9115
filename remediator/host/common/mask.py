"""Secrets stay on the host: in what is read out they are masked at equal length in bytes.

Which spans were masked is told; their content is not, and no digest of it either.
"""

import json
import re

from remediator.host.common.patterns import pattern

MASK = b"x"
# Names of options, variables and keys whose value is a secret. `key` alone is not: it names files (tlskey) and labels.
SECRET_NAME = pattern(
    rb"pass(?:word|wd|phrase)?(?![a-z])|token|secret|credential|bearer|cookie|private[-_.]?key(?![-_.]?file)|"
    rb"(?:api|access|auth|account|shared|encryption|license)[-_.]?key|key[-_.]?data|(?<![a-z0-9])(?:auth|pwd)(?![-a-z0-9_.])|"
    rb"sas[-_.]?url|connection[-_.]?string|\bdsn\b",
    re.IGNORECASE,
)
# ...unless the name says that the value is a place, a switch or a period.
PLACE_NAME = pattern(
    rb"(?:[-_.](?:file|files|path|dir|directory|ttl|url|expiration|endpoint|mode|name))$", re.IGNORECASE
)
HARMLESS_VALUE = pattern(rb"(?:true|false|yes|no|null|none|~|[0-9.]+(?:ms|[smh]))$", re.IGNORECASE)
PRIVATE_KEY = pattern(rb"PRIVATE KEY-----|client-key-data|openssh-key-v1")
# The user part of a URL. Greedy up to the last @ before a slash: passwords hold @ more often than hosts do.
USERINFO = pattern(rb"://([^/\s\"'\\]+)@")
NAME_BYTES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
MAX_NAME = 128
# What stands between a name and its value. A blank alone does so after an option (`--token abc`).
JOIN = pattern(rb"[\"']?[ \t]*[=:][ \t]*|[ \t]+(?![-\s])")
BARE = pattern(rb"[^\s\"'\\]*")
# Certificates are public, and their base64 may hold any word. Each begins as the DER of one does.
CERTIFICATE = pattern(rb"-----BEGIN CERTIFICATE-----\r?\nMI[A-Za-z0-9+/=\r\n]+-----END CERTIFICATE-----")
JSON_TOKEN = pattern(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def holds_private_key(content: "bytes") -> "bool":
    """Whether this is a private key, or a file that holds one: such content is never read out at all."""
    return PRIVATE_KEY.search(content) is not None


def mask_content(content: "bytes") -> "tuple[bytes, list[tuple[int, int]]]":
    """The content with its secrets masked, and the masked spans as (offset, length)."""
    is_json = content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    spans = json_secrets(content) if is_json else text_secrets(content)
    spans += [(found.start(1), found.end(1)) for found in USERINFO.finditer(content)]
    if spans and b"-----BEGIN CERTIFICATE-----" in content:
        spans = outside_certificates(content, spans)
    masked = bytearray(content)
    merged: "list[tuple[int, int]]" = []
    for first, end in sorted(spans):
        start = max(first, merged[-1][1]) if merged else first
        if end > start:
            masked[start:end] = MASK * (end - start)
            merged.append((start, end))
    return bytes(masked), [(start, end - start) for start, end in merged]


def outside_certificates(content: "bytes", spans: "list[tuple[int, int]]") -> "list[tuple[int, int]]":
    """Those of `spans` that do not lie within a certificate."""
    inside = [(found.start(), found.end()) for found in CERTIFICATE.finditer(content)]
    outside = []
    position = 0
    for start, end in sorted(spans):
        while position < len(inside) and inside[position][1] <= start:
            position += 1
        if position == len(inside) or start < inside[position][0] or end > inside[position][1]:
            outside.append((start, end))
    return outside


def mask_text(text: "str") -> "str":
    """The same for one line of text, such as a unit's property."""
    return mask_content(text.encode("utf-8", "surrogateescape"))[0].decode("utf-8", "surrogateescape")


def mask_words(words: "list[str]") -> "list[str]":
    """A command line with the values of its secret options masked, `--option value` included."""
    masked = []
    hide_next = False
    for word in words:
        if hide_next and not word.startswith("-"):
            masked.append("x" * len(word.encode("utf-8", "surrogateescape")))
            hide_next = False
            continue
        name, joined, value = word.partition("=")
        hide_next = word.startswith("-") and not joined and names_secret(name.encode("utf-8", "surrogateescape"))
        if joined and hides(name, value):
            masked.append(name + "=" + "x" * len(value.encode("utf-8", "surrogateescape")))
        else:
            masked.append(mask_text(word))
    return masked


def hides(name: "str", value: "str") -> "bool":
    """Whether `name=value` holds a secret."""
    return is_secret(name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))


def is_secret(name: "bytes", value: "bytes") -> "bool":
    """Whether a value of that name is a secret."""
    return bool(value) and names_secret(name) and HARMLESS_VALUE.match(value) is None


def names_secret(name: "bytes") -> "bool":
    """Whether an option, variable or key of that name holds a secret."""
    return SECRET_NAME.search(name) is not None and PLACE_NAME.search(name) is None


def text_secrets(content: "bytes") -> "list[tuple[int, int]]":
    """(start, end) of every secret value in a text of assignments: unit, environment, YAML, TOML and shell files.

    It looks for the words of SECRET_NAME first and at what surrounds them then, in one pass over hostile content.
    """
    spans: "list[tuple[int, int]]" = []
    position = 0
    while True:
        hit = SECRET_NAME.search(content, position)
        if hit is None:
            return spans
        first, position = name_span(content, hit.start(), max(hit.end(), hit.start() + 1))
        join = JOIN.match(content, position)
        if join is None or not names_secret(content[first:position]):
            continue
        if not join.group().strip() and content[first : first + 1] != b"-":
            continue
        start, end = value_span(content, first, join)
        if end > start and HARMLESS_VALUE.match(content[start:end]) is None:
            spans.append((start, end))
        position = max(position, end)


def name_span(content: "bytes", start: "int", end: "int") -> "tuple[int, int]":
    """The name around content[start:end], at most MAX_NAME bytes to either side."""
    lowest, highest = max(0, start - MAX_NAME), min(len(content), end + MAX_NAME)
    while start > lowest and content[start - 1] in NAME_BYTES:
        start -= 1
    while end < highest and content[end] in NAME_BYTES:
        end += 1
    return start, end


def value_span(content: "bytes", first: "int", join: "re.Match[bytes]") -> "tuple[int, int]":
    """(start, end) of the value that follows the name at `first` and `join`."""
    start = join.end()
    before = content[first - 1 : first] if first else b""
    if before in (b'"', b"'") and join.group() == b"=":
        # Environment="NAME=a b c": the quote stands before the name, so the value runs to the next one.
        return start, quote_end(content, start, before)
    opening = content[start : start + 1]
    if opening in (b'"', b"'"):
        end = quote_end(content, start + 1, opening)
        if content[end + 1 : end + 2].strip() in (b"", b",", b"}", b"]", b";"):
            return start + 1, end
    line_end = content.find(b"\n", start)
    line_end = line_end if line_end >= 0 else len(content)
    value = content[start:line_end].strip()
    if b":" in join.group() and value[:1] in (b"|", b">") and len(value) < 4:
        return start, block_end(content, start, first)
    if join.group().strip() and join.group() != b"=":
        # `name: a b` and `name = a b`, as YAML, TOML and ini files write it, run to the end of the line.
        return start, start + len(content[start:line_end].rstrip())
    return start, word_end(content, start)


def word_end(content: "bytes", position: "int") -> "int":
    """Where a word ends as a shell reads it: at a blank outside quotes; a backslash joins lines."""
    while True:
        bare = BARE.match(content, position)
        position = bare.end() if bare is not None else position
        next_byte = content[position : position + 1]
        if next_byte == b"\\":
            position = min(position + 2, len(content))
        elif next_byte in (b'"', b"'"):
            position = min(quote_end(content, position + 1, next_byte) + 1, len(content))
        else:
            return position


def quote_end(content: "bytes", position: "int", quote: "bytes") -> "int":
    """Where the string that `quote` opened before `position` is closed; the end of the content where it never is."""
    while True:
        position = content.find(quote, position)
        if position < 0:
            return len(content)
        if quote == b"'" or content[position - 1 : position] != b"\\":
            return position
        position += 1


def block_end(content: "bytes", start: "int", name_start: "int") -> "int":
    """Where a YAML block scalar that begins at `start` ends: at the first line that is not indented deeper."""
    line_start = content.rfind(b"\n", 0, name_start) + 1
    line = content[line_start:name_start]
    indent = len(line) - len(line.lstrip(b" "))
    position = content.find(b"\n", start)
    while position >= 0:
        following = content.find(b"\n", position + 1)
        line = content[position + 1 : following if following >= 0 else len(content)]
        if line.strip() and len(line) - len(line.lstrip(b" ")) <= indent:
            return position
        position = following
    return len(content)


def json_secrets(content: "bytes") -> "list[tuple[int, int]]":
    """(start, end) of every secret in JSON, well-formed or not: values of secret keys, however deep below them."""
    spans: "list[tuple[int, int]]" = []
    outer: "list[tuple[bytes, bool]]" = []  # of each open object or array: its key, and whether that is secret
    key, below = b"", False
    last = b""
    hide_next = False
    for token in JSON_TOKEN.finditer(content):
        word = token.group()
        if word in (b"{", b"["):
            outer.append((key, below))
            below = below or names_secret(key)
            hide_next = False
        elif word in (b"}", b"]"):
            key, below = outer.pop() if outer else (b"", False)
        elif word == b":":
            key = json_text(last)
        elif word != b"," and not content[token.end() : token.end() + 64].lstrip().startswith(b":"):
            value = json_text(word)
            secret = hide_next or below or names_secret(key)
            spans += json_spans(token.start(), word, value, secret)
            hide_next = not secret and value.startswith(b"-") and b"=" not in value and names_secret(value)
        last = word
    return spans


def json_spans(start: "int", word: "bytes", value: "bytes", secret: "bool") -> "list[tuple[int, int]]":
    """What to mask of one scalar: all of it, or the secrets within the string."""
    if not word.startswith(b'"'):
        return [(start, start + len(word))] if secret and HARMLESS_VALUE.match(word) is None else []
    inner = word[1:-1] if word.endswith(b'"') and len(word) > 1 else word[1:]
    whole = [(start + 1, start + 1 + len(inner))] if inner else []
    if secret:
        return whole if HARMLESS_VALUE.match(value) is None else []
    if inner != value:
        # Escapes: the bytes on disk are not those that would be searched.
        return whole if text_secrets(value) or USERINFO.search(value) else []
    return [(start + 1 + first, start + 1 + end) for first, end in text_secrets(inner)]


def json_text(word: "bytes") -> "bytes":
    """The string that a JSON token stands for, its escapes resolved."""
    if b"\\" not in word:
        return word.strip(b'"')
    try:
        return str(json.loads(word.decode("utf-8", "surrogateescape"))).encode("utf-8", "surrogatepass")
    except ValueError:
        return word.strip(b'"')
