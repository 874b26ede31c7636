"""Who was challenged and who answered, as a table that decisions use."""

import numpy as np

from greenlane.decisions.kept import given_of, keep_given
from greenlane.learning.authentication_set import Answered, judge, learned
from greenlane.payments.times import DAY_US
from greenlane.policy.authenticating import UNLEARNED, AuthenticationTable
from greenlane.policy.given import Given
from greenlane.policy.priors import GOOD_PAYERS, GoodPayer, Payer, Priors, authentication

TRUTH = {"bnp": (0.2, 0.95), "sgen": (0.5, 0.75)}


def world(n: int, seed: int) -> list[Answered]:
    rng = np.random.default_rng(seed)
    found = []
    for at in range(n):
        issuer = "bnp" if rng.random() < 0.5 else "sgen"
        phi, s = TRUTH[issuer]
        frictionless = rng.random() < phi
        passed = 0.0 if frictionless else float(rng.random() < s)
        found.append(Answered("FR", issuer, float(frictionless), 1.0 - frictionless, passed, at * DAY_US // 500, at))
    return found


def test_each_issuer_is_learned_and_holds_on_later_answers():
    table = learned(world(20_000, 1))
    for issuer, (phi, s) in TRUTH.items():
        payer = table.payer(issuer, "FR")
        assert payer is not None
        assert abs(payer.frictionless_ppm / 1e6 - phi) < 0.02
        assert abs(payer.success_ppm / 1e6 - s) < 0.02
    judged = judge(table, world(20_000, 2))
    assert judged.verdict == "calibrated", judged


def test_the_stated_prior_is_found_out_where_it_is_wrong():
    assert judge(UNLEARNED, world(20_000, 2)).verdict == "not calibrated"


def test_an_issuer_seen_once_is_believed_to_be_like_its_country():
    table = learned([*world(5_000, 3), Answered("FR", "rare", 0.0, 1.0, 0.0)])
    country, rare = table.countries["FR"], table.issuers["rare"]
    assert abs(rare.success_ppm - country.success_ppm) < 30_000
    assert table.payer("unheard of", "FR") == Payer(*country, table.unavailable_ppm)
    assert table.payer("unheard of", "GB") is None


def test_what_was_learned_replaces_the_prior_and_is_kept_with_the_decision():
    payer = Payer(400_000, 880_000, 20_000)
    believed = authentication(Priors(), "FR", payer)
    assert (believed.frictionless_good, believed.success_good, believed.unavailable) == (0.4, 0.88, 0.02)
    assert believed.frictionless_fraud == 0.2
    assert authentication(Priors(), "FR").success_good == GOOD_PAYERS["FR"].success_ppm / 1e6
    given = Given(amount_minor=5, fraud_probability_e9=1, payer=payer)
    assert given_of(keep_given(given)).payer == payer
    assert AuthenticationTable(issuers={"x": GoodPayer(1, 2)}).payer("x", "FR") == Payer(1, 2, 15_000)
