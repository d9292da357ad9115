"""What holds of the daemon's TLS whatever its host was told before."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from remediator.catalogue import load_catalogue
from remediator.decide import decide
from remediator.kinds import KINDS
from remediator.kinds.interface import Scope
from remediator.observation import parse_observation
from remediator.overlay import Overlay
from remediator.plan import HostPlan, canonical
from remediator.policy import Policy
from remediator.surroundings import Surroundings
from remediator.transactions import build_transactions
from tests.property.daemon_model import applied, daemons, restarted
from tests.tls_material import HOST, NOW, held

CATALOGUE = load_catalogue().select(controls=["docker.tls.mutual", "docker.tls.certificate"])
NOTHING = Surroundings(NOW, (HOST,))

steadily = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
listens = st.sampled_from([[], ["192.0.2.7"], ["0.0.0.0:2376"], ["192.0.2.7:2376", "127.0.0.1:2375"]])
materials = st.builds(
    lambda name, source: Surroundings(NOW, (HOST,), held()[name].as_material(source)),
    st.sampled_from(["good", "renewed", "moved"]),
    st.sampled_from(["host", "controller"]),
)
consents = st.sampled_from(["guarded", "docker.tls.mutual", "docker.tls.certificate"])


def plan_of(document: dict[str, Any], around: Surroundings, listen: list[str], allow: str = "guarded") -> HostPlan:
    seen = parse_observation(HOST, json.dumps(document).encode())
    variables = {**CATALOGUE.defaults, "docker_tls_listen": listen}
    return decide(HOST, seen, CATALOGUE, Policy(allow=frozenset({allow})), variables, around)


def verdicts(plan: HostPlan) -> dict[str, str]:
    return {verdict.control: verdict.verdict for verdict in plan.verdicts}


def addresses(document: dict[str, Any]) -> set[tuple[str, int]]:
    return {(one["address"], one["port"]) for one in document["docker_listeners"]}


@steadily
@given(daemons(), materials | st.just(NOTHING), listens, consents)
def test_after_an_apply_nothing_permitted_is_left_to_change(
    document: dict[str, Any], around: Surroundings, listen: list[str], allow: str
) -> None:
    first = plan_of(document, around, listen, allow)
    second = plan_of(applied(document, first.transactions), around, listen, allow)
    assert second.transactions == ()
    assert [verdict for verdict in second.verdicts if verdict.permitted] == []


@steadily
@given(daemons(), materials, listens)
def test_with_a_certificate_every_listener_demands_one_after_an_apply(
    document: dict[str, Any], around: Surroundings, listen: list[str]
) -> None:
    first = plan_of(document, around, listen)
    assume(all(verdict.release is None for verdict in first.verdicts))
    after = applied(document, first.transactions)
    assert verdicts(plan_of(after, around, listen))["docker.tls.mutual"] == "compliant"
    assert {one["speaks"] for one in after["docker_listeners"]} <= {"mutual_tls"}
    if listen:
        ports = sorted(int(address.rpartition(":")[2]) if ":" in address else 2376 for address in listen)
        assert sorted(one["port"] for one in after["docker_listeners"]) == ports


@steadily
@given(daemons(), materials | st.just(NOTHING))
def test_no_listener_is_ever_opened_that_nobody_asked_for(document: dict[str, Any], around: Surroundings) -> None:
    after = applied(document, plan_of(document, around, []).transactions)
    told = restarted(json.loads(json.dumps(document)))
    assert addresses(after) <= addresses(document) | addresses(told)


@steadily
@given(daemons(), materials, listens)
def test_whichever_control_is_permitted_the_files_are_the_same(
    document: dict[str, Any], around: Surroundings, listen: list[str]
) -> None:
    both = _written(plan_of(document, around, listen))
    for allow in ("docker.tls.mutual", "docker.tls.certificate"):
        assert _written(plan_of(document, around, listen, allow)).items() <= both.items()


@steadily
@given(daemons(), materials, listens)
def test_the_same_daemon_always_gives_the_same_plan(
    document: dict[str, Any], around: Surroundings, listen: list[str]
) -> None:
    assert canonical(plan_of(document, around, listen)) == canonical(plan_of(document, around, listen))


@steadily
@given(daemons(), materials)
def test_an_address_that_is_given_up_is_probed_no_more(document: dict[str, Any], around: Surroundings) -> None:
    scope = Scope(
        parse_observation(HOST, json.dumps(document).encode()),
        around,
        {**CATALOGUE.defaults, "docker_tls_listen": ["192.0.2.9"]},
    )
    overlay = Overlay(scope.seen)
    for control in reversed(CATALOGUE.controls):
        KINDS[control.kind].decide(control.id, control.parameters, scope, overlay)
    probed = [step.address for transaction in build_transactions(overlay) for step in transaction.probe if step.address]
    assert probed in ([], ["192.0.2.9:2376"])


def _written(plan: HostPlan) -> dict[str, bytes | str | None]:
    actions = [action for transaction in plan.transactions for action in transaction.actions]
    return {str(action.path): action.content or action.public_sha256 for action in actions if action.do != "mkdir"}
