"""The kinds of docker_tls on hosts that have no TLS, and which hosts are clients."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

from remediator.host import observe_program
from remediator.observation import parse_observation
from remediator.request import Needs, compile_request
from remediator.wire import command, frame, new_marker, read_answer

ROOT = Path(__file__).resolve().parents[2]
DECIDE = """
import sys
from datetime import UTC, datetime
from remediator.catalogue import load_catalogue
from remediator.decide import decide
from remediator.observation import parse_observation
from remediator.policy import Policy
from remediator.surroundings import Surroundings

catalogue = load_catalogue().select(roles=["docker_tls"])
seen = parse_observation("host", sys.stdin.buffer.read())
plan = decide("host", seen, catalogue, Policy(), catalogue.defaults, Surroundings(datetime.now(UTC), ("host",)))
print([verdict.verdict for verdict in plan.verdicts], "cryptography" in sys.modules)
"""


def test_a_host_without_tls_is_decided_without_loading_cryptography() -> None:
    document = json.loads((ROOT / "tests/kinds/observations/machine12.json").read_text())
    run = "/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS"
    unit = f"[Service]\nExecStart={run}\n"
    for path, text in (("/lib/systemd/system/docker.service", unit), ("/etc/default/docker", "")):
        document["files"][path]["content"] = base64.b64encode(text.encode()).decode()
    document["systems"]["docker_client"] = {"present": True, "reason": "its Docker CLI is 20.10.24"}
    answer = subprocess.run(
        [sys.executable, "-c", DECIDE],
        input=json.dumps(document).encode(),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=True,
    )
    assert answer.stdout.decode().strip() == "['compliant', 'not_applicable', 'not_applicable'] False"


def test_a_machine_is_a_client_where_its_docker_cli_says_so_and_only_where_that_was_asked() -> None:
    answers = []
    for needs in (Needs.of([], "docker_cli"), Needs.of([])):
        marker = new_marker()
        sent = frame(marker, observe_program(), compile_request(needs))
        started = ["/bin/sh", "-c", command(sys.executable, marker)]
        done = subprocess.run(started, input=sent, capture_output=True, check=False)
        answer = read_answer("here", done.stdout, marker, done.returncode, done.stderr)
        answers.append(parse_observation("here", answer))
    asked, unasked = answers
    assert asked.systems["docker_client"].present == (asked.docker_cli is not None)
    assert "docker_client" not in unasked.systems
