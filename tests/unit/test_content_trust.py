"""Lines that set Docker's content trust, as PAM, systemd, shells and sudo take them: read rightly, and edited alone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remediator.content_trust_lines import Setting, Syntax, can_append, settings_in, settled, without
from remediator.content_trust_words import effects, ignored, major_version
from remediator.kinds.content_trust import ContentTrust, ContentTrustParameters
from remediator.kinds.interface import Decision, Scope
from remediator.observation import FileFacts, HostFacts, LoginEnvironment, Observation, Reference
from remediator.overlay import Overlay
from remediator.plan import Impact
from remediator.shell_lines import top_level_lines
from remediator.splices import Edited, Splice
from remediator.surroundings import Surroundings
from remediator.transactions import build_transactions
from tests.unit.log_ins import NAME, OWN, in_a_namespace, lines

SETTING_LINES = (
    *(
        f"{NAME}=1",
        f"{NAME}=0",
        f"{NAME}=",
        f'{NAME}="1"',
        f"{NAME}='0'",
        f"export {NAME}=1",
        f"  {NAME}=1",
        f"{NAME}=1 ",
    ),
    *(f"#{NAME}=1", f"# export {NAME}=0", f"## {NAME}=1\r", f"{NAME}=1\r", f"{NAME} = 1"),
)
# What must stay, byte for byte.
OTHER_LINES = (
    *(
        "",
        "A=1",
        "PATH=/usr/bin:/bin",
        "# a comment",
        "\t",
        "export B='x y'",
        "C=\u00fc\u4e2d",
        f"{NAME}_SERVER=https://n.lab",
    ),
    *(f"# {NAME}=1 is what the auditors want", f"X_{NAME}=0", 'D="q"', "E=a#b", "F=1\r", "G=don't", f"H={NAME}=0"),
)
environment_files = st.builds(
    lambda lines, ending: ("\n".join(lines) + ending).encode(),
    st.lists(st.sampled_from(SETTING_LINES + OTHER_LINES), max_size=12),
    st.sampled_from(["", "\n"]),
)


def edited(content: bytes, splices: Sequence[Splice]) -> bytes:
    return Edited.of(content).splice(splices).content


def one(syntax: Syntax, line: str) -> Setting | None:
    found = settings_in(syntax, line.encode())
    assert len(found) <= 1
    return found[0] if found else None


@given(environment_files)
def test_an_environment_file_is_left_with_one_right_line_and_every_other_byte(content: bytes) -> None:
    before = settings_in(Syntax.ASSIGNMENTS, content)
    after = edited(content, settled(content, before))
    numbers = {setting.number for setting in before}
    kept = [line for number, line in enumerate(content.split(b"\n"), 1) if number not in numbers]
    (mine,) = settings_in(Syntax.ASSIGNMENTS, after)
    assert after.split(b"\n")[mine.number - 1].strip(b" ").replace(b'"', b"") == b"DOCKER_CONTENT_TRUST=1"
    left = [line for number, line in enumerate(after.split(b"\n"), 1) if number != mine.number]
    assert [line for line in left if line] == [line for line in kept if line]
    assert b"".join(left) == b"".join(kept)


@given(environment_files)
def test_an_environment_file_that_was_put_right_is_not_touched_again(content: bytes) -> None:
    after = edited(content, settled(content, settings_in(Syntax.ASSIGNMENTS, content)))
    found = settings_in(Syntax.ASSIGNMENTS, after)
    assert [(setting.right, setting.whole) for setting in found] == [(True, True)]
    assert settled(after, found) == []


@given(environment_files)
def test_lines_that_are_taken_out_take_nothing_with_them(content: bytes) -> None:
    found = settings_in(Syntax.ASSIGNMENTS, content)
    kept = content
    for setting in reversed(found):
        kept = kept[: setting.start] + kept[setting.end :]
    after = edited(content, without(found))
    assert after == kept
    assert settings_in(Syntax.ASSIGNMENTS, after) == ()


def test_a_line_is_put_right_where_it_stands() -> None:
    content = b"A=1\n# DOCKER_CONTENT_TRUST=1\nB=2\nDOCKER_CONTENT_TRUST=0\nC=3"
    after = edited(content, settled(content, settings_in(Syntax.ASSIGNMENTS, content)))
    assert after == b"A=1\nB=2\nDOCKER_CONTENT_TRUST=1\nC=3"


@pytest.mark.parametrize(("content", "after"), [(b"", b""), (b"A=1", b"A=1\n"), (b"A=1\n", b"A=1\n")])
def test_without_any_line_one_comes_at_the_end(content: bytes, after: bytes) -> None:
    assert edited(content, settled(content, ())) == after + b"DOCKER_CONTENT_TRUST=1\n"


@pytest.mark.parametrize(
    ("content", "free"),
    [("A=1\\", False), ('A="x\ny', False), ('A="x"', True), ("# A=1\\\n", False), ("A='x' \"y", False)],
)
def test_what_goes_on_swallows_no_line_of_ours(content: str, free: bool) -> None:
    assert can_append(content.encode()) is free


@pytest.mark.parametrize("before", ["A=x\\\n", '# note\nA="x\n', "A='x\nB=1\n"])
def test_a_line_that_may_belong_to_the_one_before_it_is_not_whole(before: str) -> None:
    (setting,) = settings_in(Syntax.ASSIGNMENTS, f"{before}{NAME}=1\n".encode())
    assert (setting.right, setting.whole) == (False, False)


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        (f"export {NAME}=0", True),
        (f"  {NAME}='1' ; # ours", True),
        (f"export {NAME}", True),
        (f"export {NAME}=$X", False),
        (f"{NAME}=0; export {NAME}", False),
        (f"[ -t 0 ] && export {NAME}=0", False),
        (f"export A=1 {NAME}=0", False),
        (f"unset {NAME}", False),
        (f"{NAME}=0 docker pull x", False),
        (f": ${{{NAME}:=0}}", False),
        (f"export {NAME}=0 \\", False),
    ],
)
def test_a_command_that_sets_it_is_whole_only_when_it_does_nothing_else(line: str, whole: bool) -> None:
    setting = one(Syntax.SHELL, line)
    assert setting is not None
    assert (setting.active, setting.whole) == (True, whole)


@pytest.mark.parametrize(
    "line", [f"echo ${NAME}", f'[ "${{{NAME}}}" = 1 ]', f"export {NAME}_SERVER=x", f"# why {NAME}=1"]
)
def test_a_command_that_only_reads_it_sets_nothing(line: str) -> None:
    assert one(Syntax.SHELL, line) is None


@pytest.mark.parametrize(
    ("syntax", "line", "found"),
    [
        (Syntax.USER_MANAGER, f"DefaultEnvironment={NAME}=1", (True, True)),
        (Syntax.USER_MANAGER, f'DefaultEnvironment = "{NAME}=0"', (True, True)),
        (Syntax.USER_MANAGER, f"DefaultEnvironment=A=1 {NAME}=0", (True, False)),
        (Syntax.USER_MANAGER, f"#DefaultEnvironment={NAME}=0", (False, True)),
        (Syntax.SYSTEM_MANAGER, f"DefaultEnvironment={NAME}=1", None),
        (Syntax.SYSTEM_MANAGER, f"DefaultEnvironment={NAME}=0", (True, True)),
        (Syntax.OTHER, f"SetEnv {NAME}=1", (True, False)),
        (Syntax.OTHER, f"# SetEnv {NAME}=1", None),
    ],
)
def test_each_kind_of_file_is_read_in_its_own_way(syntax: Syntax, line: str, found: tuple[bool, bool] | None) -> None:
    setting = one(syntax, line)
    assert (setting and (setting.active, setting.whole)) == found


SIMPLE = (
    *(
        "true",
        "A=1",
        "export B='x y'",
        'echo "a $(echo b) c"',
        "x=$(echo if)",
        "echo a # if",
        "x=`echo fi`",
        "( true )",
    ),
    *("cat <<EOF\nif then\nEOF", "cat <<-'E F'\n\tfoo $(\n\tE F", '[ -n "$A" ] &&\n  true', "true ||\n# c\n\ntrue"),
    *(
        "echo a \\\n  if",
        'case "$A" in\n  if) true;;\n  a|b) echo $((1+2));;\n  *) ;;\nesac',
        "arr=(a if fi)",
        "{ true; }",
    ),
    *('echo ${A:-"q \'r"} ${#A} ${A#x}', "echo $'it\\'s' \"\\\"\"", "[[ a == b && ( c == d ) ]]", "echo x >&2 2>&1"),
    *("diff <(echo a) <(echo a)", "! true", "((x=1<<2))", "for ((i=0;i<1;i++)); do true; done", "echo 'a\nif\nb'"),
)
LINE = f"export {NAME}=0"
BLOCKS = (
    *("if true; then\n{}\nelse\n{}\nfi", "if true\nthen {}\nfi", "for x in a if fi; do\n{}\ndone", "f() {{\n{}\n}}"),
    *("while false; do\n{}\ndone >/dev/null", "function g {{\n{}\n}}", "f ()\n{{\n{}\n}}", "(\n{}\n)", "x=$(\n{}\n)"),
    *('y="$(\n{}\n)"', "case a in\n(a)\n{}\n;;\nb) {} ;;\nesac", "until true; do {}\ndone", "cat <<EOF\n{}\nEOF"),
    *(
        "if true; then if true; then {}\nfi fi",
        "true &&\n{}",
        "echo '\n{}\n'",
        "if true; then time -p if true; then {}\nfi\nfi",
    ),
)
scripts = st.recursive(
    st.sampled_from([*SIMPLE, LINE, LINE, LINE]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("\n".join),
        st.builds(lambda block, body: block.format(body, body), st.sampled_from(BLOCKS), inner),
    ),
    max_leaves=12,
)


def parses(script: bytes) -> bool:
    """Whether bash takes it, without a word on here-documents that never end."""
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, check=False)
    return done.returncode == 0 and not done.stderr


@settings(max_examples=60, deadline=None)
@given(scripts)
def test_what_stands_before_a_line_at_the_top_level_is_a_script_of_its_own_to_bash(script: str) -> None:
    lines = script.split("\n")
    whole = top_level_lines(script)
    assert len(whole) == len(lines)
    for number, is_whole in enumerate(whole):
        if is_whole and lines[number] == LINE:
            before = "\n".join([*lines[:number], ""])
            assert parses(before.encode()), before
            assert not before.endswith("\\\n")


@settings(max_examples=60, deadline=None)
@given(scripts)
def test_a_script_without_its_whole_lines_still_parses_and_keeps_every_other_line(script: str) -> None:
    content = script.encode()
    found = [setting for setting in settings_in(Syntax.SHELL, content) if setting.whole]
    after = edited(content, without(found))
    gone = {setting.number for setting in found}
    left = [line for number, line in enumerate(content.split(b"\n"), 1) if number not in gone]
    assert after.removesuffix(b"\n") == b"\n".join(left).removesuffix(b"\n")
    if parses(content):
        assert parses(after), after
    assert [setting for setting in settings_in(Syntax.SHELL, after) if setting.whole] == []


@pytest.mark.parametrize(
    "before",
    [
        *(
            "coproc N if true; then\n",
            "foreach x (a b)\n",
            "fi\n",
            "echo )\n",
            "cat <<EOF\n",
            "if x; then\n",
            "a &&\n\n",
        ),
        *("for x do if a\nthen b\nfi\n", "echo a \\\n", 'echo "a \\\n', "f()\n", "function f\n"),
    ],
)
def test_a_line_that_goes_on_or_where_the_reader_lost_its_way_is_not_top_level(before: str) -> None:
    assert top_level_lines(before + LINE)[-1] is False


def test_the_end_of_docker_hubs_signatures_is_told_by_its_date() -> None:
    seen = Observation(format_version=1, host=HostFacts(python="3.11", uid=0))
    assert "the last day of notary.docker.io is 2026-12-08" in "; ".join(effects("26.1.5", seen))


def test_a_line_of_blanks_costs_no_more_than_its_length() -> None:
    line = b"export DOCKER_CONTENT_TRUST" + b" " * 200_000 + b"x\n"
    began = time.process_time()
    settings_in(Syntax.SHELL, line)
    assert time.process_time() - began < 5


def test_what_is_nested_deeper_than_any_script_is_not_top_level() -> None:
    began = time.process_time()
    assert not any(top_level_lines("(" * 20_000 + "``" * 20_000 + "\n")[1:])
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("version", "major"), [("20.10.24+dfsg1", 20), ("29.0.0-rc.1", 29), ("", None), ("dev", None)])
def test_a_version_is_read_or_it_is_none(version: str, major: int | None) -> None:
    assert major_version(version) == major


def test_what_replaces_it_is_told_as_it_is_on_the_host() -> None:
    files = {"/usr/local/bin/notation": FileFacts(type="file")}
    seen = Observation(format_version=1, host=HostFacts(python="3.11", uid=0), files=files)
    assert "cosign is not installed here, notation is installed here" in ignored("29.1", seen)


def host(files: dict[str, bytes], kinds: dict[str, Syntax]) -> Observation:
    """A host whose sudo keeps the variable, with these files that could set it."""
    kept = [*lines("@includedir /etc/sudoers.d"), OWN]
    paths = [{"path": path, "source": kind.value} for path, kind in kinds.items()]
    facts = {
        path: FileFacts(type="file", mode=0o644, resolved=path, content=content) for path, content in files.items()
    }
    return Observation(
        format_version=1,
        host=HostFacts(python="3.11", uid=0),
        files=facts,
        references={"@content_trust.settings": Reference.model_validate({"status": "resolved", "paths": paths})},
        docker_cli="20.10.24",
        login_environment=LoginEnvironment(environment_d=True, sudo="read", sudo_lines=kept),
    )


def decided(seen: Observation) -> tuple[Decision, Overlay]:
    overlay = Overlay(seen)
    scope = Scope(seen, Surroundings(datetime(2026, 7, 1, tzinfo=UTC)))
    return ContentTrust().decide("docker.example", ContentTrustParameters(), scope, overlay), overlay


KINDS = {"/etc/environment": Syntax.ASSIGNMENTS, "/etc/profile": Syntax.SHELL}


@settings(max_examples=60, deadline=None)
@given(environment_files, scripts)
def test_a_second_decision_stages_nothing(environment: bytes, profile: str) -> None:
    files = {"/etc/environment": environment, "/etc/profile": profile.encode()}
    decision, overlay = decided(host(files, KINDS))
    after = {path: overlay.content(path) or b"" for path in files}
    if decision.verdict != "drifted":
        assert build_transactions(overlay) == ()
        return
    again, nothing = decided(host(after, KINDS))
    assert (again.verdict, nothing.files) == ("compliant", {})


def test_the_change_says_what_it_does_and_costs_a_log_in() -> None:
    _, overlay = decided(host({"/etc/environment": b"A=1\n", "/etc/profile": f"{LINE}\n".encode()}, KINDS))
    (transaction,) = build_transactions(overlay)
    assert transaction.group == "environment"
    assert transaction.impact == Impact(
        level="login", text="in force at the next log-in: sessions that are open keep their environment"
    )
    assert (transaction.activation, len(transaction.changes)) == ((), 2)
    assert "Docker CLI 20.10.24 then refuses" in transaction.changes[0].details[0]
    assert transaction.changes[1].details == ()


@pytest.mark.root
@pytest.mark.parametrize(
    "content", ["", "A=1", f"{NAME}=0\n{NAME}=1 \r\nA=1\n", f"# {NAME}=0\nA=don't\n", f"export {NAME}=0\nB='x y'\n"]
)
def test_pam_gives_a_log_in_the_variable_once(tmp_path: Path, content: str) -> None:
    path = tmp_path / "environment"
    path.write_bytes(
        edited(content.encode(), settled(content.encode(), settings_in(Syntax.ASSIGNMENTS, content.encode())))
    )
    said = in_a_namespace('mount --bind "$1" /etc/environment; exec su - root -s /bin/sh -c env', str(path))
    assert [line for line in said.split("\n") if line.startswith(NAME)] == [f"{NAME}=1"]
