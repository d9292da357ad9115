"""Secrets are masked on the host, at equal length, and nothing else is."""

import json
import time

import pytest

from remediator.host.common.mask import holds_private_key, mask_content, mask_words


def masked(content: bytes) -> bytes:
    result, spans = mask_content(content)
    assert len(result) == len(content)
    hidden = bytearray(content)
    for start, length in spans:
        assert length > 0
        hidden[start : start + length] = b"x" * length
    assert bytes(hidden) == result, "the spans say exactly what was masked"
    return result


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        ('{"proxies": {"http-proxy": "http://user:p@ss@proxy:3128"}}', "user:p@ss"),
        ('{"log-opts": {"splunk-token": "abc-1"}}', "abc-1"),
        ('{"log-opts": {"a": ["--password", "hunter2"]}}', "hunter2"),
        ('{"labels": ["api_key=abc1"]}', "abc1"),
        ('{"password": {"deep": ["a1b2"]}}', "a1b2"),
        ('{"pass\\u0077ord": "abc1"}', "abc1"),
        ('{"a": "http:\\/\\/us:pw1@h"}', "pw1"),
        ('{"auths": {"r": {"auth": "dXNl"}}}', "dXNl"),
        ('{"secret": 123456', "123456"),
        ('\ufeff{"token": "abc1"}', "abc1"),
        ('{"token": "abc1', "abc1"),
        ('Environment="PASSWORD=a b c" B=c', "a b c"),
        ("Environment=AWS_SECRET_ACCESS_KEY=ab/cd==", "ab/cd=="),
        ("Environment='TOKEN=it is' X=y", "it is"),
        ("HTTPS_PROXY=https://me:pw1@proxy:1", "me:pw1"),
        ('TOKEN=ab"c d"ef', 'ab"c d"ef'),
        ("TOKEN=abc\\\ndef", "def"),
        ("password = my pass phrase", "my pass phrase"),
        ("  token: abc def # x", "abc def"),
        ("  client-secret: |\n    one\n    two\n  x: y", "two"),
        ("ExecStart=/bin/x --api-token abc1 --y", "abc1"),
        ("ExecStart=/bin/x --password=abc1 --y", "abc1"),
        ("DB_CONNECTION_STRING=Server=h;Pwd=abc1", "Pwd=abc1"),
        ("encryption_key: abc1", "abc1"),
        ("password: 'abc1'", "abc1"),
        ("DB_PWD=abc1\nX=1\n", "abc1"),
        ("Environment=MY_AUTH=abc1 X=1", "abc1"),
        ("registry_auth: abc1\nb: c\n", "abc1"),
    ],
)
def test_secrets_are_masked(content: str, secret: str) -> None:
    assert secret.encode() not in masked(content.encode())


@pytest.mark.parametrize(
    "content",
    [
        '{"tlskey": "/etc/docker/key.pem", "tlsverify": true, "authorization-plugins": ["opa"]}',
        '{"log-opts": {"max-size": "10m", "splunk-url": "https://x/y", "tag": "{{.Name}}"}}',
        "-w /etc/passwd -p wa -k passwd_changes\n-a always,exit -F path=/etc/shadow -F key=secret\n",
        "--service-account-private-key-file=/etc/kubernetes/pki/sa.key",
        "--authentication-token-webhook=true --authentication-token-webhook-cache-ttl=2m0s",
        "DOCKER_OPTS=--tlskey=/k.pem",
        "--kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key",
        "-w /var/log/auth.log -p wa -k auth\n--auth-mode=abc oauth2=abc auth_provider=abc\n",
        "## token bucket\n# the password is elsewhere\n",
        "KUBELET_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf --token-auth-file=/x",
    ],
)
def test_what_is_no_secret_stays_readable(content: str) -> None:
    assert masked(content.encode()).decode() == content


def certificate(base64: str) -> bytes:
    return f"-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n".encode()


@pytest.mark.parametrize("base64", ["MIIBtoken==", "MIIB\n+auth=", "MIIBaPassword=\r\nsecret=", "MIH/secret==\n"])
def test_a_certificate_leaves_whole_whatever_its_base64_spells(base64: str) -> None:
    content = certificate(base64)
    assert masked(content) == content
    assert masked(content * 3) == content * 3


def test_what_stands_around_a_certificate_is_masked_as_ever() -> None:
    content = b"token=abc1\n" + certificate("MIIBtoken==") + b"pass: 2b\n" + certificate("MIIBsecret=") + b"pwd=3x"
    result = masked(content)
    assert certificate("MIIBtoken==") in result
    assert certificate("MIIBsecret=") in result
    for secret in (b"abc1", b"2b", b"3x"):
        assert secret not in result


@pytest.mark.parametrize("inside", ["token=abc1", "MIIB\ntoken: abc1", "MIIB\nexport TOKEN=abc1"])
def test_what_only_passes_for_a_certificate_is_masked(inside: str) -> None:
    assert b"abc1" not in masked(certificate(inside))


def test_masked_json_is_json_still() -> None:
    content = b'{"a": {"token": "x\\"y"}, "b": "http://u:p@h/", "password": ["q", {"z": "w"}], "n": {"pwd": null}}'
    json.loads(masked(content))


def test_equal_length_counts_bytes() -> None:
    assert masked("token=p\u00e4ssw\u00f6rt x".encode()) == b"token=" + b"x" * 10 + b" x"


def test_masking_twice_changes_nothing() -> None:
    once = masked(b'{"token": "abc", "u": "http://a:b@c"}')
    assert masked(once) == once


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["x", "--password", "a b", "--c"], ["x", "--password", "xxx", "--c"]),
        (["x", "--password", "--c"], ["x", "--password", "--c"]),
        (["x", "--log-opt", "splunk-token=abc"], ["x", "--log-opt", "splunk-token=xxx"]),
        (["x", "--bootstrap-token=abc"], ["x", "--bootstrap-token=xxx"]),
        (["x", "--mirror", "https://u:p@h"], ["x", "--mirror", "https://xxx@h"]),
        (["x", "--token=a b c", "d"], ["x", "--token=xxxxx", "d"]),
        (["x", "--client-ca-file=/a"], ["x", "--client-ca-file=/a"]),
    ],
)
def test_command_lines_are_masked_word_by_word(words: list[str], expected: list[str]) -> None:
    assert mask_words(words) == expected


def test_private_keys_are_recognised_by_what_they_hold() -> None:
    assert holds_private_key(b"x\n-----BEGIN EC PRIVATE KEY-----\n")
    assert holds_private_key(b"users:\n- user:\n    client-key-data: abc\n")
    assert not holds_private_key(b"-----BEGIN CERTIFICATE-----\n")


@pytest.mark.parametrize(
    "piece",
    [
        b"a",
        b"token",
        b'"',
        b"token ",
        b'{"a":',
        b'{"\\u0061",',
        b"://",
        b"://a",
        b"password: |\n",
        b'"token=',
        b'\\"',
        b"\n",
        b"-----BEGIN CERTIFICATE-----\nMI",
        b"-----BEGIN CERTIFICATE-----\nMItoken==\n-----END CERTIFICATE-----\n",
    ],
)
def test_hostile_content_costs_no_more_than_its_length(piece: bytes) -> None:
    def cost(size: int) -> float:
        for start in (b"", b"{"):
            content = start + piece * (size // len(piece))
            began = time.process_time()
            mask_content(content)
        return time.process_time() - began

    assert cost(1048576) < 15
    assert cost(400000) < 8 * cost(100000) + 0.5
