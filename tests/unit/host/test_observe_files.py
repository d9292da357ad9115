"""What observe says of files, hostile ones first."""

import base64
import hashlib
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from remediator.host.common.reading import MAX_CONTENT
from remediator.host.observe.accounts import Accounts
from remediator.host.observe.files import MAX_TREE, FileBook, mount_points, others_can_write

PASSWD = b"root:x:0:0:r:/:/bin/sh\ntoor:x:0:0::/:/bin/sh\nann:x:1000:1000:::\nbob:x:1001:50:::\nbroken\n"
GROUP = b"root:x:0:toor,ann\nstaff:x:50:ann,bob\nempty:x:60:\nann:x:1000:\n"


@pytest.fixture
def book() -> FileBook:
    return FileBook(Accounts(PASSWD, GROUP))


def content_of(facts: dict[str, Any]) -> bytes:
    return base64.b64decode(facts["content"])


def test_a_regular_file_is_read_with_its_digest(book: FileBook, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"hello")
    path.chmod(0o4640)
    facts = book.add(str(path), content=True)
    assert (facts["type"], facts["mode"], facts["size"]) == ("file", 0o4640, 5)
    assert content_of(facts) == b"hello"
    assert facts["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert facts["resolved"] == os.path.realpath(path)


def test_an_empty_file_has_content(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert content_of(book.add(str(tmp_path / "a"), content=True)) == b""
    assert book.answer()[str(tmp_path / "a")]["content"] == ""


def test_a_file_that_was_stated_first_is_read_when_its_content_is_asked_for(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert "content" not in book.add(str(tmp_path / "a"))
    assert content_of(book.add(str(tmp_path / "a"), content=True)) == b"x"


def test_50_megabytes_are_a_fact_and_not_read(book: FileBook, tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    with path.open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    started = time.monotonic()
    facts = book.add(str(path), content=True)
    assert "content" not in facts
    assert str(MAX_CONTENT) in facts["error"]
    assert facts["size"] == 50 * 1024 * 1024
    assert time.monotonic() - started < 2


def test_all_content_together_is_bounded(book: FileBook, tmp_path: Path) -> None:
    book.content_left = 10
    (tmp_path / "a").write_bytes(b"12345678")
    (tmp_path / "b").write_bytes(b"12345678")
    assert "content" in book.add(str(tmp_path / "a"), content=True)
    facts = book.add(str(tmp_path / "b"), content=True)
    assert "content" not in facts
    assert "in all" in facts["error"]


def test_a_fifo_holds_nobody_up(book: FileBook, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "daemon.json")
    facts = book.add(str(tmp_path / "daemon.json"), content=True)
    assert facts["type"] == "fifo"
    assert "content" not in facts
    assert "fifo" in facts["error"]


def test_a_socket_and_a_device_are_told_apart(book: FileBook, tmp_path: Path) -> None:
    line = socket.socket(socket.AF_UNIX)
    line.bind(str(tmp_path / "s"))
    assert book.add(str(tmp_path / "s"), content=True)["type"] == "socket"
    assert book.add("/dev/null", content=True)["type"] == "char"
    line.close()


def test_a_symlink_is_one_and_its_target_stands_under_its_own_path(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    facts = book.add(str(tmp_path / "link"), content=True)
    assert facts["type"] == "symlink"
    assert "content" not in facts
    assert facts["resolved"] == str(tmp_path / "real")
    assert content_of(book.facts[str(tmp_path / "real")]) == b"x"


def test_a_symlink_loop_resolves_to_nothing(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    facts = book.add(str(tmp_path / "a"), content=True)
    assert facts["type"] == "symlink"
    assert facts["resolved"] is None
    assert "symbolic links" in facts["error"]
    assert book.add(str(tmp_path / "a" / "below"))["type"] == "unreadable"


def test_a_chain_of_links_through_deep_directories_ends(book: FileBook, tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(30):
        deep = deep / "d"
        deep.mkdir()
    for number in range(60):
        (deep / f"l{number}").symlink_to(f"{deep}/l{number + 1}/../l{number + 1}")
    assert book.add(str(deep / "l0"))["type"] == "symlink"


def test_a_dangling_symlink_names_what_is_missing(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert book.add(str(tmp_path / "link"))["resolved"] == str(tmp_path / "nowhere")
    assert book.facts[str(tmp_path / "nowhere")]["type"] == "missing"


def test_a_path_through_a_linked_directory_says_where_it_really_is(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").touch()
    (tmp_path / "link").symlink_to("real")
    facts = book.add(str(tmp_path / "link" / "f"))
    assert facts["type"] == "file"
    assert facts["resolved"] == str(tmp_path / "real" / "f")


@pytest.mark.parametrize("path", ["/nonexistent/a/b", "/etc/passwd/below"])
def test_what_is_not_there_is_missing(book: FileBook, path: str) -> None:
    assert book.add(path)["type"] == "missing"


def test_a_missing_file_says_where_it_would_be(book: FileBook, tmp_path: Path) -> None:
    assert book.add(str(tmp_path / "new"))["resolved"] == str(tmp_path / "new")


@pytest.mark.parametrize("path", ["relative", "", "/a\0b"])
def test_what_is_no_absolute_path_is_refused(book: FileBook, path: str) -> None:
    assert book.add(path)["type"] == "unreadable"


def test_a_name_that_is_no_utf_8_is_shown_as_escapes_and_marked(book: FileBook, tmp_path: Path) -> None:
    os.mkdir(tmp_path / "t")
    (tmp_path / "t").joinpath(os.fsdecode(b"caf\xe9\x1b[2J")).touch()
    path, kind = book.tree(str(tmp_path / "t"))[0]
    facts = book.add(path)
    assert (kind, facts["type"], facts["plain"]) == ("file", "file", False)
    assert str(tmp_path / "t") + "/caf\\xe9\\x1b[2J" in book.facts


def test_a_name_with_a_backslash_cannot_pass_for_an_escape(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "a\\xe9").touch()
    assert book.add(str(tmp_path / "a\\xe9"))["plain"] is False


@pytest.mark.root
@pytest.mark.parametrize(
    ("mode", "gid", "untrusted"),
    [(0o755, 0, False), (0o777, 0, True), (0o1777, 0, True), (0o775, 0, False), (0o775, 50, True), (0o2755, 50, False)],
)
def test_a_directory_that_others_can_write_is_told(
    book: FileBook, tmp_path: Path, mode: int, gid: int, untrusted: bool
) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    os.chown(directory, 0, gid)
    directory.chmod(mode)
    assert others_can_write(directory.stat(), str(directory)) is untrusted


def test_an_untrusted_directory_is_named_for_everything_below_it() -> None:
    book = FileBook(Accounts(PASSWD, GROUP))
    facts = book.add("/tmp/any/thing")
    assert facts["type"] == "missing"
    Path("/tmp/remediator-test-ancestor").mkdir(exist_ok=True)
    try:
        assert book.add("/tmp/remediator-test-ancestor")["untrusted_ancestors"] == ["/tmp"]
    finally:
        Path("/tmp/remediator-test-ancestor").rmdir()


def test_a_link_that_others_can_turn_makes_its_target_untrusted(book: FileBook, tmp_path: Path) -> None:
    place = tmp_path / "open"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    (place / "link").symlink_to("/etc")
    assert str(place) in book.add(str(place / "link" / "passwd"))["untrusted_ancestors"]


@pytest.mark.root
def test_a_directory_of_another_user_is_untrusted(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    os.chown(directory, 1000, 0)
    assert others_can_write(directory.stat(), str(directory))


def test_hard_links_are_counted(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.link(tmp_path / "a", tmp_path / "b")
    assert book.add(str(tmp_path / "a"))["nlink"] == 2


@pytest.mark.root
def test_chattr_i_is_seen(book: FileBook, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    if subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode != 0:
        pytest.fail("this machine's temporary directory takes no chattr")
    try:
        assert book.add(str(path))["immutable"] is True
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


def test_private_keys_stay_where_they_are_whatever_they_are_called(book: FileBook, tmp_path: Path) -> None:
    for name in ("server.key", "ca.key.bak", "notes.txt"):
        (tmp_path / name).write_text("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n")
        facts = book.add(str(tmp_path / name), content=True)
        assert "content" not in facts
        assert "sha256" not in facts
        assert "private key" in facts["error"]


def test_a_file_that_is_called_a_key_is_not_even_looked_into(book: FileBook, tmp_path: Path) -> None:
    for name in ("server.key", "etcd-key.pem", "store.P12"):
        (tmp_path / name).write_text("0\x82 some encoding of a key")
        assert "content" not in book.add(str(tmp_path / name), content=True)


def test_binary_content_stays_where_it_is(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("password: x".encode("utf-16"))
    facts = book.add(str(tmp_path / "a"), content=True)
    assert "content" not in facts
    assert "NUL" in facts["error"]


def test_the_digest_of_a_masked_file_is_of_what_leaves(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'{"log-opts": {"splunk-token": "abc"}}')
    facts = book.add(str(tmp_path / "a"), content=True)
    assert content_of(facts) == b'{"log-opts": {"splunk-token": "xxx"}}'
    assert facts["masked"] == [(31, 3)]
    assert facts["sha256"] == hashlib.sha256(content_of(facts)).hexdigest()


@pytest.mark.root
def test_groups_count_members_other_than_root(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.chown(tmp_path / "a", 1000, 50)
    facts = book.add(str(tmp_path / "a"))
    assert (facts["user"], facts["group"], facts["group_members"]) == ("ann", "staff", 2)
    accounts = Accounts(PASSWD, GROUP)
    assert (accounts.members(0), accounts.members(60), accounts.members(1000)) == (1, 0, 1)


@pytest.mark.root
def test_a_number_without_a_name_has_none(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.chown(tmp_path / "a", 987654, 987654)
    facts = book.add(str(tmp_path / "a"))
    assert (facts["user"], facts["group"], facts["group_members"]) == (None, None, 0)


def test_a_tree_never_leaves_itself(book: FileBook, tmp_path: Path) -> None:
    (tmp_path / "t" / "sub").mkdir(parents=True)
    (tmp_path / "t" / "sub" / "f").touch()
    (tmp_path / "t" / "out").symlink_to("/etc")
    (tmp_path / "t" / "loop").symlink_to(".")
    found = [(path[len(str(tmp_path)) :], kind) for path, kind in book.tree(str(tmp_path / "t"))]
    assert found == [("/t/loop", "symlink"), ("/t/out", "symlink"), ("/t/sub", "directory"), ("/t/sub/f", "file")]


def test_a_tree_is_bounded_in_entries_and_depth_and_says_so(book: FileBook, tmp_path: Path) -> None:
    for number in range(MAX_TREE + 10):
        (tmp_path / f"{number}").touch()
    assert len(book.tree(str(tmp_path))) == MAX_TREE
    assert "entries" in book.problems[0]
    deep = tmp_path / "0d"
    for _ in range(12):
        deep.mkdir()
        deep = deep / "d"
    book.tree(str(tmp_path / "0d"))
    assert any("too deep" in problem for problem in book.problems)


def test_a_mount_point_is_one(book: FileBook) -> None:
    assert book.add("/proc")["mount_point"] is True
    assert mount_points(b"36 35 98:0 / /mnt\\040two rw - ext4 /dev/root rw\n") == {"/mnt two"}


@pytest.mark.root
def test_an_unreadable_directory_is_told_without_root(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "closed" / "f").touch()
    program = (
        "import os, sys, json; os.setgid(65534); os.setuid(65534)\n"
        "from remediator.host.observe.accounts import Accounts\n"
        "from remediator.host.observe.files import FileBook\n"
        f"print(json.dumps(FileBook(Accounts(b'', b'')).add({str(tmp_path / 'closed' / 'f')!r})))\n"
    )
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    root = Path(__file__).parents[3]
    result = subprocess.run(
        ["/usr/bin/python3", "-B", "-c", program], capture_output=True, cwd=root, text=True, check=False
    )
    assert '"type": "unreadable"' in result.stdout, result.stderr
    assert "permission denied" in result.stdout
