"""Stories an analyst can read and write: a payment, how probable fraud is, the merchant's money; and what must happen.

A case is one JSON file. `payment` and `merchant` are as in the API (ids and currency may be left out), money is in
minor units, `expect` names the action and whatever terms matter to the story, rounded to whole minor units. Left out
is what does not matter; what may be told besides:

    approvals    by route, or route/credential: good, and where they differ good_3ds, good_exempt, fraud, soft_decline
    tried        earlier attempts at this payment, the oldest first: route, code or answer, intervention, exemption, at
    barred       by route, or route/credential: what took it away (a limit, a breaker, a kill switch)
    multipliers  prices of scarce budgets
    exploring    the tenant's exploration, `draw` the number drawn, 0 to 1, and `pace` how much of it is affordable
    rung, stops, review_open, degraded       how much could be reached, and what the rules said
    ask          "decision", or "next_action": what to do after the last of `tried`, or after an authentication
    limits       of a next action, where they bind now: allowed, rule, attempts_left; `now` its time
"""

import json
from pathlib import Path

import msgspec
import pytest

from greenlane.merchants.read import read_economics
from greenlane.payments.attempt import Attempt
from greenlane.payments.codes import decline_of
from greenlane.payments.times import format_rfc3339, parse_rfc3339
from greenlane.policy.choose import choose
from greenlane.policy.distribution import TOTAL
from greenlane.policy.eligible import eligible_ways
from greenlane.policy.explore import PPM, Allowance, Allowances, Context, Exploring, recorded_draw
from greenlane.policy.given import Barred, Given
from greenlane.policy.history import Tried, history_of
from greenlane.policy.limits import Verdict
from greenlane.policy.next_action import Outlook, next_action
from greenlane.policy.parameters import Multipliers, Policy
from greenlane.policy.priors import Approval
from greenlane.policy.value import MICRO, TERMS

CASES = sorted(Path(__file__).parent.glob("*.case.json"))
KNOWN = {"story", "payment", "verification", "constraints", "stage", "eligible_routes", "fraud_probability", "merchant"}
KNOWN |= {"perspective", "rung", "stops", "review_open", "degraded", "multipliers", "approvals", "tried", "barred"}
KNOWN |= {"exploring", "draw", "pace", "ask", "limits", "now", "expect"}
TOLD = ("verification", "constraints", "stage", "eligible_routes")
E9 = 1_000_000_000


def attempt_in(case):
    payment = {"id": "pay_1", "merchant_id": "m_1", "currency": "EUR", **case["payment"]}
    told = {name: case[name] for name in TOLD if name in case}
    return msgspec.convert({"attempt_id": f"att_{len(case.get('tried', ())) + 1}", "payment": payment, **told}, Attempt)


def by_way(told, ways):
    """What is told by route/credential, else by route; None where nothing is told of a way."""
    return [told.get(f"{way.route}/{way.credential}", told.get(way.route)) for way in ways]


def approval_of(told):
    good, ratio = told["good"], 0.7
    modes = (good, told.get("good_3ds", good), told.get("good_exempt", good))
    rates = [rate for mode in modes for rate in (mode, told.get("fraud", ratio * mode))]
    return Approval(*(round(rate * E9) for rate in (*rates, told.get("soft_decline", 0.08))))


def tried_of(told, number, network):
    code = told.get("code", "")
    answer = told.get("answer", "declined")
    return Tried(
        f"att_{number}",
        number,
        told["route"],
        told.get("credential", "pan"),
        told.get("intervention", "exempt" if "exemption" in told else "allow"),
        told.get("exemption", ""),
        parse_rfc3339(told["at"]) if "at" in told else 0,
        answer,
        network,
        code,
        told.get("advice", ""),
        decline_of(network, code).decline_class if answer == "declined" else "",
    )


