"""Stories an analyst can read and write: a payment, how probable fraud is, the merchant's money; and what must happen.

A case is one JSON file. `payment` and `merchant` are as in the API (ids and currency may be left out), money is in
minor units, `expect` names the action and whatever terms matter to the story, rounded to whole minor units.
"""

import json
from pathlib import Path

import msgspec
import pytest

from greenlane.merchants.read import read_economics
from greenlane.payments.attempt import Attempt
from greenlane.policy.choose import choose
from greenlane.policy.given import Given
from greenlane.policy.parameters import Multipliers, Policy
from greenlane.policy.value import MICRO, TERMS

CASES = sorted(Path(__file__).parent.glob("*.case.json"))
KNOWN = {"story", "payment", "verification", "constraints", "stage", "eligible_routes", "fraud_probability", "merchant"}
KNOWN |= {"perspective", "rung", "stops", "review_open", "multipliers", "expect"}


def chosen_in(case):
    told = {name: case[name] for name in ("verification", "constraints", "stage", "eligible_routes") if name in case}
    payment = {"id": "pay_1", "merchant_id": "m_1", "currency": "EUR", **case["payment"]}
    fraud = case["fraud_probability"]
    return choose(
        msgspec.convert({"attempt_id": "att_1", "payment": payment, **told}, Attempt),
        Given(
            amount_minor=payment["amount"],
            fraud_probability_e9=None if fraud is None else round(fraud * 1e9),
            rung=case.get("rung", "full"),
            stops=tuple(case.get("stops", ())),
            review_open=case.get("review_open", True),
            multipliers=msgspec.convert(case.get("multipliers", {}), Multipliers),
        ),
        economics=read_economics(json.dumps(case.get("merchant", {})).encode()),
        policy=Policy(perspective=case.get("perspective", "merchant")),
    )


def shown(chosen):
    """The answer in the words a case may expect."""
    terms = {name: round(micro / MICRO) for name, micro in zip(TERMS, chosen.terms_micro, strict=True)}
    return {
        "intervention": chosen.action.intervention,
        "route": chosen.action.route,
        "value_minor": round(chosen.value_micro / MICRO),
        "terms": terms,
        "runner_up": chosen.runner_up.intervention if chosen.runner_up else None,
        "admissible": list(chosen.may.interventions),
        "stops": list(chosen.stops),
        "degraded": list(chosen.degraded),
    }


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name.removesuffix(".case.json"))
def test_story(path):
    case = json.loads(path.read_text())
    assert set(case) <= KNOWN, "a case says something the runner does not know"
    answer, expected = shown(chosen_in(case)), dict(case["expect"])
    terms = expected.pop("terms", {})
    assert {name: answer[name] for name in expected} == expected, case["story"]
    assert {name: answer["terms"][name] for name in terms} == terms, case["story"]


def test_there_are_stories():
    assert len(CASES) >= 12
