"""Validations: whether a file's reader would accept it, asked before the file takes its place wherever it can be."""

import json
from typing import Any, Dict, List, Tuple

from remediator.host.commit.finding import find_program
from remediator.host.commit.outcomes import StepError, plain_line
from remediator.host.commit.programs import Finished, run_program
from remediator.host.commit.reading import read_file
from remediator.host.commit.request import Step
from remediator.host.common.audit_rules import parse_rules
from remediator.host.common.mask import mask_text

VALIDATE_SECONDS = 60
# dockerd before 23.0 cannot validate, and says so.
UNKNOWN_VALIDATE = "unknown flag: --validate"


def validate(step: Step, path: str) -> None:
    """Raises StepError unless the file at `path` (real, or staged for it) is what its readers accept."""
    shown = plain_line(step.path or path)
    if step.do == "dockerd":
        validate_daemon_configuration(shown, path)
    elif step.do == "sudoers":
        validate_sudoers(shown, path)
    else:
        validate_text(step.do, shown, path)


def validate_text(do: str, shown: str, path: str) -> None:
    """`json`, `yaml_text` and `audit_rules`, by reading it here. Raises OSError, StepError."""
    try:
        text = read_file(path).decode("utf-8")
    except UnicodeDecodeError:
        raise StepError(shown + " is not UTF-8")
    if do == "json":
        try:
            json.loads(text, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError):
            raise StepError(shown + " is not JSON, or repeats a key")
    elif do == "yaml_text":
        if any(line.startswith("\t") for line in text.split("\n")):
            raise StepError(shown + " has a tab where YAML wants spaces")
    else:
        wrong = [rule.line for rule in parse_rules(text) if rule.form is None]
        if wrong:
            raise StepError("%s: auditctl cannot read line %d" % (shown, wrong[0]))


def unique_keys(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """A JSON object whose keys differ. Raises ValueError."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def validate_daemon_configuration(shown: str, path: str) -> None:
    """Raises StepError with dockerd's own words. A daemon that cannot validate is asked by its restart alone."""
    if find_program("dockerd") is None:
        return
    answer = run_program("dockerd", ["--validate", "--config-file", path], VALIDATE_SECONDS)
    if answer.status != 0 and UNKNOWN_VALIDATE not in answer.errors + answer.output:
        raise StepError("dockerd does not accept %s: %s" % (shown, words_about(answer, path, shown)))


def validate_sudoers(shown: str, path: str) -> None:
    """Raises StepError with visudo's own words: a file that sudo cannot read locks everybody out."""
    answer = run_program("visudo", ["-c", "-f", path], VALIDATE_SECONDS)
    if answer.status != 0:
        raise StepError("visudo does not accept %s: %s" % (shown, words_about(answer, path, shown)))


def words_about(answer: Finished, path: str, shown: str) -> str:
    """The line of a program's answer that names the error, with the file's own name for its staged one.

    A program may repeat what the file says: secrets are masked, before anything is cut.
    """
    answer = Finished(answer.status, masked_lines(answer.output), masked_lines(answer.errors))
    lines = [line.strip() for line in (answer.errors + "\n" + answer.output).split("\n")]
    telling = next((line for line in lines if "error" in line.lower()), None)
    return (plain_line(telling) if telling is not None else answer.complaint()).replace(path, shown)


def masked_lines(text: str) -> str:
    """A program's answer with the secrets of each line masked."""
    return "\n".join(mask_text(line) for line in text.split("\n"))
