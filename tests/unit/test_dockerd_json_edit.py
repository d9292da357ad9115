"""Keys of a JSON object are set and removed, and every other byte stays."""

from __future__ import annotations

import pytest

from remediator.dockerd.json_edit import read_object, remove_key, set_key
from remediator.splices import Edited, Splice


def edited(content: bytes, splices: list[Splice]) -> bytes:
    return Edited.of(content).splice(splices).content


def with_key(content: bytes, key: str, value: object) -> bytes:
    return edited(content, set_key(content, key, value))


def without_key(content: bytes, key: str) -> bytes:
    return edited(content, remove_key(content, key))


@pytest.mark.parametrize("content", [b"", b"\n", b" \t\r\n"])
def test_nothing_becomes_a_whole_document(content: bytes) -> None:
    assert with_key(content, "tlsverify", True) == b'{\n    "tlsverify": true\n}\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{\n  "a": 1\n}\n', b'{\n  "a": 1,\n  "hosts": ["fd://", "b"]\n}\n'),
        (b'{\n\t"a": {\n\t\t"b": 1\n\t}\n}', b'{\n\t"a": {\n\t\t"b": 1\n\t},\n\t"hosts": ["fd://", "b"]\n}'),
        (b'{\r\n  "a": 1\r\n}\r\n', b'{\r\n  "a": 1,\r\n  "hosts": ["fd://", "b"]\r\n}\r\n'),
        (b'{"a": 1}', b'{"a": 1, "hosts": ["fd://", "b"]}'),
        (b'{ "a": 1 }\n', b'{ "a": 1, "hosts": ["fd://", "b"] }\n'),
        (b'{"a":1,"b":2}', b'{"a":1,"b":2,"hosts":["fd://", "b"]}'),
        (b'{"a" : 1, "b" : 2}', b'{"a" : 1, "b" : 2, "hosts" : ["fd://", "b"]}'),
        (b'{\n"a": 1\n,"b": 2\n}', b'{\n"a": 1\n,"b": 2,"hosts": ["fd://", "b"]\n}'),
        (b'{\n    "a": 1,\n\n    "b": 2\n}\n', b'{\n    "a": 1,\n\n    "b": 2,\n    "hosts": ["fd://", "b"]\n}\n'),
        (b"{}\n", b'{\n    "hosts": ["fd://", "b"]\n}\n'),
        (b"{\r\n}\r\n", b'{\r\n    "hosts": ["fd://", "b"]\r\n}\r\n'),
        (
            '{\n  "lä\\u00e4bel": "日本"\n}\n'.encode(),
            '{\n  "lä\\u00e4bel": "日本",\n  "hosts": ["fd://", "b"]\n}\n'.encode(),
        ),
    ],
)
def test_a_new_key_comes_last_in_the_files_own_style(before: bytes, after: bytes) -> None:
    assert with_key(before, "hosts", ["fd://", "b"]) == after


def test_a_value_is_replaced_where_it_stands_and_a_list_is_one_line_then() -> None:
    before = b'{\n  "hosts": [\n    "fd://"\n  ],\n  "debug": false\n}\n'
    assert with_key(before, "hosts", ["fd://", "tcp://[::]:2376"]) == (
        b'{\n  "hosts": ["fd://", "tcp://[::]:2376"],\n  "debug": false\n}\n'
    )


def test_a_key_is_found_by_what_it_means_and_not_by_how_it_is_escaped() -> None:
    assert with_key(b'{"tls\\u0076erify": false}', "tlsverify", True) == b'{"tls\\u0076erify": true}'


def test_a_key_of_an_inner_object_is_another_one() -> None:
    assert with_key(b'{"x": {"a": 1}}', "a", 2) == b'{"x": {"a": 1}, "a": 2}'


@pytest.mark.parametrize(
    ("content", "value"), [(b'{"a": [ 1,\n2 ]}', [1, 2]), (b'{"a": {"b":1,"c":2}}', {"c": 2, "b": 1})]
)
def test_what_holds_the_value_already_is_not_touched(content: bytes, value: object) -> None:
    assert set_key(content, "a", value) == []


def test_one_is_not_true() -> None:
    assert with_key(b'{"a": 1}', "a", True) == b'{"a": true}'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{\n  "a": 1,\n  "b": 2,\n  "c": 3\n}\n', b'{\n  "a": 1,\n  "c": 3\n}\n'),
        (b'{"a": 1, "b": 2}', b'{"a": 1}'),
        (b'{"b": 2, "a": 1}', b'{"a": 1}'),
        (b'{\n  "b": 2\n}\n', b"{\n}\n"),
        (b'{\n  "a": 1\n, "b": 2\n}\n', b'{\n  "a": 1\n}\n'),
        (b'{"a": 1}', b'{"a": 1}'),
    ],
)
def test_a_key_goes_with_its_comma(before: bytes, after: bytes) -> None:
    assert without_key(before, "b") == after


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": 1, "a": 2}', 'holds the key "a" twice'),
        (b'{"x": {"a": 1, "a": 2}}', 'holds the key "a" twice'),
        (b"[1]", "holds no JSON object"),
        (b'{"a": 1,}', "is not valid JSON"),
        (b'{"a": 1} x', "is not valid JSON"),
        (b'{"a": NaN}', "holds NaN"),
        (b'\xef\xbb\xbf{"a": 1}', "begins with a byte order mark"),
        (b'{"a": "\xff"}', "is not UTF-8"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is nested too deeply"),
    ],
)
def test_what_a_daemon_would_refuse_or_misread_is_refused(content: bytes, reason: str) -> None:
    for edit in (lambda: read_object(content), lambda: set_key(content, "b", 1), lambda: remove_key(content, "a")):
        with pytest.raises(ValueError, match=reason):
            edit()
