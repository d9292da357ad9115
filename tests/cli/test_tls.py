"""`remediate tls` as a user calls it: the files that it makes, what it says, and that no secret is in either."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pexpect
import pytest

from remediator.tls.listing import TlsDocument

Remediate = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = str(Path(sys.executable).with_name("remediate"))
PASSPHRASE = "correct horse 4711 battery"
VARIABLE = "REMEDIATOR_CA_PASSPHRASE"


@pytest.fixture
def passphrase_file(tmp_path: Path) -> str:
    """A file with the passphrase."""
    path = tmp_path / "passphrase"
    path.touch(mode=0o600)
    path.write_text(PASSPHRASE + "\n")
    return str(path)


@pytest.fixture
def ca(remediate: Remediate, passphrase_file: str, tmp_path: Path) -> Path:
    """The directory of a new CA."""
    done = remediate("tls", "init", "--passphrase-file", passphrase_file)
    assert done.returncode == 0, done.stderr
    return tmp_path / "home/.local/share/remediator/tls"


def openssl(*arguments: str | Path) -> str:
    """What openssl prints."""
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_init_makes_an_authority_and_says_where_it_is(ca: Path, remediate: Remediate) -> None:
    assert sorted(path.name for path in ca.iterdir()) == ["ca-key.pem", "ca.pem"]
    assert stat.S_IMODE(ca.stat().st_mode) == 0o700
    assert "OK" in openssl("verify", "-CAfile", ca / "ca.pem", ca / "ca.pem")
    opened = openssl("pkey", "-in", ca / "ca-key.pem", "-passin", f"pass:{PASSPHRASE}", "-pubout")
    assert opened == openssl("x509", "-noout", "-pubkey", "-in", ca / "ca.pem")


def test_init_says_what_it_made(remediate: Remediate, tmp_path: Path) -> None:
    done = remediate("tls", "init", more={VARIABLE: PASSPHRASE, "XDG_DATA_HOME": str(tmp_path / "data")})
    assert (done.returncode, done.stderr) == (0, "")
    first, fingerprint, *_, last = done.stdout.splitlines()
    assert first.startswith(f"Made a CA in {tmp_path}/data/remediator/tls, valid until 20")
    shown = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", tmp_path / "data/remediator/tls/ca.pem")
    assert fingerprint.split()[1] == shown.partition("=")[2].strip().replace(":", "").lower()
    assert last == "Next: remediate tls issue -i INVENTORY"


def test_a_second_init_overwrites_nothing(ca: Path, remediate: Remediate, passphrase_file: str) -> None:
    before = {path.name: path.read_bytes() for path in ca.iterdir()}
    done = remediate("tls", "init", "--passphrase-file", passphrase_file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "There is a CA already" in done.stderr
    assert {path.name: path.read_bytes() for path in ca.iterdir()} == before


def test_client_makes_a_bundle_and_the_commands_that_use_it(
    ca: Path, remediate: Remediate, passphrase_file: str, tmp_path: Path
) -> None:
    done = remediate(
        "tls", "client", "ann", "-o", "out/ann", "--host", "web1.example", "--passphrase-file", passphrase_file
    )
    assert (done.returncode, done.stderr) == (0, "")
    bundle = tmp_path / "out" / "ann"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in bundle.iterdir()}
    assert modes == {"ca.pem": 0o444, "cert.pem": 0o444, "key.pem": 0o400}
    assert "OK" in openssl("verify", "-purpose", "sslclient", "-CAfile", bundle / "ca.pem", bundle / "cert.pem")
    assert openssl("pkey", "-in", bundle / "key.pem", "-pubout") == openssl(
        "x509", "-noout", "-pubkey", "-in", bundle / "cert.pem"
    )
    context, variables = (shlex.split(line) for line in done.stdout.splitlines() if line.startswith("  "))
    files = ",".join(f"{name}={bundle}/{name}.pem" for name in ("ca", "cert", "key"))
    assert context == ["docker", "context", "create", "ann", "--docker", f"host=tcp://web1.example:2376,{files}"]
    assert variables == [
        "export",
        "DOCKER_HOST=tcp://web1.example:2376",
        "DOCKER_TLS_VERIFY=1",
        f"DOCKER_CERT_PATH={bundle}",
    ]


def test_without_a_host_the_commands_say_what_is_to_be_put_in(
    ca: Path, remediate: Remediate, passphrase_file: str
) -> None:
    done = remediate("tls", "client", "ann", "-o", "ann", "--days", "7", "--passphrase-file", passphrase_file)
    assert "host=tcp://HOST:2376" in done.stdout
    assert done.stdout.endswith("HOST stands for the daemon's name or address.\n")
    assert re.search(r"ann +until \S+, 6 days left", remediate("tls", "show").stdout)


def test_show_lists_what_there_is(ca: Path, remediate: Remediate, passphrase_file: str) -> None:
    assert remediate("tls", "client", "ann", "-o", "ann", "--passphrase-file", passphrase_file).returncode == 0
    done = remediate("tls", "show")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"CA  {ca}\n")
    assert "hosts  none: `remediate tls issue -i INVENTORY`" in done.stdout
    assert re.search(r"clients  1\n  ann +until \d{4}-\d\d-\d\d, 396 days left  sha256 [0-9a-f]{64}\n", done.stdout)
    shown = remediate("tls", "show", "--format", "json").stdout
    jsonschema.Draft202012Validator(json.loads(remediate("schema").stdout)).validate(json.loads(shown))
    document = TlsDocument.model_validate_json(shown)
    assert document.authority is not None
    assert document.authority.days_left == 3651
    assert [each.name for each in document.clients] == ["ann"]
    assert document.directory == str(ca)


def test_show_names_what_cannot_be_read(ca: Path, remediate: Remediate) -> None:
    (ca / "hosts" / "web1").mkdir(parents=True)
    (ca / "hosts" / "web1" / "cert.pem").write_text("garbage")
    done = remediate("tls", "show")
    assert done.returncode == 0
    assert re.search(r"  web1 +unreadable", done.stdout)
    assert f"{ca}/hosts/web1/cert.pem: the file holds no certificate" in done.stdout


def test_show_without_an_authority_says_so(remediate: Remediate) -> None:
    done = remediate("tls", "show")
    assert done.returncode == 0
    assert "There is no CA in" in done.stdout
    assert "remediate tls init" in done.stdout
    assert json.loads(remediate("tls", "show", "--format", "json").stdout)["authority"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tls", "isue"], ["isue", "issue", "client"]),
        (["tls", "init"], ["no terminal", "--passphrase-file", VARIABLE]),
        (["tls", "init", "--passphrase-file", "nowhere"], ["nowhere", "does not exist"]),
        (["tls", "client", "ann"], ["-o"]),
        (["tls", "client", "-o", "x"], ["NAME"]),
        (["tls", "client", "ann", "-o", "x"], ["There is no CA", "remediate tls init"]),
        (["tls", "client", "a b", "-o", "x"], ["a b", "letters"]),
        (["tls", "client", "controller", "-o", "x"], ["controller", "another"]),
        (["tls", "client", "ann", "-o", "x", "--host", "a b"], ["a b", "DNS name"]),
        (["tls", "client", "ann", "-o", "x", "--days", "0"], ["0"]),
        (["tls", "show", "surplus"], ["surplus"]),
    ],
    ids=" ".join,
)
def test_a_wrong_call_says_what_is_wrong_and_makes_nothing(
    arguments: list[str], words: list[str], remediate: Remediate, tmp_path: Path
) -> None:
    done = remediate(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    said = " ".join(done.stderr.split())
    for word in words:
        assert word in said
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "home" / ".local").exists()


def test_a_bundle_overwrites_nothing(ca: Path, remediate: Remediate, passphrase_file: str, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("mine")
    done = remediate("tls", "client", "ann", "-o", ".", "--passphrase-file", passphrase_file)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path}/key.pem exists, and is not overwritten" in done.stderr
    assert (tmp_path / "key.pem").read_text() == "mine"
    assert not (ca / "clients").exists()


def test_a_wrong_passphrase_makes_nothing(ca: Path, remediate: Remediate, tmp_path: Path) -> None:
    done = remediate("tls", "client", "ann", "-o", "ann", more={VARIABLE: "wrong horse battery"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "The passphrase is wrong" in done.stderr
    assert "wrong horse" not in done.stderr
    assert not (tmp_path / "ann").exists()
    assert not (ca / "clients").exists()


def test_help_ends_0_and_names_every_verb(remediate: Remediate) -> None:
    for arguments in (["tls", "--help"], ["tls", "init", "-h"], ["tls", "client", "--help"], ["tls", "show", "-h"]):
        done = remediate(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
    said = remediate("tls", "--help").stdout
    assert all(verb in said for verb in ("init", "issue", "client", "show"))
    assert "tls" in remediate("--help").stdout


def test_the_help_imports_nothing_that_it_does_not_need() -> None:
    program = (
        "import sys; from remediator.cli.main import run; run(['tls', '--help']); run(['tls', 'client', '--help']);"
        "print([name for name in ('pydantic', 'rich', 'paramiko', 'ansible', 'cryptography') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_error(ca: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [COMMAND, "tls", "show"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, "HOME": str(tmp_path / "home")},
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def at_a_terminal(home: Path, *arguments: str) -> pexpect.spawn[str]:
    """The command with a terminal to ask at."""
    environment = {name: value for name, value in os.environ.items() if name not in (VARIABLE, "XDG_DATA_HOME")}
    return pexpect.spawn(
        COMMAND, ["tls", *arguments], encoding="utf-8", timeout=60, cwd=home, env={**environment, "HOME": str(home)}
    )


def test_at_a_terminal_it_is_asked_for_twice_then_once_and_never_shown(tmp_path: Path) -> None:
    child = at_a_terminal(tmp_path, "init")
    for question in ("New passphrase of the CA's key: ", "The same again: "):
        child.expect_exact(question)
        child.sendline(PASSPHRASE)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert PASSPHRASE not in str(child.before)
    child = at_a_terminal(tmp_path, "client", "ann", "-o", "ann")
    child.expect_exact("Passphrase of the CA's key: ")
    child.sendline(PASSPHRASE)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert (tmp_path / "ann" / "key.pem").is_file()


@pytest.mark.parametrize(
    ("answers", "words"),
    [((PASSPHRASE, PASSPHRASE + "x"), "differ"), (("short", "short"), "12 characters"), (("",), "is empty")],
)
def test_a_mistyped_short_or_empty_passphrase_makes_nothing(
    answers: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    child = at_a_terminal(tmp_path, "init")
    for question, answer in zip(("New passphrase", "The same again"), answers, strict=False):
        child.expect_exact(question)
        child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2
    assert words in " ".join(str(child.before).split())
    assert not (tmp_path / ".local").exists()


def test_ctrl_c_at_the_question_ends_130_and_makes_nothing(tmp_path: Path) -> None:
    child = at_a_terminal(tmp_path, "init")
    child.expect_exact("New passphrase")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert not (tmp_path / ".local").exists()


def test_key_and_passphrase_are_in_no_argument_output_or_file(
    remediate: Remediate, passphrase_file: str, tmp_path: Path
) -> None:
    """Everything that the calls start, print and write is searched, and Python's audit trail has what they start."""
    home = tmp_path / "home"
    said = []
    for number, words in enumerate((["init"], ["client", "ann", "-o", "ann"], ["show"])):
        given = ["--passphrase-file", passphrase_file] if words != ["show"] else []
        done = subprocess.run(
            [sys.executable, "-c", WITNESS, str(tmp_path / f"started-{number}"), "tls", *words, *given],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said += [done.stdout, done.stderr, (tmp_path / f"started-{number}").read_text()]
    ca_key = home / ".local/share/remediator/tls/ca-key.pem"
    opened = openssl("pkey", "-in", ca_key, "-passin", f"pass:{PASSPHRASE}", "-outform", "PEM")
    decrypted = "".join(opened.splitlines()[1:-1])
    client = "".join((tmp_path / "ann/key.pem").read_text().splitlines()[1:-1])
    files = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    for secret in (PASSPHRASE, decrypted, client):
        assert not [text for text in said if secret in text.replace("\n", "")]
    assert [path for path, text in files.items() if PASSPHRASE in text] == [Path(passphrase_file)]
    assert [path for path, text in files.items() if decrypted in text.replace("\n", "")] == []
    assert [path for path, text in files.items() if client in text.replace("\n", "")] == [tmp_path / "ann/key.pem"]
    plain = [path for path, text in files.items() if "BEGIN PRIVATE KEY" in text or "BEGIN EC PRIVATE KEY" in text]
    assert plain == [tmp_path / "ann/key.pem"]
    assert "BEGIN ENCRYPTED PRIVATE KEY" in files[ca_key]


# Runs `remediate` with Python's own audit trail of the programs that it starts, written down at the end.
WITNESS = """
import sys
events = []
def note(event, arguments):
    if event.startswith(("subprocess.", "os.exec", "os.posix_spawn", "os.system")):
        events.append(repr((event, arguments)))
sys.addaudithook(note)
from remediator.cli.main import run
code = run(sys.argv[2:])
sys.stdout.flush()
with open("/proc/self/cmdline") as mine, open(sys.argv[1], "w") as trail:
    trail.write("\\n".join([*events, mine.read().replace("\\0", " ")]))
sys.exit(code)
"""
