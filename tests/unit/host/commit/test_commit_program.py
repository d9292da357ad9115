"""The joined program of commit: old enough for every host, one namespace, and cheap to start."""

from __future__ import annotations

import ast
import subprocess
import sys

from remediator.host import commit_program, join
from remediator.host.commit import ENGINE, LATER, PARTS

# With what the program compiles later, where the work is done: it shares its names.
WHOLE = join((*PARTS, *ENGINE)).source
TREE = ast.parse(WHOLE)
# What starts a process, whatever its last word.
STARTS = ("subprocess.", "os.exec", "os.posix_spawn", "os.spawn", "pty.", "multiprocessing.")
# What these load (OpenSSL, threads) costs a commit more than most of its start; only what needs it pays.
LATE_MODULES = {"ssl", "subprocess"}


def modules(nodes: list[ast.AST]) -> set[str]:
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return found | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def test_it_parses_as_python_3_6() -> None:
    ast.parse(WHOLE, feature_version=(3, 6))
    ast.parse(commit_program("commit", "").source, feature_version=(3, 6))


def test_whoever_only_passes_an_answer_on_compiles_and_loads_little() -> None:
    (engine,) = LATER.values()
    messenger = join(PARTS, end="\nprint(*(set(sys.modules) - before))\n").source
    assert len(messenger) < len(join(engine).source) / 15
    program = b"import sys, os, select, time, marshal, stat\nbefore = set(sys.modules)\n" + messenger
    done = subprocess.run([sys.executable, "-I", "-S", "-"], input=program, capture_output=True, check=True)
    assert set(done.stdout.decode().split()) <= {"_sha2", "_sha256"}


def test_no_name_is_defined_twice_across_its_files() -> None:
    defined = []
    for node in TREE.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined += [ast.unparse(target) for target in targets]
    assert {name for name in defined if defined.count(name) > 1} <= {"MYPY"}


def test_what_is_slow_to_load_is_loaded_where_it_is_used() -> None:
    assert modules(list(ast.walk(TREE))) & LATE_MODULES == LATE_MODULES
    assert modules(list(TREE.body)) & LATE_MODULES == set()
    program = WHOLE.rsplit(b"\nserve(", 1)[0] + b"\nimport sys\nprint(*sys.modules)\n"
    done = subprocess.run([sys.executable, "-I", "-S", "-"], input=program, capture_output=True, check=True)
    assert set(done.stdout.decode().split()) & {*LATE_MODULES, "hashlib"} == set()


def test_it_starts_programs_in_two_places_and_never_through_a_shell() -> None:
    calls = [node for node in ast.walk(TREE) if isinstance(node, ast.Call)]
    started = {
        name: node
        for node in calls
        if (name := ast.unparse(node.func)).startswith(STARTS) or name in ("os.fork", "os.system", "os.popen")
    }
    assert sorted(started) == ["os.execve", "os.fork", "subprocess.Popen"]
    assert len([node for node in calls if ast.unparse(node.func) in started]) == 3
    popen, execve = started["subprocess.Popen"], started["os.execve"]
    assert "shell" not in {keyword.arg for keyword in popen.keywords}
    assert ast.unparse(execve.args[0]) == "path"  # what find_program found
