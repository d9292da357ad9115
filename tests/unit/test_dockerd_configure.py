"""A daemon is given its listeners and its TLS options: each option in one place, every other byte as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from remediator.dockerd import DROP_IN, Wanted
from remediator.overlay import Overlay
from remediator.plan import Step
from tests.unit.dockerd_host import (
    CONFIG,
    DROP_INS,
    ENVIRONMENT,
    TLS,
    UNIT,
    DockerHost,
    configured,
    directory_facts,
    known,
    text_at,
)

BARE = "/usr/sbin/dockerd"
OPEN = replace(TLS, listen=("0.0.0.0:2376",))
RESTART = Step(do="restart", unit="docker.service")
RELOAD = Step(do="daemon_reload", names=("docker.service",))
FILES = '    "tlscacert": "/etc/docker/tls/ca.pem",\n    "tlscert": "/etc/docker/tls/cert.pem",\n'
FILES += '    "tlskey": "/etc/docker/tls/key.pem"'


def staged(host: DockerHost, wanted: Wanted = OPEN) -> Overlay:
    """The overlay once `wanted` is staged; wanting it once more must stage nothing."""
    overlay = host.overlay()
    assert configured(overlay, wanted) == ""
    now = known(overlay)
    assert (now.conflict, now.verified) == ("", True)
    assert wanted.listen is None or set(now.tcp) == set(wanted.listen)
    again = overlay.copy()
    assert configured(again, wanted) == ""
    assert (again.files, again.steps) == (overlay.files, overlay.steps)
    return overlay


def obstacle(host: DockerHost, wanted: Wanted = OPEN) -> str:
    overlay = host.overlay()
    found = configured(overlay, wanted)
    assert (overlay.files, overlay.steps, overlay.validations) == ({}, {}, {}), "something is staged all the same"
    return found


def test_debians_daemon_gets_its_listener_in_daemon_json_and_a_drop_in_without_any() -> None:
    overlay = staged(DockerHost())
    assert text_at(overlay, CONFIG) == f'{{\n{FILES},\n    "hosts": ["fd://", "tcp://0.0.0.0:2376"]\n}}\n'
    lines = text_at(overlay, DROP_IN).splitlines()
    assert lines[0].startswith("# Written by remediator: ")
    assert lines[1:] == [
        "[Service]",
        "ExecStart=",
        "ExecStart=/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS --tlsverify",
    ]
    assert sorted(overlay.files) == [CONFIG, DROP_INS, DROP_IN]
    assert [(overlay.files[path].mode, overlay.files[path].group) for path in sorted(overlay.files)] == [
        (0o644, "docker"),
        (0o755, "docker"),
        (0o644, "docker"),
    ]
    assert set(overlay.steps["docker"]) == {RELOAD, RESTART}
    assert overlay.validations["docker"] == (Step(do="json", path=CONFIG), Step(do="dockerd", path=CONFIG))


def test_without_a_flag_in_the_unit_everything_goes_into_daemon_json() -> None:
    overlay = staged(DockerHost(BARE, config='{\n  "debug": true\n}\n'))
    indented = FILES.replace("    ", "  ")
    hosts = '"hosts": ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2376"]'
    assert text_at(overlay, CONFIG) == f'{{\n  "debug": true,\n{indented},\n  "tlsverify": true,\n  {hosts}\n}}\n'
    assert sorted(overlay.files) == [CONFIG]
    assert overlay.steps["docker"] == (RESTART,)


def test_listeners_that_are_wanted_stay_where_they_are() -> None:
    overlay = staged(DockerHost(f"{BARE} -H fd:// -H tcp://0.0.0.0:2376"))
    assert sorted(overlay.files) == [CONFIG]
    assert text_at(overlay, CONFIG) == f'{{\n{FILES},\n    "tlsverify": true\n}}\n'
    kept = staged(DockerHost(f"{BARE} -H fd:// -H tcp://192.0.2.7:2375"), TLS)
    assert known(kept).tcp == ("192.0.2.7:2375",)


def test_listeners_in_daemon_json_are_replaced_in_their_place_on_one_line() -> None:
    config = '{\n  "hosts": [\n    "unix:///run/x.sock",\n    "tcp://0.0.0.0:2375"\n  ],\n  "debug": true\n}\n'
    text = text_at(staged(DockerHost(BARE, config=config)), CONFIG)
    assert text.startswith('{\n  "hosts": ["unix:///run/x.sock", "tcp://0.0.0.0:2376"],\n  "debug": true,\n')


def test_listeners_in_the_environment_file_are_taken_out_of_it() -> None:
    environment = (
        '# kept\nDOCKER_OPTS="-H tcp://0.0.0.0:2375 --label=role=lab -D"\nexport http_proxy="http://u:pw@h/"\n'
    )
    overlay = staged(DockerHost(environment=environment))
    assert text_at(overlay, ENVIRONMENT).startswith('# kept\nDOCKER_OPTS="--label=role=lab -D"\nexport http_proxy=')
    assert overlay.files[ENVIRONMENT].splices
    assert " $DOCKER_OPTS --tlsverify\n" in text_at(overlay, DROP_IN)
    assert [flag.name for flag in known(overlay).flags] == ["containerd", "label", "debug", "tlsverify"]


def test_without_a_listener_in_the_unit_a_changed_environment_file_needs_no_drop_in() -> None:
    overlay = staged(DockerHost(f"{BARE} $DOCKER_OPTS", environment="DOCKER_OPTS=-DH fd:// -Htcp://x --ipv6\n"))
    assert text_at(overlay, ENVIRONMENT) == "DOCKER_OPTS=-D --ipv6\n"
    assert sorted(overlay.files) == [ENVIRONMENT, CONFIG]
    assert known(overlay).hosts == ("fd://", "tcp://0.0.0.0:2376")


def test_options_that_flags_give_are_not_given_again() -> None:
    flags = "--tlscacert=/etc/docker/tls/ca.pem --tlskey /etc/docker/tls/key.pem --tlsverify"
    overlay = staged(DockerHost(environment=f'DOCKER_OPTS="{flags}"\n'))
    assert text_at(overlay, CONFIG) == (
        '{\n    "tlscert": "/etc/docker/tls/cert.pem",\n    "hosts": ["fd://", "tcp://0.0.0.0:2376"]\n}\n'
    )
    assert "--tlsverify" not in text_at(overlay, DROP_IN)


def test_flags_that_name_files_count_for_nothing_to_dockerd_without_a_flag_that_switches_tls_on() -> None:
    flags = "--tlscacert=/etc/docker/tls/ca.pem --tlscert=/etc/docker/tls/cert.pem --tlskey=/etc/docker/tls/key.pem"
    config = '{"hosts": ["tcp://0.0.0.0:2376"], "tlsverify": true}'
    host = DockerHost(f"{BARE} {flags}", config=config)
    overlay = host.overlay()
    assert known(overlay).verified
    overlay = staged(host, TLS)
    assert f"ExecStart={BARE} {flags} --tlsverify\n" in text_at(overlay, DROP_IN)
    assert text_at(overlay, CONFIG) == '{"hosts": ["tcp://0.0.0.0:2376"]}'
    switched = DockerHost(f"{BARE} --tls {flags}", config='{"hosts": ["tcp://0.0.0.0:2376"]}')
    assert sorted(staged(switched, TLS).files) == [CONFIG]


def test_a_flag_that_switches_verification_off_goes() -> None:
    overlay = staged(DockerHost(f"{BARE} -H fd:// -H tcp://x --tlsverify=false --ipv6"), TLS)
    assert f"ExecStart={BARE} -H fd:// -H tcp://x --ipv6 --tlsverify\n" in text_at(overlay, DROP_IN)
    host = DockerHost(f"{BARE} -H tcp://x $DOCKER_OPTS", environment="DOCKER_OPTS=--tlsverify=false -D\n")
    overlay = staged(host, TLS)
    assert text_at(overlay, ENVIRONMENT) == "DOCKER_OPTS=-D\n"
    assert DROP_IN not in overlay.files


def test_with_tls_on_the_local_socket_is_no_longer_the_default_and_is_written_down() -> None:
    overlay = staged(DockerHost(BARE), TLS)
    assert '"hosts": ["unix:///var/run/docker.sock"]' in text_at(overlay, CONFIG)
    assert known(overlay).tcp == ()


def test_the_whole_of_a_daemon_json_of_other_people_stays() -> None:
    others = '{\n\t"labels": ["a=ä"],\n\t"log-opts": {"splunk-token": "geheim"},\n\t"debug": false\n}'
    overlay = staged(DockerHost(config=others))
    text = text_at(overlay, CONFIG)
    assert text.startswith(
        '{\n\t"labels": ["a=ä"],\n\t"log-opts": {"splunk-token": "xxxxxx"},\n\t"debug": false,\n\t"tlscacert"'
    )
    assert text.endswith('\n\t"hosts": ["fd://", "tcp://0.0.0.0:2376"]\n}')
    (splice,) = overlay.files[CONFIG].splices
    assert (splice.offset, splice.length) == (others.encode().index(b"\n}"), 0)


def test_wanted_paths_replace_those_of_daemon_json() -> None:
    config = '{"tlscert": "/old.pem", "hosts": ["tcp://0.0.0.0:2376"], "tlsverify": true}'
    text = text_at(staged(DockerHost(BARE, config=config)), CONFIG)
    assert text.startswith('{"tlscert": "/etc/docker/tls/cert.pem", "hosts"')


def test_a_missing_directory_of_daemon_json_is_made() -> None:
    missing = {"type": "missing", "resolved": "/etc/docker"}
    overlay = staged(DockerHost(BARE, facts={"/etc/docker": missing, CONFIG: {"type": "missing", "resolved": None}}))
    assert (overlay.files["/etc/docker"].kind, overlay.files["/etc/docker"].mode) == ("directory", 0o755)


def test_a_command_over_several_lines_is_kept_as_it_is_written() -> None:
    unit = "/usr/bin/dockerd \\\n    -H fd:// \\\n    --label='a=b c' \\\n    $DOCKER_OPTS"
    text = text_at(staged(DockerHost(unit)), DROP_IN)
    assert text.endswith("ExecStart=/usr/bin/dockerd \\\n    --label='a=b c' \\\n    $DOCKER_OPTS --tlsverify\n")


def test_our_drop_in_is_the_one_that_is_written_again() -> None:
    name = DROP_IN.rpartition("/")[2]
    ours = f"# Written by remediator: x\n[Service]\nExecStart=\nExecStart={BARE} -H fd:// -H tcp://1.2.3.4 --ipv6\n"
    overlay = staged(DockerHost(drop_ins={name: ours}))
    assert sorted(overlay.files) == [CONFIG, DROP_IN]
    assert f"ExecStart={BARE} --ipv6 --tlsverify\n" in text_at(overlay, DROP_IN)


def test_a_flag_that_somebody_took_out_of_our_drop_in_comes_back_there() -> None:
    name = DROP_IN.rpartition("/")[2]
    ours = f"[Service]\nExecStart=\nExecStart={BARE} --ipv6\n"
    overlay = staged(DockerHost(drop_ins={name: ours}, config='{"hosts": ["tcp://0.0.0.0:2376"]}'))
    assert f"ExecStart={BARE} --ipv6 --tlsverify\n" in text_at(overlay, DROP_IN)
    assert "tlsverify" not in text_at(overlay, CONFIG)


def test_an_address_that_systemd_listens_on_is_not_opened_again() -> None:
    host = DockerHost(socket="/run/docker.sock (Stream)\n0.0.0.0:2376 (Stream)")
    overlay = staged(host, replace(OPEN, listen=("0.0.0.0:2376", "192.0.2.7:2377")))
    assert '"hosts": ["fd://", "tcp://192.0.2.7:2377"]' in text_at(overlay, CONFIG)
    alone = staged(replace(host, unit=BARE), replace(OPEN, listen=("0.0.0.0:2376",)))
    assert '"hosts": ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2376"]' in text_at(alone, CONFIG)


def test_more_addresses_later_change_daemon_json_alone() -> None:
    first = staged(DockerHost())
    name = DROP_IN.rpartition("/")[2]
    second = DockerHost(drop_ins={name: text_at(first, DROP_IN)}, config=text_at(first, CONFIG))
    overlay = staged(second, replace(OPEN, listen=("0.0.0.0:2376", "[::1]:2377")))
    assert sorted(overlay.files) == [CONFIG]
    assert '"hosts": ["fd://", "tcp://0.0.0.0:2376", "tcp://[::1]:2377"]' in text_at(overlay, CONFIG)


def test_a_host_that_is_told_all_of_it_is_left_alone() -> None:
    first = staged(DockerHost())
    name = DROP_IN.rpartition("/")[2]
    host = DockerHost(drop_ins={name: text_at(first, DROP_IN)}, config=text_at(first, CONFIG))
    assert obstacle(host) == ""


def test_a_key_that_another_control_staged_is_kept() -> None:
    overlay = DockerHost(BARE, config="{}").overlay()
    overlay.write("docker.daemon.icc", "docker", CONFIG, b'{\n  "icc": false\n}\n', 0o644)
    assert configured(overlay, OPEN) == ""
    assert text_at(overlay, CONFIG).startswith('{\n  "icc": false,\n  "tlscacert"')
    assert overlay.files[CONFIG].controls == ("docker.daemon.icc", "docker.tls.mutual")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (DockerHost(pending=("ssh.service", "nginx.service")), "nginx.service, ssh.service changed on disk without"),
        (DockerHost(BARE, pending=("docker.service",)), "docker.service changed on disk without a daemon-reload"),
        (DockerHost(drop_ins={"zzz.conf": f"[Service]\nExecStart=\nExecStart={BARE} -H x\n"}), "/zzz.conf sets Exec"),
        (DockerHost(config='{"hosts": []}'), "are one option given twice"),
        (DockerHost(f"{BARE} --tlscert=/other.pem"), "--tlscert is /other.pem (ExecStart in"),
        (DockerHost(f"[Service]\nEnvironment=O=-Hx\nExecStart={BARE} $O\n"), f"O, set by Environment in {UNIT}, gives"),
        (DockerHost(f"{BARE} -H $O", environment="O=fd://\n"), "the value of --host comes from another place"),
        (DockerHost(environment='DOCKER_OPTS="-H \\\nx"\n'), f"{ENVIRONMENT}: the value of DOCKER_OPTS is put"),
        (DockerHost(environment="DOCKER_OPTS=-Hx\nDOCKER_OPTS=-Hy\n"), f"{ENVIRONMENT}: it sets DOCKER_OPTS 2 times"),
        (DockerHost(socket="[::]:2375 (Stream)"), "docker.socket itself listens on [::]:2375"),
        (DockerHost(BARE, facts={CONFIG: {"type": "symlink", "resolved": "/x"}}, files={"/x": "{}"}), "is a symlink"),
        (DockerHost(BARE, config="{}", facts={CONFIG: {"nlink": 2}}), f"{CONFIG}: it has 2 hard links"),
        (DockerHost(environment="DOCKER_OPTS=-Hx", facts={ENVIRONMENT: {"nlink": 2}}), f"{ENVIRONMENT}: it has 2 hard"),
        (DockerHost(facts={DROP_IN: {"type": "symlink", "resolved": "/x"}}), f"{DROP_IN} is a symlink"),
        (DockerHost(facts={DROP_IN: {"type": "missing", "untrusted_ancestors": ["/etc/x"]}}), "it would lie below"),
    ],
)  # fmt: skip
def test_what_a_person_must_do_is_said_and_nothing_is_staged(host: DockerHost, words: str) -> None:
    assert words in obstacle(host)


def test_other_units_that_wait_for_a_reload_are_no_hindrance_where_none_is_needed() -> None:
    assert configured(DockerHost(BARE, pending=("ssh.service",)).overlay(), OPEN) == ""


def test_a_secret_in_our_drop_in_is_not_overwritten() -> None:
    name = DROP_IN.rpartition("/")[2]
    ours = f"[Service]\nEnvironment=TOKEN=abc\nExecStart=\nExecStart={BARE} -H fd://\n"
    assert f"{DROP_IN} holds a secret" in obstacle(DockerHost(drop_ins={name: ours}))


def test_a_secret_that_an_edit_would_take_away_is_left_to_a_person() -> None:
    config = '{"hosts": ["unix:///run/token=geheim.sock", "tcp://0.0.0.0:2375"]}'
    assert obstacle(DockerHost(BARE, config=config)) == (
        f"{CONFIG}: it would change bytes that hold a secret: edit it by hand"
    )


def test_a_daemon_json_in_a_directory_that_is_not_there_is_left_to_a_person() -> None:
    overlay = DockerHost(f"{BARE} --config-file=/etc/d/daemon.json").overlay()
    reference = overlay.seen.references["@docker.config_file"]
    moved = reference.paths[0].model_copy(update={"path": "/etc/d/daemon.json"})
    references = {**overlay.seen.references, "@docker.config_file": reference.model_copy(update={"paths": (moved,)})}
    missing = overlay.seen.files[CONFIG]
    files = {**overlay.seen.files, "/etc/d/daemon.json": missing}
    overlay.seen = overlay.seen.model_copy(update={"references": references, "files": files})
    assert configured(overlay, OPEN).startswith("/etc/d, where dockerd's configuration file should be, is no directory")
    facts = missing.model_validate(directory_facts("/etc/d"))
    overlay.seen = overlay.seen.model_copy(update={"files": {**files, "/etc/d": facts}})
    assert configured(overlay, OPEN) == ""


def test_the_last_listener_is_not_taken_away() -> None:
    host = DockerHost(f"{BARE} -H tcp://0.0.0.0:2375")
    assert "the daemon has no listener but those to be closed" in obstacle(host, replace(TLS, listen=()))
