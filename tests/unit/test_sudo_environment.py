"""What sudo keeps of an environment, read from all lines of its policy in their order."""

from __future__ import annotations

from pathlib import Path

import pytest

from remediator.observation import SudoLine
from remediator.sudo_environment import keeps, taken_back, with_own
from tests.unit.log_ins import NAME, OWN, in_a_namespace, lines


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (("Defaults env_reset",), False),
        (("Defaults !env_reset",), True),
        ((f"Defaults env_keep += {NAME}",), True),
        ((f'Defaults env_reset, env_keep="A {NAME} B"',), True),
        ((f'Defaults env_keep += "{NAME}=*"',), True),
        ((f'Defaults env_keep += "{NAME}=0"',), False),
        (('Defaults env_keep += "DOCKER_*"',), True),
        (('Defaults env_keep += "*_CONTENT_*"',), True),
        (('Defaults env_keep += "D*T*T"',), True),
        (('Defaults env_keep += "DOCKER_*T_CONTENT*"',), False),
        ((f'Defaults env_keep += "{NAME}_SERVER"',), False),
        ((f"Defaults env_keep += {NAME}", "Defaults env_keep = HOME"), False),
        ((f"Defaults env_keep += {NAME}", f"Defaults env_keep -= {NAME}"), False),
        ((f"Defaults env_keep += {NAME}", "Defaults !env_keep"), False),
        ((f"Defaults:ops env_keep += {NAME}",), False),
        ((f"Defaults env_keep += {NAME}", "Defaults:ops env_keep = HOME"), True),
    ],
)
def test_what_sudo_keeps_follows_from_all_of_its_lines(texts: tuple[str, ...], kept: bool) -> None:
    assert keeps(lines(*texts), NAME) is kept


def test_our_sudoers_file_is_read_between_its_neighbours() -> None:
    before, after = (SudoLine(path=f"/etc/sudoers.d/{name}", line=1, text="Defaults env_keep = A") for name in "az")
    main = lines("Defaults env_reset", "@includedir /etc/sudoers.d", "Defaults env_reset")
    assert with_own([*main[:2], before, main[2]], OWN) == [*main[:2], before, OWN, main[2]]
    found = with_own([*main[:2], before, after, main[2]], OWN)
    assert found == [*main[:2], before, OWN, after, main[2]]
    assert taken_back(found, OWN, NAME) == after
    assert with_own(lines("Defaults env_reset"), OWN) is None


@pytest.mark.root
@pytest.mark.parametrize(
    "theirs",
    [
        (),
        ("Defaults env_keep = HOME",),
        ("Defaults env_keep += HOME", f"Defaults env_keep -= {NAME}"),
        ("Defaults !env_keep",),
        ("Defaults:nobody env_keep = HOME",),
        ('Defaults env_keep += "DOCKER_*"',),
        ("Defaults !env_reset",),
        (f'Defaults env_keep += "{NAME}=0"',),
    ],
)
@pytest.mark.parametrize("ours", [True, False])
def test_sudo_keeps_what_is_read_from_its_lines(tmp_path: Path, theirs: tuple[str, ...], ours: bool) -> None:
    after = [SudoLine(path="/etc/sudoers.d/z-theirs", line=1, text=text) for text in theirs]
    policy = [*lines("Defaults env_reset", "@includedir /etc/sudoers.d"), *([OWN] if ours else []), *after]
    (tmp_path / "sudoers").write_text("Defaults env_reset\nroot ALL=(ALL) ALL\n@includedir /etc/sudoers.d\n")
    directory = tmp_path / "sudoers.d"
    directory.mkdir()
    for line in policy[2:]:
        with (directory / line.path.rpartition("/")[2]).open("a") as file:
            file.write(f"{line.text}\n")
    script = (
        'chmod 0440 "$1" "$2"/* 2>/dev/null || :; mount --bind "$1" /etc/sudoers; mount --bind "$2" /etc/sudoers.d; '
        f"{NAME}=1 exec sudo env"
    )
    said = in_a_namespace(script, str(tmp_path / "sudoers"), str(directory))
    assert (f"{NAME}=1" in said.split("\n")) is keeps(policy, NAME)
