"""Command lines, units and configuration files, as their own programs read them."""

from pathlib import Path

import pytest

from remediator.host.observe.command import UNIT_NAMES, Finished
from remediator.host.observe.settings import SettingsError, read_json_settings, read_toml_strings
from remediator.host.observe.units import read_unit_file, unit_from_block, units_from_disk, units_from_systemctl
from remediator.host.observe.version_sort import version_key
from remediator.host.observe.words import (
    expand_words,
    flag,
    flag_values,
    parse_assignments,
    parse_environment_file,
    split_words,
)
from remediator.host.observe.yaml_block import OPAQUE, YamlReader, at

BLOCK = """Id=docker.service
LoadState=loaded
ActiveState=active
MainPID=106
FragmentPath=/lib/systemd/system/docker.service
DropInPaths=/etc/systemd/system/docker.service.d/a.conf /run/systemd/system/docker.service.d/b.conf
NeedDaemonReload=no
ExecStart={ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS ; ignore_errors=no ; pid=0 }
Environment=A=1 "TOKEN=x y"
EnvironmentFiles=/etc/default/docker (ignore_errors=yes)
EnvironmentFiles=/etc/other (ignore_errors=no)
Listen=/run/docker.sock (Stream)"""


def test_a_unit_is_read_from_what_systemctl_shows() -> None:
    unit = unit_from_block("docker.service", BLOCK)
    assert (unit.load, unit.active, unit.main_pid, unit.is_active) == ("loaded", "active", 106, True)
    assert unit.exec_start == ["/usr/sbin/dockerd", "-H", "fd://", "$DOCKER_OPTS"]
    assert unit.environment_files == ["/etc/default/docker", "/etc/other"]
    assert unit.listen == ["/run/docker.sock"]
    assert len(unit.drop_ins) == 2
    assert parse_assignments(unit.assignments) == {"A": "1", "TOKEN": "x y"}


def test_a_units_secrets_are_masked_in_the_answer() -> None:
    assert "x y" not in str(unit_from_block("docker.service", BLOCK).answer())


def test_units_are_taken_from_systemctl_only_when_it_answers_for_all() -> None:
    blocks = "\n\n".join("Id=" + name + "\nLoadState=not-found" for name in UNIT_NAMES)
    units = units_from_systemctl(Finished(0, blocks + "\n", ""))
    assert units is not None
    assert set(units) == set(UNIT_NAMES)
    assert units_from_systemctl(Finished(0, "Id=a\n", "")) is None
    assert units_from_systemctl(Finished(1, blocks, "")) is None


def test_a_unit_on_the_disk_is_read_with_its_drop_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    etc, usr = tmp_path / "etc", tmp_path / "usr"
    for path in (etc / "docker.service.d", usr / "docker.service.d"):
        path.mkdir(parents=True)
    (usr / "docker.service").write_text("[Service]\nExecStart=/usr/sbin/dockerd -H fd://\nEnvironmentFile=-/etc/d\n")
    (usr / "docker.service.d" / "10.conf").write_text("[Service]\nEnvironment=A=usr\n")
    (etc / "docker.service.d" / "10.conf").write_text("[Service]\nEnvironment=A=etc\n")
    (etc / "docker.service.d" / "20.conf").write_text("[Service]\nExecStart=\nExecStart=/opt/dockerd --debug\n")
    (etc / "docker.socket").symlink_to("/dev/null")
    monkeypatch.setattr("remediator.host.observe.units.UNIT_DIRECTORIES", (str(etc), str(usr)))
    units = units_from_disk("inactive")
    docker = units["docker.service"]
    assert (docker.load, docker.active, docker.fragment) == ("loaded", "inactive", f"{usr}/docker.service")
    assert docker.exec_start == ["/opt/dockerd", "--debug"]
    assert docker.environment_files == ["/etc/d"]
    assert docker.assignments == ["A=etc"]
    assert units["docker.socket"].load == "masked"
    assert units["etcd.service"].load == "not-found"


def test_an_empty_setting_of_a_drop_in_takes_back_those_before_it() -> None:
    settings: dict[str, list[str]] = {}
    read_unit_file("[Service]\nExecStart=/a --b\n# ExecStart=/no\nEnvironment=A=1\n", settings)
    read_unit_file("[Service]\nExecStart=\nExecStart=/c \\\n  --d\n", settings)
    assert settings == {"ExecStart": ["/c    --d"], "Environment": ["A=1"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/a -b  c", ["/a", "-b", "c"]),
        ("/a \"b c\" 'd e'f", ["/a", "b c", "d ef"]),
        (r"/a b\ c", ["/a", "b c"]),
        ('/a ""', ["/a", ""]),
        ("", []),
    ],
)
def test_words_are_split_as_systemd_splits_them(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_variables_expand_as_systemd_expands_them() -> None:
    variables = {"A": "--x --y", "B": "b"}
    assert expand_words(["/p", "$A", "${A}", "-${B}-", "$C", "$B/x"], variables) == [
        "/p",
        "--x",
        "--y",
        "--x --y",
        "-b-",
        "$B/x",
    ]


def test_environment_files_know_comments_quotes_and_continuations() -> None:
    assert parse_environment_file("# c\nA=1\n B = 'x y' \nexport C=\"z\"\nD=a\\\nb\nnothing\n") == {
        "A": "1",
        "B": "x y",
        "C": "z",
        "D": "a b",
    }


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["p", "--config=/a"], "/a"),
        (["p", "--config", "/a"], "/a"),
        (["p", "-config", "/a"], "/a"),
        (["p", "-c", "/a"], "/a"),
        (["p", "-c/a"], "/a"),
        (["p", "-c=/a"], "/a"),
        (["p", "--config=/a", "--config=/b"], "/b"),
        (["p", "--config-file=/a"], None),
        (["p", "--config", "--other"], "true"),
        (["p", "config", "/a"], None),
    ],
)
def test_flags_are_read_as_go_reads_them(words: list[str], value: str | None) -> None:
    assert flag(words, "config", "c") == value


