"""Off-policy evaluation held against the simulator, small: signs, refusals, and a breach that is told."""

import msgspec
import pytest

from greenlane.jobs.valuing import truth as proof
from greenlane.jobs.valuing.truth import Built, Trial, Truth, truth


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "BUILT", 120)
        return truth(["calm"], payments=560, stretch=500)


def test_every_candidate_has_a_truth_with_its_error(found):
    assert len(found.trials) == 8
    assert all(trial.truth_se > 0.0 for trial in found.trials)
    assert all(trial.low < trial.high for trial in found.trials)


def test_what_nobody_can_know_is_refused(found):
    assert any(one.name.startswith("no support") for one in found.built)
    assert any(one.name.startswith("too few") for one in found.built)
    assert all(one.refused and one.reasons for one in found.built)


def test_a_log_of_a_few_hundred_is_refused_and_that_is_a_breach(found):
    assert not any(trial.accepted for trial in found.trials)
    assert "nothing was accepted" in found.breaches


TRIAL = Trial(world="w", candidate="c", stretch=0, accepted=True, value=5.0, low=3.0, high=7.0, truth=4.0, truth_se=0.5,
              here=4.0, claimed=("gross",), reasons=())  # fmt: skip


def summed(*trials, refused=True):
    return Truth(trials=trials, built=(Built(world="w", name="b", refused=refused, reasons=()),), payments=1)


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
