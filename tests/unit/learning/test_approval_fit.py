"""The model finds which route an issuer likes, is calibrated by segment, and becomes an artefact that is proven."""

import json
from pathlib import Path

import numpy as np
import pytest
from unit.learning.answered_attempts import answered, facts_of, log_odds_of

from greenlane.adapters.lightgbm_trainer import LightGbm
from greenlane.errors import ModelRefused, TrainingError
from greenlane.learning.approval_fit import ApprovalEvaluation, Learned, judge, learn, split_us
from greenlane.learning.approval_publish import publish_approval
from greenlane.learning.approval_set import Samples
from greenlane.models.approval_model import ApprovalModel, load_approval
from greenlane.models.approval_rows import AUTHENTICATED, COLUMNS, EXEMPT, PLAIN, Situation
from greenlane.models.artefact import load

QUICK = {
    "rounds": 120, "learning_rate": 0.08, "num_leaves": 12, "min_data_in_leaf": 40, "feature_fraction": 0.7,
    "lambda_l2": 5.0, "max_bin": 255,
}  # fmt: skip
WAYS = [("acq_a", "pan"), ("acq_b", "pan"), ("acq_new", "pan")]
Trained = tuple[Samples, Learned, ApprovalEvaluation]


@pytest.fixture(scope="module")
def trained() -> Trained:
    samples = answered(12_000)
    cut_us = split_us(samples)
    learned = learn(samples, LightGbm(), parameters=QUICK, frozen_from_us=cut_us)
    return samples, learned, judge(learned, samples, from_us=cut_us)


@pytest.fixture(scope="module")
def model(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> ApprovalModel:
    samples, learned, evaluation = trained
    return publish_approval(
        tmp_path_factory.mktemp("models"), learned, estimator=LightGbm(), evaluation=evaluation,
        training_set=samples.manifest(),
    )  # fmt: skip


def situation(issuer: int, *, amount: int = 5_000, attempt_no: int = 1) -> Situation:
    last = ("do_not_honor", 1, "acq_a") if attempt_no > 1 else ("", 0, "")
    return Situation(facts_of(issuer, amount=amount), 12_100 * 60_000_000, attempt_no, False, True, *last)


def test_it_explains_most_of_what_can_be_explained(trained: Trained) -> None:
    found = trained[2]
    assert found.auc > 0.72
    assert 1.0 - found.log_loss / found.base_log_loss > 0.09


def test_it_is_calibrated_by_bin_route_issuer_and_attempt(trained: Trained) -> None:
    found = trained[2]
    assert all(b.ratio_low <= 1.15 and b.ratio_high >= 0.85 for b in found.bins)
    for group in (*found.by_route, *found.by_issuer, *found.by_segment, *found.by_amount):
        assert group.low <= 1.15 and group.high >= 0.85, group


def test_segments_with_answers_enough_are_calibrated_apart(
    trained: Trained,
) -> None:
    assert set(trained[1].calibrators.segments) >= {"first cit"}


@pytest.mark.parametrize("issuer", range(6))
def test_the_route_that_an_issuer_likes_is_found(model: ApprovalModel, issuer: int) -> None:
    a, b, _ = model.predict(situation(issuer), WAYS)
    assert (a[PLAIN] > b[PLAIN]) == (issuer % 2 == 0)


def test_authentication_helps_where_it_did(model: ApprovalModel) -> None:
    found = [model.predict(situation(issuer), WAYS[:1])[0] for issuer in range(10)]
    assert sum(each[AUTHENTICATED] for each in found) > sum(each[PLAIN] for each in found)


def test_probabilities_are_near_those_that_made_the_answers(model: ApprovalModel) -> None:
    errors = []
    for issuer in range(10):
        for amount in (1_000, 5_000, 20_000):
            for (route, _), found in zip(
                WAYS[:2], model.predict(situation(issuer, amount=amount), WAYS[:2]), strict=True
            ):
                for mode in (PLAIN, EXEMPT, AUTHENTICATED):
                    z = log_odds_of(issuer, route, amount=amount, mode=mode, attempt_no=1)
                    errors.append(np.log(found[mode] / (1e9 - found[mode])) - z)
    assert np.sqrt(np.mean(np.square(errors))) < 0.35


def test_a_retry_after_a_refusal_is_less_probable(model: ApprovalModel) -> None:
    first, again = (model.predict(situation(2, attempt_no=n), WAYS) for n in (1, 2))
    assert all(later[PLAIN] < before[PLAIN] for before, later in zip(first, again, strict=True))


def test_a_route_nobody_knew_lies_between_those_that_are_known(model: ApprovalModel) -> None:
    a, b, new = (found[PLAIN] for found in model.predict(situation(2), WAYS))
    assert min(a, b) - 5e7 <= new <= max(a, b) + 5e7


def test_ways_are_independent_of_the_company_they_are_asked_in(model: ApprovalModel) -> None:
    together = model.predict(situation(3), WAYS)
    assert [model.predict(situation(3), [way])[0] for way in WAYS] == together
    assert model.predict(situation(3), WAYS[::-1]) == together[::-1]
    assert model.predict(situation(3), []) == []


def test_rows_served_are_rows_trained_on(trained: Trained, model: ApprovalModel) -> None:
    samples, learned, _ = trained
    last = samples.rows[-1]
    told = model.predict(last.situation, [(last.route, last.credential)])[0][last.mode]
    row = learned.encoded.examples.X[-1:]
    assert told == round(1e9 * model.calibrators.probabilities(row, model.predictor.margins(row))[0])


def test_the_artefact_is_refused_when_anything_in_it_was_changed(model: ApprovalModel, tmp_path: Path) -> None:
    learned_in = publish_directory(model, tmp_path)
    encoding = json.loads((learned_in / "encoding.json").read_bytes())
    encoding["effects"]["all"] = 1.5
    (learned_in / "encoding.json").write_text(json.dumps(encoding))
    with pytest.raises(ModelRefused, match=r"encoding.json is not the file that was saved"):
        load_approval(learned_in)


def test_an_approval_model_is_no_fraud_model(model: ApprovalModel, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="kind 'approval'"):
        load(publish_directory(model, tmp_path))


def publish_directory(model: ApprovalModel, tmp_path: Path) -> Path:
    samples = answered(1_500)
    cut_us = split_us(samples)
    learned = learn(samples, LightGbm(), parameters={**QUICK, "rounds": 5}, frozen_from_us=cut_us)
    published = publish_approval(
        tmp_path, learned, estimator=LightGbm(), evaluation=judge(learned, samples, from_us=cut_us),
        training_set=samples.manifest(),
    )  # fmt: skip
    assert published.predictor.features == model.predictor.features == len(COLUMNS)
    return tmp_path / published.id


def test_too_few_attempts_are_told(trained: Trained) -> None:
    assert trained
    with pytest.raises(TrainingError, match="too few to learn approval from"):
        learn(answered(50), LightGbm())
    with pytest.raises(TrainingError, match="no answered attempts"):
        split_us(Samples())
