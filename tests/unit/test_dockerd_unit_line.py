"""The ExecStart= that is in force among a unit and its drop-ins, its words, and the line without some of them."""

from __future__ import annotations

import pytest

from remediator.dockerd.unit_line import ExecLine, drop_in_content, in_force, read_exec_line, service_settings


def lines(*texts: str) -> list[str]:
    settings = [one for text in texts for one in service_settings("/unit", text.encode())]
    return [setting.value for setting in in_force(settings, "ExecStart")]


def command(text: str) -> ExecLine:
    (setting,) = service_settings("/unit", f"[Service]\nExecStart={text}\n".encode())
    return read_exec_line(setting)


def words(text: str) -> list[str]:
    return [word.text for word in command(text).words]


def test_only_the_service_section_counts_and_an_empty_value_takes_back_what_was_there() -> None:
    assert lines("[Unit]\nExecStart=/no\n[Service]\n ExecStart = /a -x \n#ExecStart=/b\n;ExecStart=/c\n") == ["/a -x"]
    assert lines("[Service]\nExecStart=/a\n", "[Service]\nExecStart=\nExecStart=/b\n") == ["/b"]
    assert lines("[Service]\nExecStart=/a\n", "[Service]\nExecStart=/b\n") == ["/a", "/b"]
    assert lines("[Service]\r\nExecStart=/a\r\n[Install]\r\nExecStart=/b\r\n") == ["/a"]


def test_lines_go_on_after_a_backslash_and_comments_between_them_count_for_nothing() -> None:
    assert lines("[Service]\nExecStart=/a \\\n  -H x \\\n# why\n  -D\nExecStop=/c\n") == ["/a    -H x    -D"]
    assert lines("[Service]\nExecStart=/a x\\\\\n-H\n") == ["/a x\\\\"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/usr/bin/dockerd -H  fd://\t--x", ["/usr/bin/dockerd", "-H", "fd://", "--x"]),
        ("/d \"a b\"c 'd \"e' --x='f g'", ["/d", "a bc", 'd "e', "--x=f g"]),
        ("/d a\\x20b \\\"q\\\" 'it\\'s'", ["/d", "a b", '"q"', "it's"]),
        ('/d $DOCKER_OPTS ${X} ""', ["/d", "$DOCKER_OPTS", "${X}", ""]),
        ("-!/d x", ["-!/d", "x"]),
    ],
)
def test_words_are_split_as_systemd_does(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_the_program_is_the_first_word_without_what_systemd_reads_off_it() -> None:
    assert command("-+/usr/bin/dockerd -D").program == "/usr/bin/dockerd"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('/d "x', "a quote is not closed"),
        ("/d \\q", "an escape that systemd does not know"),
        ("/d a ; /e b", "several commands"),
        ("@/d dockerd -D", "begins with @ or :"),
        (":/d $X", "begins with @ or :"),
    ],
)
def test_a_line_that_is_not_one_plain_command_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        command(text)


@pytest.mark.parametrize(
    ("text", "reason"), [(".include /x\n", "takes in another"), ("\ufeff[Service]\n", "byte order")]
)
def test_a_file_that_says_more_than_stands_in_it_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"/unit .*{reason}"):
        service_settings("/unit", f"[Service]\n{text}".encode())


@pytest.mark.parametrize(
    ("text", "taken", "after"),
    [
        ("/d -H fd://  --x  $O", {1: "", 2: ""}, "/d  --x  $O --tlsverify"),
        ("/d --x -H fd://", {2: "", 3: ""}, "/d --x --tlsverify"),
        ("/d -DH fd:// 'a b'", {1: "-D", 2: ""}, "/d -D 'a b' --tlsverify"),
        ("/d -H a --x -H b", {1: "", 2: "", 4: "", 5: ""}, "/d --x --tlsverify"),
        ("/d \\\n   -H fd:// \\\n   --x \\\n   $O", {1: "", 2: ""}, "/d \\\n   --x \\\n   $O --tlsverify"),
        ("/d \\\n   --x \\\n   -H fd://", {2: "", 3: ""}, "/d \\\n   --x --tlsverify"),
        ("/d", {}, "/d --tlsverify"),
    ],
)
def test_words_go_with_the_blanks_before_them_and_all_other_text_stays(
    text: str, taken: dict[int, str], after: str
) -> None:
    assert command(text).edited(taken, ["--tlsverify"]) == after


def test_an_edited_line_says_the_same_as_before_but_for_the_words_that_went() -> None:
    before = command("/d \\\n# note\n  -H fd:// --label 'ä=\\x41 b' \\\n  --x")
    raw = before.edited({1: "", 2: ""}, []).encode("latin-1").decode()
    assert words(raw) == [word.text for word in before.words if word.text not in ("-H", "fd://")]


def test_a_drop_in_of_ours_clears_what_was_there_and_keeps_bytes_that_are_no_ascii() -> None:
    line = command("/usr/bin/dockerd --label=ä=b")
    content = drop_in_content(line.edited({}, []), "why.")
    assert (
        content.decode()
        == "# Written by remediator: why.\n[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --label=ä=b\n"
    )
