"""Off-policy evaluation held against the simulator, small: signs, refusals, and a breach that is told."""

import msgspec
import off_policy_truth as proof
import pytest
from off_policy_truth import Built, Trial, Truth, truth


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "BUILT", 120)
        asked = (("route", "calm", 560), ("release", "subscriptions", 400), ("retry", "europe", 80))
        return {q: truth([world], questions=[q], payments=payments) for q, world, payments in asked}


def test_every_candidate_has_a_truth_with_its_error(found):
    assert {question: len(one.trials) for question, one in found.items()} == {"route": 8, "release": 4, "retry": 8}
    for one in found.values():
        assert all(trial.truth_se > 0.0 for trial in one.trials)
        assert all(trial.low < trial.high for trial in one.trials)


def test_what_nobody_can_know_is_refused(found):
    assert any(built.name.startswith("no support") for built in found["route"].built)
    for one in found.values():
        assert any(built.name.startswith("too few") for built in one.built)
        assert all(built.refused and built.reasons for built in one.built)


def test_a_log_of_a_few_hundred_is_refused_and_that_is_a_breach(found):
    for one in found.values():
        assert not any(trial.accepted for trial in one.trials)
        assert "nothing was accepted" in one.breaches


def test_releasing_more_of_what_is_mostly_good_is_worth_more_and_less_is_worth_less(found):
    for trial in found["release"].trials:
        more = float(trial.candidate.partition("@")[0]) > 0.3
        assert trial.clear and trial.claims and trial.agrees and (trial.truth > 0.0) == more
        assert abs(trial.value - trial.truth) < trial.high - trial.low, "four standard errors"


@pytest.mark.prove
def test_accepted_releases_have_the_right_sign():
    found = truth(questions=["release"], payments=9_000, stretch=3_000).summary()
    assert found["claims"] == found["clear"] == found["accepted"] >= 9 and found["sign_agreement"] == 1.0


TRIAL = Trial(
    question="route", world="w", candidate="c", stretch=0, accepted=True, value=5.0, low=3.0, high=7.0, truth=4.0,
    truth_se=0.5, claimed=("gross",), reasons=(),
)  # fmt: skip


def summed(*trials, refused=True):
    return Truth(
        trials=trials, built=(Built(question="route", world="w", name="b", refused=refused, reasons=()),), payments=1
    )


def test_sound_trials_breach_nothing():
    assert summed(TRIAL).breaches == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"truth": -4.0}, "wrong sign"),
        ({"low": 4.5}, "missed the truth"),
        ({"value": -0.1, "low": -1.5, "high": 1.3, "truth_se": 0.1}, "given the wrong sign"),
    ],
)
def test_what_is_wrong_is_a_breach(changes, told):
    wrong = msgspec.structs.replace(TRIAL, **changes)
    assert any(told in why for why in summed(wrong, wrong, wrong).breaches)


def test_a_case_that_was_not_refused_is_a_breach():
    assert any("not refused" in why for why in summed(TRIAL, refused=False).breaches)


def test_a_question_with_too_few_trials_for_a_check_to_fail_is_told():
    retry = msgspec.structs.replace(TRIAL, question="retry")
    silent = msgspec.structs.replace(TRIAL, question="release", low=-3.0, truth=0.1)
    found = summed(*[TRIAL] * 60, *[silent] * 12, retry, msgspec.structs.replace(retry, accepted=False))
    assert found.powerless == (
        "release: wrong claims cannot fail, with 0 of 73 trials",
        "release: signs cannot fail, with 0 of 61 trials",
        "retry: coverage cannot fail, with 1 of 73 trials",
        "retry: wrong claims cannot fail, with 1 of 73 trials",
        "retry: signs cannot fail, with 1 of 61 trials",
    )
    assert summed(*[TRIAL] * 60, *[msgspec.structs.replace(silent, low=1.0)] * 12).breaches