def given_in(case, attempt, economics):
    fraud, now_us = case["fraud_probability"], parse_rfc3339(case["now"]) if "now" in case else 0
    card = attempt.payment.payment_method.card
    tried = (tried_of(told, at + 1, card.network if card else "*") for at, told in enumerate(case.get("tried", ())))
    ways = eligible_ways(attempt, economics)
    barred = [Barred(*way, why) for way, why in zip(ways, by_way(case.get("barred", {}), ways), strict=True) if why]
    open_ways = [way for way in ways if way not in [(each.route, each.credential) for each in barred]]
    approvals = by_way(case.get("approvals", {}), open_ways)
    return Given(
        amount_minor=attempt.payment.amount,
        fraud_probability_e9=None if fraud is None else round(fraud * E9),
        ingest_us=now_us,
        rung=case.get("rung", "full"),
        stops=tuple(case.get("stops", ())),
        review_open=case.get("review_open", True),
        multipliers=msgspec.convert(case.get("multipliers", {}), Multipliers),
        history=history_of(attempt)._replace(tried=tuple(tried)),
        barred=tuple(barred),
        approvals=tuple(map(approval_of, approvals)) if all(approvals) and approvals else None,
        context=context_in(case, attempt) if "draw" in case else None,
        degraded=tuple(case.get("degraded", ())),
    )


def context_in(case, attempt):
    enough = Allowance(10**15, 10**15, round(case.get("pace", 1) * PPM))
    return Context(
        payment_id="pay_1", unit="card/1", amount_minor=attempt.payment.amount, allowances=Allowances(*[enough] * 3)
    )


def policy_in(case):
    exploring = msgspec.convert(case.get("exploring", {}), Exploring)
    return Policy(perspective=case.get("perspective", "merchant"), exploring=exploring)


def answered(case):
    economics = read_economics(json.dumps(case.get("merchant", {})).encode())
    attempt = attempt_in(case)
    given = given_in(case, attempt, economics)
    if case.get("ask", "decision") == "decision":
        draw = recorded_draw(round(case["draw"] * (TOTAL - 1))) if "draw" in case else None
        return shown(choose(attempt, given, economics=economics, policy=policy_in(case), draw=draw))
    limits = {"rule": "HOUSE_24H", "earliest_us": None} | case.get("limits", {})
    outlooks = [Outlook(given.ingest_us, Verdict(**limits))] if "limits" in case else []
    return next_shown(next_action(attempt, given, outlooks, economics=economics, policy=policy_in(case)))


def shown(chosen):
    """The answer of a decision in the words a case may expect."""
    action, other = chosen.action, chosen.runner_up
    return {
        "intervention": action.intervention,
        "exemption": action.exemption,
        "route": action.route,
        "credential": action.credential,
        "value_minor": round(chosen.value_micro / MICRO),
        "other_value_minor": round(sum(chosen.other_terms_micro) / MICRO),
        "terms": terms_of(chosen.terms_micro),
        "runner_up": other.intervention if other else None,
        "runner_up_route": other.route if other else None,
        "admissible": list(chosen.may.interventions),
        "stops": list(chosen.stops),
        "degraded": list(chosen.degraded),
        "explored": chosen.explored.explored,
        "kind": chosen.explored.kind,
        "propensity": round(chosen.propensity / TOTAL, 3),
        "fraud_given_history": round(chosen.probabilities.fraud_given_history_e9 / E9, 4)
        if chosen.probabilities
        else None,
    }


def next_shown(found):
    """The answer of a next action in the words a case may expect."""
    action = found.action
    return {
        "next": found.next,
        "at": format_rfc3339(found.at_us),
        "intervention": action.intervention if action else None,
        "exemption": action.exemption if action else None,
        "route": action.route if action else None,
        "credential": action.credential if action else None,
        "about": found.about,
        "changes": list(found.changes),
        "stop_reason": found.stop_reason,
        "limit_rule": found.limit_rule,
        "value_minor": round(found.value_micro / MICRO),
        "terms": terms_of(found.terms_micro),
    }


def terms_of(micros):
    return {name: round(micro / MICRO) for name, micro in zip(TERMS, micros, strict=True)}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name.removesuffix(".case.json"))
def test_story(path):
    case = json.loads(path.read_text())
    assert set(case) <= KNOWN, "a case says something the runner does not know"
    answer, expected = answered(case), dict(case["expect"])
    terms = expected.pop("terms", {})
    assert {name: answer[name] for name in expected} == expected, case["story"]
    assert {name: answer["terms"][name] for name in terms} == terms, case["story"]


def test_there_are_stories():
    assert len(CASES) >= 40
