"""Addresses to listen on, as dockerd takes them and as an inventory gives them."""

from __future__ import annotations

import pytest

from remediator.dockerd import normalise_listen
from remediator.dockerd.listen import default_host, tcp_address
from remediator.errors import UsageError


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("tcp://0.0.0.0:2376", "0.0.0.0:2376"),
        ("0.0.0.0", "0.0.0.0:2375"),
        ("tcp://", "localhost:2375"),
        ("tcp://:2376", "localhost:2376"),
        (":2376", "localhost:2376"),
        ("tcp://[0:0::1]:2376", "[::1]:2376"),
        ("[::]:", "[::]:2375"),
        (" tcp://Node.Example:1/path ", "node.example:1"),
        ("tcp://[fe80::1%eth0]:2376", "[fe80::1%eth0]:2376"),
        ("unix:///var/run/docker.sock", None),
        ("fd://", None),
        ("fd://docker.socket", None),
    ],
)
def test_what_dockerd_is_given_is_told_as_host_and_port(given: str, address: str | None) -> None:
    assert tcp_address(given) == address


@pytest.mark.parametrize(
    "given",
    ["ssh://x", "tcp://a b", "tcp://1.2.3:1", "tcp://x:99999", "tcp://x:0", "::1", "tcp://u@x:1", "[::1%a b]:1"],
)
def test_what_dockerd_cannot_listen_on_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        tcp_address(given)


def test_without_any_address_dockerd_listens_on_its_socket_or_with_tls_on_localhost() -> None:
    assert (default_host(tls=False), default_host(tls=True)) == ("unix:///var/run/docker.sock", "tcp://localhost:2376")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7:2376", "192.0.2.7:2376"),
        ("tcp://192.0.2.7:2377", "192.0.2.7:2377"),
        (" 0.0.0.0 ", "0.0.0.0:2376"),
        ("[2001:DB8::0:7]", "[2001:db8::7]:2376"),
        ("node.example", "node.example:2376"),
    ],
)
def test_an_address_of_the_inventory_gets_the_port_of_tls(text: str, address: str) -> None:
    assert normalise_listen(text) == address


NONSENSE = "|:2376|tcp://|unix:///x|http://x:1|2001:db8::7|x:y|x:0|x:65536|a b|x/y|u@x|*:1|-x:1|1.2.3.400|\x1b[31m:1"


@pytest.mark.parametrize("text", [*NONSENSE.split("|"), "[fe80::1%eth0]:2376", 2376, None, ["x"]])
def test_what_names_no_address_is_a_usage_error_with_the_remedy(text: object) -> None:
    with pytest.raises(UsageError, match=r"docker_tls_listen: .* is no address to listen on\. Write ") as refused:
        normalise_listen(text)
    assert "\x1b" not in str(refused.value)