def test_a_repeated_flag_gives_every_value() -> None:
    assert flag_values(["p", "-H", "fd://", "--host=tcp://x"], "host", "H") == ["fd://", "tcp://x"]


def test_a_missing_daemon_json_is_empty(tmp_path: Path) -> None:
    assert read_json_settings(str(tmp_path / "none")) == {}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        (b'{"a": 1, "a": 2}', 'holds the key "a" twice'),
        (b'{"x": {"b": 1, "b": 2}}', 'holds the key "b" twice'),
        (b"{", "not valid JSON"),
        (b"[]", "no JSON object"),
        (b"\xff\xfe{\0}\0", "not valid JSON"),
        (b"[" * 100000, "not valid JSON"),
    ],
)
def test_a_daemon_json_that_cannot_be_trusted_is_refused_by_name(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "daemon.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=why) as caught:
        read_json_settings(str(path))
    assert str(path) in str(caught.value)


def test_a_daemon_json_of_50_megabytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "daemon.json").open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    with pytest.raises(SettingsError, match="larger than"):
        read_json_settings(str(tmp_path / "daemon.json"))


def test_a_daemon_json_that_is_a_link_to_itself_is_not_taken_for_missing(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").symlink_to("daemon.json")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_json_settings(str(tmp_path / "daemon.json"))


def test_a_daemon_json_that_leads_nowhere_is_missing_to_the_daemon_too(tmp_path: Path) -> None:
    (tmp_path / "daemon.json").symlink_to("nowhere")
    assert read_json_settings(str(tmp_path / "daemon.json")) == {}


def test_toml_strings_are_found_under_their_tables(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('root = "/r" # c\nversion = 2\n[grpc]\n  address = \'/s\'\n[plugins."a.b".cni]\n conf_dir = "/c"\n')
    assert read_toml_strings(str(path)) == {"root": "/r", "grpc.address": "/s", 'plugins."a.b".cni.conf_dir': "/c"}


POD = """# a comment
---
apiVersion: v1
metadata:
  name: "etcd"
  annotations: {}
spec:
  containers:
  - command:
    - etcd
    - --data-dir=/var/lib/etcd   # here
    - '--quoted=it''s'
    env: [a, b]
    script: |
      key: not a key
        - nor an item
    name: etcd
  - name: second
  hostNetwork: true
  empty:
  volumes:
    - hostPath:
        path: /data
      name: data
"""


def test_the_yaml_that_kubeadm_writes_is_read() -> None:
    document = YamlReader("pod.yaml", POD).document()
    assert at(document, "metadata", "name") == "etcd"
    container = document["spec"]["containers"][0]
    assert container["command"] == ["etcd", "--data-dir=/var/lib/etcd", "--quoted=it's"]
    assert container["script"] is OPAQUE
    assert container["env"] is OPAQUE
    assert container["name"] == "etcd"
    assert document["spec"]["containers"][1] == {"name": "second"}
    assert document["spec"]["empty"] is None
    assert document["spec"]["volumes"] == [{"hostPath": {"path": "/data"}, "name": "data"}]


@pytest.mark.parametrize(
    "content",
    [
        "a: &x 1\n",
        "a: *x\n",
        "a: !!str 1\n",
        "<<: *x\n",
        "a: 1\na: 2\n",
        "a:\n\tb: 1\n",
        "a: 1\n---\nb: 2\n",
        "a: one\n  two\n",
        'a: "open\n',
        "a:\n    b: 1\n  c: 2\n",
        "just text\n",
        "? a\n: b\n",
        "".join("  " * depth + f"k{depth}:\n" for depth in range(100)),
        "x" * 300000,
    ],
)
def test_yaml_that_could_mean_something_else_is_refused(content: str) -> None:
    with pytest.raises(SettingsError, match=r"pod\.yaml"):
        YamlReader("pod.yaml", content).document()


def test_rules_files_sort_as_ls_v_sorts_them() -> None:
    names = ["10-a.rules", "9-b.rules", "audit.rules", "30-x.rules", "a10.rules", "a9.rules", "9-b~.rules", "A.rules"]
    # What `ls -v` of coreutils 9.1 prints for these.
    assert sorted(names, key=version_key) == [
        "9-b~.rules",
        "9-b.rules",
        "10-a.rules",
        "30-x.rules",
        "A.rules",
        "a9.rules",
        "a10.rules",
        "audit.rules",
    ]
