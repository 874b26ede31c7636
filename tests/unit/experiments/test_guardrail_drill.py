"""The drill of guardrails, small."""

from guardrail_drill import HARMS, drilled, run


def test_what_is_forbidden_or_challenges_everybody_is_paused_at_once() -> None:
    harms = {harm.name: harm for harm in HARMS}
    found = run(harms["everything is challenged"], 1_000, seed=1)
    assert found is not None and found[0] == "challenge_rate" and found[1] <= 200
    assert run(harms["none"], 1_000, seed=1) is None


def test_false_alarms_beyond_the_budget_are_told() -> None:
    ends = [("payment_approval", 500)] * 40 + [None] * 160
    assert drilled(HARMS[0], ends).verdict == "over budget"
    assert drilled(HARMS[0], [None] * 200).verdict.startswith("budget")
