"""What a daemon is told, from its unit, its drop-ins, environment files and daemon.json."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from remediator.dockerd import DROP_IN, DaemonConfiguration, Given, needs, read_configuration
from tests.unit.dockerd_host import CONFIG, CONTROL, DROP_INS, ENVIRONMENT, TLS, UNIT, DockerHost, configured, known

BARE = "/usr/sbin/dockerd"
SETTING = "[Service]\nExecStart=\nExecStart={}\n"


def given(host: DockerHost, name: str) -> Given | None:
    return known(host.overlay()).option(name)


def reason(host: DockerHost) -> str:
    found = read_configuration(host.overlay())
    assert isinstance(found, str), found
    return found


def test_debians_own_daemon_listens_where_systemd_does_and_knows_no_tls() -> None:
    found = known(DockerHost().overlay())
    assert [(one.value, one.where) for one in found.given_hosts] == [("fd://", f"ExecStart in {UNIT}")]
    assert (found.tcp, found.tls, found.verified, found.conflict) == ((), False, False, "")
    assert (found.config_file, dict(found.document), dict(found.variables)) == (CONFIG, {}, {})


def test_the_last_drop_in_counts_and_names_itself() -> None:
    drop_ins = {
        "10-a.conf": SETTING.format(f"{BARE} -H a"),
        "20-b.conf": SETTING.format(f"{BARE} -H tcp://b --tlsverify"),
    }
    found = known(DockerHost(drop_ins=drop_ins).overlay())
    assert (found.tcp, found.verified, found.line.path) == (("b:2375",), True, f"{DROP_INS}/20-b.conf")


def test_options_come_from_the_environment_file_and_not_from_what_is_no_assignment_to_systemd() -> None:
    environment = 'export DOCKER_OPTS="-H tcp://no"\nDOCKER_OPTS="-H tcp://0.0.0.0:2375 --tlscacert=/ca.pem"\n'
    found = known(DockerHost(environment=environment).overlay())
    assert found.hosts == ("fd://", "tcp://0.0.0.0:2375")
    assert found.given_hosts[1].where == f"DOCKER_OPTS in {ENVIRONMENT}"
    ca = found.option("tlscacert")
    assert ca == Given("/ca.pem", "environment", f"DOCKER_OPTS in {ENVIRONMENT}")
    assert ca.by_flag


def test_an_environment_file_beats_the_units_own_environment_and_the_later_file_the_earlier() -> None:
    unit = (
        "[Service]\nEnvironment='DOCKER_OPTS=-H tcp://one' X=tcp://x\nEnvironmentFile=/etc/one\nEnvironmentFile=-/etc/two\n"
        f"ExecStart={BARE} $DOCKER_OPTS --host=${{X}}\n"
    )
    files = {"/etc/one": "DOCKER_OPTS=-H tcp://two\n"}
    missing = {"/etc/two": {"type": "missing"}}
    assert known(DockerHost(unit, files=files, facts=missing).overlay()).tcp == ("two:2375", "x:2375")
    assert known(DockerHost(unit, files={**files, "/etc/two": "DOCKER_OPTS=-Hthree"}).overlay()).tcp[0] == "three:2375"


def test_daemon_json_gives_what_no_flag_gives() -> None:
    document = {
        "hosts": ["fd://", "tcp://[::]:2376", "tcp://0.0.0.0"],
        "tlsverify": True,
        "tlscert": "/c",
        "debug": True,
    }
    found = known(DockerHost(BARE, config=json.dumps(document)).overlay())
    assert (found.tcp, found.verified) == (("[::]:2376", "0.0.0.0:2375"), True)
    assert found.option("tlscert") == Given("/c", "file", CONFIG)
    assert found.option("debug") == Given(True, "file", CONFIG)
    assert found.option("host") == Given(document["hosts"], "file", CONFIG)
    assert found.option("tlskey") is None


@pytest.mark.parametrize(
    ("flags", "document", "tls", "verified"),
    [
        ("", "{}", False, False),
        ("--tls", "{}", True, False),
        ("--tls=false", "{}", False, False),
        ("--tlsverify", "{}", True, True),
        ("--tlsverify=false", "{}", True, False),
        ("--tlsverify --tlsverify=false", "{}", True, False),
        ("", '{"tlsverify": true, "tls": false}', True, True),
        ("", '{"tlsverify": false}', True, False),
        ("", '{"tls": true}', True, False),
    ],
)
def test_tls_is_on_and_verified_as_the_daemon_takes_it(flags: str, document: str, tls: bool, verified: bool) -> None:
    found = known(DockerHost(f"{BARE} -H fd:// {flags}", config=document).overlay())
    assert (found.tls, found.verified) == (tls, verified)


def test_a_variable_that_only_the_client_heeds_verifies_nothing() -> None:
    unit = f"[Service]\nEnvironment=DOCKER_TLS_VERIFY=1\nExecStart={BARE} -H tcp://0.0.0.0:2376\n"
    assert not known(DockerHost(unit).overlay()).verified


def test_without_any_listener_the_default_depends_on_tls() -> None:
    assert known(DockerHost(BARE).overlay()).hosts == ("unix:///var/run/docker.sock",)
    found = known(DockerHost(f"{BARE} --tlsverify").overlay())
    assert [(one.value, one.place) for one in found.given_hosts] == [("tcp://localhost:2376", "default")]


def test_an_address_of_the_socket_unit_is_a_listener_where_the_daemon_takes_it_over() -> None:
    listen = "/run/docker.sock (Stream)\n[::]:2375 (Stream)"
    assert known(DockerHost(socket=listen).overlay()).tcp == ("[::]:2375",)
    assert known(DockerHost(BARE, socket=listen).overlay()).tcp == ()


@pytest.mark.parametrize(
    ("flags", "document", "words"),
    [
        (
            "-H fd://",
            '{"hosts": []}',
            "--host (ExecStart in /lib/systemd/system/docker.service) and hosts in /etc/docker",
        ),
        ("--label=a=b", '{"labels": ["c=d"]}', "--label"),
        ("--debug", '{"debug": true}', "--debug"),
    ],
)
def test_an_option_given_twice_is_a_conflict(flags: str, document: str, words: str) -> None:
    assert words in known(DockerHost(f"{BARE} {flags}", config=document).overlay()).conflict


@pytest.mark.parametrize("content", ["", " \n", "{}"])
def test_an_empty_daemon_json_tells_nothing(content: str) -> None:
    assert dict(known(DockerHost(config=content).overlay()).document) == {}


def test_a_drop_in_of_ours_that_is_staged_counts_already() -> None:
    overlay = DockerHost(drop_ins={"10-a.conf": SETTING.format(f"{BARE} -H a"), "zzz.conf": "[Service]\n"}).overlay()
    overlay.write(CONTROL, "docker", DROP_IN, SETTING.format(f"{BARE} --tlsverify").encode(), 0o644)
    assert known(overlay).line.path == DROP_IN
    overlay = DockerHost(drop_ins={"zzz.conf": SETTING.format(f"{BARE} -H a")}).overlay()
    overlay.write(CONTROL, "docker", DROP_IN, SETTING.format(f"{BARE} --tlsverify").encode(), 0o644)
    assert known(overlay).line.path == f"{DROP_INS}/zzz.conf"


def test_secrets_elsewhere_in_the_files_are_no_hindrance() -> None:
    unit = f"[Service]\nEnvironment=BUILD_TOKEN=abc\nExecStart={BARE} -H fd:// $O\nEnvironmentFile=-{ENVIRONMENT}\n"
    environment = 'O="-H tcp://x"\nhttp_proxy="http://u:pw@h/"\nTOKEN="a b"\n'
    config = '{"log-opts": {"splunk-token": "abc"}, "tlsverify": true}'
    found = known(DockerHost(unit, environment=environment, config=config).overlay())
    assert (found.tcp, found.verified) == (("x:2375",), True)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (DockerHost(f"{BARE} --log-opt splunk-token=abc"), f"ExecStart in {UNIT} holds a secret"),
        (DockerHost(environment='DOCKER_OPTS="--log-opt token=abc"\n'), f"{ENVIRONMENT} holds a secret that hides"),
        (DockerHost(facts={UNIT: {"content": None, "error": "larger than 1 byte"}}), f"{UNIT} cannot be read (larger"),
        (DockerHost(facts={ENVIRONMENT: {"type": "fifo"}}), f"{ENVIRONMENT} cannot be read (it is fifo)"),
        (DockerHost(facts={CONFIG: {"type": "directory"}}), f"{CONFIG} cannot be read (it is directory)"),
        (DockerHost(environment='DOCKER_OPTS="x\n'), f"{ENVIRONMENT} cannot be read: a quote is not closed"),
        (DockerHost(f"{BARE} 'x"), f"ExecStart in {UNIT} cannot be read: a quote is not closed"),
        (DockerHost("/usr/local/bin/start-docker"), "starts /usr/local/bin/start-docker, so"),
        (DockerHost("/bin/sh -c 'exec dockerd -H fd://'"), "starts /bin/sh"),
        (DockerHost("/usr/bin/dockerd-rootless.sh"), "starts /usr/bin/dockerd-rootless.sh"),
        (DockerHost(f"{BARE} fd://"), "dockerd does not take the word fd://"),
        (DockerHost(f"{BARE} -H fd://", drop_ins={"a.conf": f"[Service]\nExecStart={BARE}\n"}), "2 ExecStart= are in"),
        (DockerHost("[Service]\nRestart=no\n"), "0 ExecStart= are in force"),
        (DockerHost(config="{"), f"{CONFIG}: it is not valid JSON"),
        (DockerHost(config='{"a": 1, "a": 2}'), f'{CONFIG}: it holds the key "a" twice'),
        (DockerHost(BARE, config='{"hosts": "fd://"}'), f"hosts in {CONFIG} is no list of texts"),
        (DockerHost(config='{"tlsverify": "yes"}'), f"tlsverify in {CONFIG} must be true or false"),
        (DockerHost(config='{"tlscert": 1}'), f"tlscert in {CONFIG} must be a path"),
        (DockerHost(BARE, config='{"hosts": ["ssh://x"]}'), "ssh://x is no address that dockerd can listen on"),
        (DockerHost(f"{BARE} -H unix:///run/%i.sock"), f"--host in {UNIT} has a value that only systemd knows"),
        (DockerHost(f"{BARE} --config-file=/etc/d.json"), "--config-file is /etc/d.json, and the running daemon has"),
        (DockerHost(f"[Service]\nEnvironmentFile=/etc/d*\nExecStart={BARE} $O\n"), "EnvironmentFile=/etc/d* in"),
        (DockerHost(f"[Service]\nEnvironmentFile=/etc/d\nExecStart={BARE} $O\n"), "/etc/d cannot be read (the host"),
    ],
)  # fmt: skip
def test_what_cannot_be_known_says_why(host: DockerHost, words: str) -> None:
    assert words in reason(host)


def test_an_environment_file_that_the_command_line_takes_nothing_from_need_not_be_known() -> None:
    host = DockerHost(f"{BARE} -H fd://", facts={ENVIRONMENT: {"type": "fifo"}})
    assert known(host.overlay()).hosts == ("fd://",)


def test_files_that_say_something_else_than_systemd_does_are_not_believed() -> None:
    shown = "{{ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd {} ; ignore_errors=no ; pid=1 }}"
    assert known(
        DockerHost(loaded=shown.format("-H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS")).overlay()
    )
    assert "is not what systemd starts" in reason(DockerHost(loaded=shown.format("-H tcp://0.0.0.0:2375")))
    changed = DockerHost(loaded=shown.format("-H tcp://0.0.0.0:2375"), pending=("docker.service",))
    assert known(changed.overlay()).hosts == ("fd://",)


@pytest.mark.parametrize("load", ["not-found", "masked", "bad-setting"])
def test_a_unit_that_is_not_loaded_is_not_read(load: str) -> None:
    overlay = DockerHost().overlay()
    units = {
        **overlay.seen.units,
        "docker.service": overlay.seen.units["docker.service"].model_copy(update={"load": load}),
    }
    overlay.seen = overlay.seen.model_copy(update={"units": units})
    assert read_configuration(overlay) == f"docker.service is {load}: how dockerd starts is not known"


def test_a_symlink_is_followed_to_what_it_names() -> None:
    link = {"type": "symlink", "resolved": "/srv/daemon.json"}
    host = DockerHost(files={"/srv/daemon.json": '{"tlsverify": true}'}, facts={CONFIG: link})
    assert known(host.overlay()).verified


def test_what_a_host_wrote_reaches_a_reason_in_one_harmless_line() -> None:
    assert "\\x1b" in reason(DockerHost("/usr/bin/\x1b[31mx"))


def test_what_is_needed_covers_every_file_that_is_read_or_written() -> None:
    wanted = needs()
    assert {"@docker.config_file", "@docker.unit_file", "@docker.environment_file", DROP_IN} <= wanted.contents
    assert "@docker.config_directory" in wanted.references
    assert {DROP_INS, "/etc/systemd/system"} <= wanted.paths


def test_reading_stages_nothing() -> None:
    overlay = DockerHost(environment="DOCKER_OPTS=-D\n", config="{}").overlay()
    assert isinstance(read_configuration(overlay), DaemonConfiguration)
    assert (overlay.files, overlay.steps, overlay.validations) == ({}, {}, {})


def test_files_larger_or_more_than_any_daemon_has_are_not_read() -> None:
    assert f"{UNIT} is larger than" in reason(DockerHost(BARE + " \\\n" * 30_000))
    assert f"{ENVIRONMENT} is larger than" in reason(DockerHost(environment="#\n" * 40_000))
    assert "more than 30 drop-ins" in reason(DockerHost(drop_ins={f"{number}.conf": "" for number in range(31)}))
    unit = "[Service]\n" + f"EnvironmentFile={ENVIRONMENT}\n" * 31 + f"ExecStart={BARE} $O\n"
    assert "more than 30 environment files" in reason(DockerHost(unit))
    assert "more words than any daemon's" in reason(DockerHost(BARE + " -D" * 1001))
    assert "longer than any daemon's" in reason(DockerHost(BARE + " ${O}" * 10, environment=f"O={'x' * 60_000}\n"))
    assert "more than 1000 keys" in reason(DockerHost(config=json.dumps(dict.fromkeys(map(str, range(1001))))))


def test_an_edit_of_the_largest_files_that_are_read_takes_no_time_to_speak_of() -> None:
    environment = 'DOCKER_OPTS="' + "-H x --y " * 300 + '"\n'
    config = json.dumps({f"key{number}": ["x" * 900] for number in range(900)})
    overlay = DockerHost(environment=environment, config=config).overlay()
    begun = time.process_time()
    assert configured(overlay, replace(TLS, listen=("0.0.0.0:2376",))) == ""
    assert time.process_time() - begun < 5
