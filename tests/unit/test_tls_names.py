"""Which names a host's certificate bears: the inventory's, and nobody else's."""

from __future__ import annotations

import pytest

from remediator.errors import UsageError
from remediator.tls.names import MAX_NAMES, Names, checked_name, common_name, host_names, require_unique


def test_a_host_bears_its_inventory_name_its_address_and_what_the_inventory_adds() -> None:
    more = {"docker_tls_names": ["API.Example.com.", "192.0.2.8", "2001:DB8::0:1"]}
    found = host_names("web1", "192.0.2.7", more)
    assert found == Names(("web1", "api.example.com"), ("192.0.2.7", "192.0.2.8", "2001:db8::1"))
    assert found.all == ("web1", "api.example.com", "192.0.2.7", "192.0.2.8", "2001:db8::1")


def test_a_name_that_is_given_twice_is_borne_once() -> None:
    assert host_names("Web1", "web1.", {"docker_tls_names": ["WEB1"]}).all == ("web1",)


@pytest.mark.parametrize("name", ["web_1", "web 1", "-web", "web-", "münchen", "a..b", "x" * 64, "*.example", "1.2.3"])
def test_an_inventory_name_that_no_certificate_can_bear_is_left_out(name: str) -> None:
    assert checked_name(name) is None
    assert host_names(name, "192.0.2.7", {}).all == ("192.0.2.7",)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "/run/host.sock", ""])
def test_an_address_that_no_client_can_call_is_left_out(address: str) -> None:
    assert host_names("web1", address, {}).all == ("web1",)


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "::1", "a.localhost", "127.8.8.8"])
def test_an_address_that_leads_back_to_the_caller_is_left_out_unless_it_is_all_there_is(address: str) -> None:
    assert host_names("web1", address, {}).all == ("web1",)
    assert host_names("web_1", address, {}).all == (address,)
    assert host_names("web_1", address, {"docker_tls_names": ["api"]}).all == ("api",)
    assert host_names("web1", "192.0.2.7", {"docker_tls_names": [address]}).all.count(address) == 1


def test_a_host_without_any_name_is_told_what_to_set() -> None:
    with pytest.raises(UsageError, match=r"web_1: .*docker_tls_names"):
        host_names("web_1", "fe80::1%eth0", {})


@pytest.mark.parametrize(
    "value", ["api", 7, {"a": "b"}, ["a b"], [7], [None], ["*.example"], ["a\n"], [""], ["a"] * (MAX_NAMES + 1)]
)
def test_malformed_names_are_an_error_that_names_host_and_variable(value: object) -> None:
    with pytest.raises(UsageError, match=r"web1: .*docker_tls_names.*Correct it in the inventory"):
        host_names("web1", "192.0.2.7", {"docker_tls_names": value})


def test_two_hosts_that_claim_one_name_are_both_refused_and_the_others_are_not() -> None:
    fleet = {"a": Names(("a", "api"), ()), "b": Names(("b",), ("192.0.2.7",)), "c": Names(("c", "api"), ())}
    refused = require_unique(fleet, {})
    assert list(refused) == ["a", "c"]
    assert str(refused["a"]).startswith("a: it shares the name api with c")
    assert str(refused["c"]).startswith("c: it shares the name api with a")
    assert {error.kind for error in refused.values()} == {"request"}


def test_one_address_for_two_hosts_is_one_name_as_well() -> None:
    fleet = {"a": host_names("a", "2001:db8::1", {}), "b": host_names("b", "2001:DB8:0::1", {})}
    assert set(require_unique(fleet, {})) == {"a", "b"}


def test_the_name_of_one_host_as_the_address_of_another_is_one_name() -> None:
    fleet = {"web1": host_names("web1", "192.0.2.1", {}), "b": host_names("b", "web1", {})}
    assert set(require_unique(fleet, {})) == {"web1", "b"}


def test_a_certificate_that_another_host_holds_counts_and_the_hosts_own_does_not() -> None:
    held = {"old": Names(("api",), ()), "a": Names(("a", "api"), ())}
    refused = require_unique({"a": Names(("a", "api"), ()), "b": Names(("b",), ())}, held)
    assert list(refused) == ["a"]
    assert "old (which holds a certificate for it)" in str(refused["a"])
    assert "remove its certificate" in str(refused["a"])
    assert require_unique({"a": held["a"], "old": Names(("old",), ())}, held) == {}


def test_a_common_name_is_the_hosts_name_or_says_that_it_was_cut() -> None:
    assert common_name("web1") == "web1"
    assert common_name("x" * 64) == "x" * 64
    assert common_name("x" * 65) == "x" * 61 + "..."
    assert checked_name(common_name("x" * 65)) is None  # no other host can be called so
    assert len(common_name("ü" * 40).encode()) <= 64
