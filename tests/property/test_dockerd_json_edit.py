"""Edits of JSON documents of every style change one key, and no byte beside it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from remediator.dockerd.json_edit import remove_key, set_key
from remediator.splices import Edited, Splice

KEYS = ("hosts", "tlsverify", "debug", "log-opts", "lä日", 'qu"o\\te', "")
blanks = st.sampled_from(["", " ", "\n", "\r\n", "\n    ", "\t", "\n\n  ", "  "])
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8).filter(lambda text: text.isprintable())
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A document whose every gap and every string is written in a style of its own, and what it means."""
    mapping = {key: draw(values) for key in draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=5))}
    pairs = []
    for key, value in mapping.items():
        parts = [json.dumps(key, ensure_ascii=draw(st.booleans())), ":", _written(draw, value)]
        pairs.append(draw(blanks).join(parts))
    body = draw(blanks) + (draw(blanks) + "," + draw(blanks)).join(pairs) + draw(blanks)
    text = draw(blanks) + "{" + body + "}" + draw(blanks)
    return text.encode(), mapping


def _written(draw: st.DrawFn, value: object) -> str:
    indent = draw(st.sampled_from([None, 2, "\t"]))
    return json.dumps(value, indent=indent, ensure_ascii=draw(st.booleans()))


def kept(content: bytes, splices: list[Splice]) -> list[bytes]:
    """What lies between the splices."""
    found, position = [], 0
    for one in splices:
        found.append(content[position : one.offset])
        position = one.offset + one.length
    return [*found, content[position:]]


def checked(content: bytes, splices: list[Splice], mapping: dict[str, Any]) -> bytes:
    """The edited content, which means `mapping` in its order and holds all that lies beside the splices."""
    after = Edited.of(content).splice(splices).content
    found = json.loads(after)
    assert json.dumps(found) == json.dumps(mapping)
    position = 0
    for piece in kept(content, splices):
        position = after.index(piece, position) + len(piece)
    assert sum(map(len, kept(content, splices))) + sum(len(one.new) for one in splices) == len(after)
    return after


steadily = settings(max_examples=300, deadline=None)


@steadily
@given(documents(), st.sampled_from(KEYS), values)
def test_a_key_is_set_and_all_else_means_what_it_meant(
    document: tuple[bytes, dict[str, Any]], key: str, value: object
) -> None:
    content, mapping = document
    after = checked(content, set_key(content, key, value), {**mapping, key: value})
    assert set_key(after, key, value) == []


@steadily
@given(documents(), st.sampled_from(KEYS))
def test_a_key_is_removed_and_all_else_means_what_it_meant(document: tuple[bytes, dict[str, Any]], key: str) -> None:
    content, mapping = document
    after = checked(content, remove_key(content, key), {name: one for name, one in mapping.items() if name != key})
    assert remove_key(after, key) == []


@steadily
@given(documents(), st.sampled_from(["hosts", "tlsverify", "new"]), values)
def test_what_a_mask_hides_is_never_touched_by_an_edit_of_another_key(
    document: tuple[bytes, dict[str, Any]], key: str, value: object
) -> None:
    content, mapping = document
    inner = content.partition(b"{")[2]
    content = b'{ "log-secret": "xxxx secret"' + (b"," if mapping else b"") + inner
    offset = content.index(b"xxxx secret")
    masked = Edited.of(content, [(offset, len(b"xxxx secret"))])
    for splices in (set_key(content, key, value), remove_key(content, key)):
        assert b'"xxxx secret"' in masked.splice(splices).content


@steadily
@given(st.binary(max_size=60) | st.text(alphabet='{}[]:,"a1 \n\\', max_size=40).map(str.encode))
def test_what_is_no_document_is_refused_and_nothing_else_happens(content: bytes) -> None:
    for edit in (lambda: set_key(content, "a", 1), lambda: remove_key(content, "a")):
        try:
            splices = edit()
        except ValueError:
            continue
        after = Edited.of(content).splice(splices).content
        assert isinstance(json.loads(after.strip() or b"{}"), dict)
