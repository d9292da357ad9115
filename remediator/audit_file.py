"""The one rules file that remediator owns: blocks of kernel audit rules, one block a control."""

from __future__ import annotations

from dataclasses import dataclass

from remediator.host.common.audit_rules import AuditForm, normal_form, split_rule

RULES_FILE = "/etc/audit/rules.d/50-remediator-docker.rules"
RULES_MODE = 0o640
TMPFILES = "/etc/tmpfiles.d/remediator-audit.conf"
TMPFILES_MODE = 0o644
MAX_RULES_FILE = 64 * 1024
# It begins with an empty line: augenrules joins files as they are, and one before ours may lack its final newline.
_HEAD = "\n# Written by remediator, one block for each control; edits by hand are reported as drift."
_MARK = "## "
_TMPFILES_HEAD = "# Written by remediator: directories that must exist when audit rules are loaded at boot."


@dataclass(frozen=True)
class BootRule:
    """One rule that is kept for the next boot: its words as written, and its normal form."""

    words: tuple[str, ...]
    form: AuditForm

    @property
    def below(self) -> bool:
        """Whether a watch goes below its directory: -w and dir= do, path= does not (auditctl(8))."""
        return not any(word.startswith("path=") for word in self.words)


@dataclass(frozen=True)
class Block:
    """The rules of one control, as lines."""

    control: str
    lines: tuple[str, ...]

    @property
    def rules(self) -> tuple[BootRule, ...]:
        """The lines that auditctl would take, as rules."""
        found = ((split_rule(line), normal_form(split_rule(line))) for line in self.lines)
        return tuple(BootRule(tuple(words), form) for words, form in found if form is not None)


def rule_words(path: str, access: str, key: str, *, tree: bool) -> tuple[str, ...]:
    """A watch in auditctl's words: recursive below a directory with `tree`, the one path otherwise.

    Written with -a, since auditctl 4 warns of -w; the kernel's rule is the same (auditctl(8)).
    """
    field = "dir" if tree else "path"
    return ("-a", "always,exit", "-F", f"{field}={path}", "-F", f"perm={access}", "-F", f"key={key}")


def parse_blocks(content: bytes) -> tuple[Block, ...]:
    """The blocks of our rules file; lines before the first block are dropped, unknown blocks are kept."""
    blocks: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in content.decode("utf-8", "replace").split("\n"):
        if line.startswith(_MARK):
            lines = blocks.setdefault(line[len(_MARK) :].strip(), [])
        elif lines is not None and line.strip() and not line.startswith("#"):
            lines.append(line.strip())
    return tuple(Block(control, tuple(lines)) for control, lines in blocks.items())


def render_blocks(blocks: tuple[Block, ...]) -> bytes:
    """The rules file: blocks by control, those that watch below /run last, since they lean on tmpfiles.d at boot."""
    kept = [block for block in blocks if block.lines]
    kept.sort(key=lambda block: (any("=/run/" in line for line in block.lines), block.control))
    out = [_HEAD]
    for block in kept:
        out += [_MARK + block.control, *block.lines]
    return ("\n".join(out) + "\n").encode()


def with_block(content: bytes | None, block: Block) -> bytes:
    """`content` with the control's block replaced by `block` (taken out when it has no lines)."""
    others = [item for item in parse_blocks(content or b"") if item.control != block.control]
    return render_blocks((*others, block))


def with_boot_directory(content: bytes | None, path: str, mode: int) -> bytes:
    """Our tmpfiles.d file with a line that makes `path` at boot, before audit rules are loaded (tmpfiles.d(5))."""
    lines = _directory_lines(content)
    wanted = f"d {path} {mode:04o} root root -"
    kept = [line for line in lines if line.split()[1:2] != [path]]
    return ("\n".join([_TMPFILES_HEAD, *sorted([*kept, wanted])]) + "\n").encode()


def boot_directories(content: bytes | None) -> tuple[str, ...]:
    """The directories that our tmpfiles.d file makes."""
    return tuple(line.split()[1] for line in _directory_lines(content) if len(line.split()) > 1)


def _directory_lines(content: bytes | None) -> list[str]:
    return [line for line in (content or b"").decode("utf-8", "replace").split("\n") if line.startswith("d ")]
