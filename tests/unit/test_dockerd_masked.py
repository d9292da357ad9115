"""Whether a mask can hide more than a secret, judged on files that observe masked."""

from __future__ import annotations

import pytest

from remediator.dockerd.masked import hides_settings
from remediator.host.common.mask import mask_content


def hides(text: str) -> bool:
    content, masked = mask_content(text.encode())
    assert masked, "nothing is masked there"
    return hides_settings(content.decode("latin-1"), masked)


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\nEnvironment=BUILD_TOKEN=abc\nExecStart=/d\n",
        '[Service]\nEnvironment="A=b c" "BUILD_TOKEN=a b c" D=e\nExecStart=/d\n',
        '[Service]\nEnvironment="HTTP_PROXY=http://user:pw@proxy.example"\nExecStart=/d\n',
        'TOKEN="a b"\nDOCKER_OPTS="-H x"\n',
        "TOKEN='ab'\nDOCKER_OPTS=-D\n",
        'DOCKER_OPTS="-H x"\nexport http_proxy="http://u:p@h/"\n',
        "DOCKER_OPTS=--cluster-store=etcd://user:pw@h -H tcp://x\n",
    ],
)
def test_a_secret_within_its_own_value_hides_nothing_else(text: str) -> None:
    assert not hides(text)


@pytest.mark.parametrize(
    "text",
    [
        'DOCKER_OPTS="--log-opt splunk-token=abc"\nOTHER="--x y"\n',
        'DOCKER_OPTS="--log-opt splunk-token=abc"\nOTHER=x\n',
        'Environment="A=b TOKEN=c"\nExecStart=/d\nEnvironment="D=e f"\n',
        'PASSWORD=ab"cd\nDOCKER_OPTS="-H tcp://x"\n',
        'PASSWORD=ab"cd\nDOCKER_OPTS=-D\n',
        "PASSWORD=it's\nDOCKER_OPTS='-H tcp://x'\n",
    ],
)
def test_a_secret_whose_mask_runs_into_other_lines_hides_them(text: str) -> None:
    content, _ = mask_content(text.encode())
    assert content.count(b"\n") < text.count("\n"), "the mask stays in its line"
    assert hides(text)


def test_a_file_with_more_secrets_than_any_is_not_searched() -> None:
    assert hides("TOKEN=a\n" * 1001)
