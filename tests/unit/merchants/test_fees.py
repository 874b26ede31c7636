"""Price lists: what matches, what it costs to the micro-minor unit, and the public benchmark's rules."""

import json
import random
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from dabstep import matching, read_dabstep, read_range

from greenlane.errors import InputError
from greenlane.merchants.fees import (
    MICRO,
    Account,
    FeeRule,
    Range,
    Schedule,
    Situation,
    When,
    breakdown_micro,
    charges,
    holds,
    region_of,
    segment_of,
)
from greenlane.merchants.published_fees import card_rules, published_schedule
from greenlane.payments.attempt import Attempt, Card, Payment, PaymentMethod, ThreeDS, Verification

DABSTEP = Path(__file__).parents[4] / "shared" / "data" / "dabstep_fees"


def costs(schedule, situation, amount_minor):
    """(approved, declined)"""
    found = charges(schedule, situation, amount_minor)
    return None if found is None else (found.approved, found.declined)


def blended(*rules, overlap="most_specific"):
    return Schedule(pricing_model="blended", rules=rules, overlap=overlap)


def test_a_price_is_exact_to_the_micro_minor_unit():
    rule = FeeRule(id="r", rate_ppm=1, fixed_micro=1)
    assert rule.price_micro(10**13) == 10**13 + 1


def test_the_rule_with_most_conditions_wins_and_of_equals_the_earlier():
    schedule = blended(
        FeeRule(id="any", rate_ppm=30_000),
        FeeRule(id="debit", rate_ppm=20_000, when=When(funding=("debit",))),
        FeeRule(id="home", rate_ppm=10_000, when=When(region=("domestic",))),
    )
    assert costs(schedule, Situation(funding="credit", region="inter"), 10_000) == (300.0, 0.0)
    assert costs(schedule, Situation(funding="debit", region="domestic"), 10_000) == (200.0, 0.0)


def test_rules_that_overlap_may_all_be_charged_or_their_mean():
    rules = (FeeRule(id="1", fixed_micro=MICRO), FeeRule(id="2", fixed_micro=2 * MICRO), FeeRule(id="3"))
    assert costs(blended(*rules, overlap="add"), Situation(), 0) == (3.0, 0.0)
    assert costs(blended(*rules, overlap="average"), Situation(), 0) == (1.0, 0.0)


def test_a_mean_is_rounded_half_up_to_one_micro_minor_unit():
    schedule = blended(FeeRule(id="1", fixed_micro=1), FeeRule(id="2", fixed_micro=2), overlap="average")
    assert costs(schedule, Situation(), 0) == (2 / MICRO, 0.0)


def test_what_is_due_for_each_attempt_is_due_for_a_declined_one():
    schedule = Schedule(
        pricing_model="interchange_plus_plus",
        rules=(
            FeeRule(id="i", component="interchange", rate_ppm=2_000),
            FeeRule(id="a", component="authorization", fixed_micro=3 * MICRO),
            FeeRule(id="3ds", component="authentication", fixed_micro=6 * MICRO),
        ),
    )
    assert costs(schedule, Situation(), 10_000) == (23.0, 3.0)
    assert charges(schedule, Situation(), 10_000).challenge == 6.0
    assert breakdown_micro(schedule, Situation(), 10_000) == {"interchange": 20 * MICRO, "authorization": 3 * MICRO}


def test_what_no_rule_prices_has_no_price():
    assert costs(blended(FeeRule(id="1", when=When(funding=("debit",)))), Situation(funding="credit"), 1) is None


def test_least_and_greatest_prices_bind():
    schedule = blended(FeeRule(id="1", rate_ppm=10_000, min_micro=20 * MICRO, max_micro=40 * MICRO))
    assert [costs(schedule, Situation(), amount)[0] for amount in (100, 3_000, 10_000)] == [20.0, 30.0, 40.0]


def test_prices_change_at_the_amount_they_say():
    rules = [
        FeeRule(id="low", fixed_micro=MICRO, when=When(amount_minor=Range(high=99_999))),
        FeeRule(id="high", fixed_micro=2 * MICRO, when=When(amount_minor=Range(low=100_000))),
    ]
    schedule = blended(*rules)
    assert [costs(schedule, Situation(), amount)[0] for amount in (99_999, 100_000, 99_999)] == [1.0, 2.0, 1.0]


def test_a_blended_list_states_no_interchange_and_the_other_way_round():
    for model, component in (("blended", "interchange"), ("interchange_plus_plus", "blended")):
        with pytest.raises(InputError) as refused:
            Schedule(pricing_model=model, rules=(FeeRule(id="1", component=component),))
        assert refused.value.param == "$.rules[0].component"


def test_a_schedule_travels_as_json():
    schedule = published_schedule("US")
    assert msgspec.json.decode(msgspec.json.encode(schedule), type=Schedule) == schedule


def test_an_unknown_thing_meets_no_condition_but_rules_nothing_out_of_a_question():
    when = When(funding=("debit",))
    assert not holds(when, Situation(), 1)
    assert holds(when, Situation(), None, unknown_holds=True)
    assert not holds(When(authenticated=True), Situation(authenticated=False), 1)


def naive_micro(schedule, situation, amount_minor):
    """The obviously right way: every rule looked at for every payment, one component after the other."""
    total = 0
    for component in {rule.component for rule in schedule.rules} - {"authentication"}:
        found = [r for r in schedule.rules if r.component == component and holds(r.when, situation, amount_minor)]
        total += sum(rule.price_micro(amount_minor) for rule in found) if schedule.overlap == "add" else 0
        if schedule.overlap == "average" and found:
            total += int(Decimal(sum(r.price_micro(amount_minor) for r in found)) / len(found) + Decimal("0.5"))
        if schedule.overlap == "most_specific" and found:
            counts = [len([f for f in When.__struct_fields__ if getattr(r.when, f) not in ((), None)]) for r in found]
            total += found[counts.index(max(counts))].price_micro(amount_minor)
    return total


@pytest.mark.parametrize("overlap", ["add", "average", "most_specific"])
def test_kept_quotes_equal_the_plain_way(overlap):
    draw = random.Random(7)
    words = ("a", "b", "c")
    rules = tuple(
        FeeRule(
            id=str(n),
            component=draw.choice(("interchange", "scheme", "authorization")),
            fixed_micro=draw.randrange(10**7),
            rate_ppm=draw.randrange(30_000),
            min_micro=draw.choice((None, 10**7)),
            when=When(
                network=tuple(draw.sample(words, draw.randrange(3))),
                aci=tuple(draw.sample(words, draw.randrange(3))),
                authenticated=draw.choice((None, True, False)),
                amount_minor=draw.choice((None, Range(low=500), Range(low=100, high=700))),
            ),
        )
        for n in range(40)
    )
    schedule = Schedule(pricing_model="interchange_plus_plus", rules=rules, overlap=overlap)
    for _ in range(400):
        situation = Situation(network=draw.choice(words), aci=draw.choice(words), authenticated=draw.random() < 0.5)
        amount = draw.choice((99, 100, 499, 500, 700, 701, draw.randrange(1_000)))
        priced = costs(schedule, situation, amount)
        if priced is not None:
            assert round(priced[0] * MICRO) == naive_micro(schedule, situation, amount)


def test_the_situation_of_an_attempt():
    card = Card(fingerprint="fp_1", network="visa", funding="credit", issuer_country="FR")
    payment = Payment(
        id="p", amount=1, currency="GBP", merchant_id="m", mcc="5411", payment_method=PaymentMethod(card=card)
    )
    passed = Verification(three_ds=ThreeDS(trans_status="Y"))
    attempt = Attempt(attempt_id="a", payment=payment, verification=passed, signals={"card_product": "commercial"})
    found = segment_of(attempt).over("network_token", "DE", Account(settlement_currency="EUR"))
    assert found[:9] == ("visa", "credit", "commercial", "intra_eea", "network_token", True, True, "", "5411")


def test_regions():
    assert region_of("FR", "DE") == "intra_eea"
    assert region_of("GB", "DE") == "inter"
    assert region_of(None, "DE") == "domestic"


# published prices, computed by hand


PUBLISHED = [
    # issuer and acquirer, network, funding, product -> interchange and scheme of 100.00
    ("DE", "DE", "visa", "debit", "consumer", 20.0, 5.0),
    ("FR", "DE", "visa", "credit", "consumer", 30.0, 5.0),
    ("US", "DE", "visa", "debit", "consumer", 115.0, 42.0),
    ("US", "DE", "visa", "credit", "consumer", 150.0, 42.0),
    ("DE", "DE", "visa", "credit", "commercial", 175.0, 5.0),
    ("GB", "GB", "mastercard", "debit", "consumer", 20.0, 5.0),
    ("US", "US", "visa", "debit", "regulated", 27.0, 13.0),
    ("US", "US", "visa", "debit", "consumer", 177.5, 13.0),
    ("US", "US", "visa", "credit", "consumer", 199.0, 13.0),
    ("US", "US", "mastercard", "credit", "consumer", 207.5, 12.5),
    ("US", "US", "visa", "credit", "premium", 255.0, 13.0),
    ("DE", "US", "visa", "credit", "consumer", 199.0, 163.0),
]


@pytest.mark.parametrize(("issuer", "acquirer", "network", "funding", "product", "interchange", "scheme"), PUBLISHED)
def test_published_prices(issuer, acquirer, network, funding, product, interchange, scheme):
    segment = Situation(network=network, funding=funding, product=product, region=region_of(issuer, acquirer))
    terms = breakdown_micro(published_schedule(acquirer), segment, 10_000)
    assert (terms["interchange"] / MICRO, terms["scheme"] / MICRO) == (interchange, scheme)
    approved, declined = costs(published_schedule(acquirer), segment, 10_000)
    assert (approved, declined) == (interchange + scheme + 25.0 + 3.0, 3.0)


def test_tokens_and_authentication_lower_a_scheme_fee_where_published():
    schedule = published_schedule("SG")
    fees = [
        breakdown_micro(schedule, Situation(network="mastercard", credential=credential, authenticated=safe), 10_000)
        for credential, safe in (("pan", False), ("pan", True), ("network_token", True))
    ]
    assert [each["scheme"] / MICRO for each in fees] == [3.0, 1.5, 0.0]


@pytest.mark.parametrize("country", ["DE", "GB", "US", "SG"])
def test_every_card_has_a_price_everywhere(country):
    for funding in ("credit", "debit", "prepaid", "charge", "unknown"):
        for product in ("consumer", "commercial", "premium", "regulated"):
            for region in ("domestic", "intra_eea", "inter"):
                segment = Situation("visa", funding, product, region, "pan", False, False, "", "5411")
                assert breakdown_micro(published_schedule(country), segment, 10_000)["interchange"] > 0


def test_every_published_price_names_its_source():
    assert {region for region in ("EEA", "UK", "US", "AP") if card_rules(region)} == {"EEA", "UK", "US", "AP"}


# the public benchmark's rules


def line(**stated):
    bare = dict.fromkeys(
        ("card_scheme", "capture_delay", "monthly_fraud_level", "monthly_volume", "is_credit", "intracountry")
    )
    lists = {"account_type": [], "merchant_category_code": [], "aci": []}
    return {"ID": 1, **bare, **lists, "fixed_amount": 0.1, "rate": 19, **stated}


def read(*lines, overlap="add"):
    return read_dabstep(json.dumps(lines).encode(), overlap=overlap)


def test_the_formula_of_the_benchmark():
    # 0.05 EUR + 58 x 123.45 EUR / 10,000 = 0.05 + 0.71601 = 0.76601 EUR
    assert read(line(fixed_amount=0.05, rate=58)).rules[0].price_micro(12_345) == 76_601_000


def test_null_and_empty_mean_any():
    assert read(line()).rules[0].when == When()


@pytest.mark.parametrize(
    ("text", "unit", "low", "high"),
    [
        ("3-5", 1, 3, 5),
        (">5", 1, 6, None),
        ("<3", 1, None, 2),
        ("100k-1m", 100, 10_000_000, 100_000_000),
        (">5m", 100, 500_000_001, None),
        ("<100k", 100, None, 9_999_999),
        ("7.7%-8.3%", 10**7, 77_000_000, 83_000_000),
        (">8.3%", 10**7, 83_000_001, None),
    ],
)
def test_texts_of_ranges(text, unit, low, high):
    assert read_range(text, unit=unit) == Range(low=low, high=high)


def test_a_merchant_meets_the_rules_of_its_month():
    schedule = read(
        line(ID=1, account_type=["R", "H"], capture_delay="<3", monthly_volume="100k-1m"),
        line(ID=2, capture_delay="immediate"),
        line(ID=3, capture_delay="manual"),
        line(ID=4, monthly_fraud_level=">8.3%"),
        line(ID=5, monthly_fraud_level="7.7%-8.3%", merchant_category_code=[5411, 742]),
        line(ID=6, is_credit=True, intracountry=1.0, aci=["A", "B"], card_scheme="NexPay"),
        line(ID=7, is_credit=False),
        line(ID=8, intracountry=0.0),
    )
    account = Account(account_type="R", capture_delay=1, monthly_volume_minor=100_000_00, monthly_fraud_e9=83_000_000)
    payment = Situation(network="NexPay", funding="credit", region="domestic", aci="B", mcc="0742", account=account)
    assert matching(schedule, payment, 1_000) == ("1", "5", "6")
    assert costs(schedule, payment, 1_000) == (pytest.approx(3 * (10 + 1.9)), 0.0)
    mean = read_dabstep(json.dumps([line(fixed_amount=0.1), line(fixed_amount=0.3)]).encode(), overlap="average")
    assert costs(mean, payment, 1_000) == (21.9, 0.0)


def test_which_rules_apply_to_what_is_only_partly_known():
    schedule = read(
        line(ID=1, account_type=["R"], aci=["B"]), line(ID=2, account_type=["H"]), line(ID=3, capture_delay="manual")
    )
    assert matching(schedule, Situation(aci="B", account=Account(account_type="R"))) == ("1", "3")


@pytest.mark.parametrize("wrong", [{"monthly_volume": "a lot"}, {"capture_delay": "soon"}, {"rate": "x"}])
def test_a_rule_that_cannot_be_read_is_named(wrong):
    with pytest.raises(InputError) as refused:
        read(line(**wrong))
    assert refused.value.code == "invalid_schedule"
    assert refused.value.param is not None


@pytest.mark.skipif(not (DABSTEP / "fees.json").exists(), reason="the benchmark's fees.json is not on this machine")
def test_the_public_rules_are_read_whole():
    lines = json.loads((DABSTEP / "fees.json").read_text())
    schedule = read_dabstep((DABSTEP / "fees.json").read_bytes())
    assert [rule.id for rule in schedule.rules] == [str(each["ID"]) for each in lines]
    for rule, each in zip(schedule.rules, lines, strict=True):
        euros = Decimal(str(each["fixed_amount"])) + Decimal(str(each["rate"])) * Decimal("123.45") / 10_000
        assert rule.price_micro(12_345) == int(euros * 100 * MICRO)
        assert bool(rule.when.aci) == bool(each["aci"])
        assert (rule.when.capture_delay is None) == (each["capture_delay"] is None)


PUBLIC_RULES = 1_000
"""In the public file, which the published answers are about."""


@pytest.fixture(scope="module")
def public():
    if not (DABSTEP / "fees.json").exists():
        pytest.skip("the benchmark's fees.json is not on this machine")
    schedule = read_dabstep((DABSTEP / "fees.json").read_bytes())
    if len(schedule.rules) != PUBLIC_RULES:
        pytest.skip("not the public file, whose answers are known")
    return schedule


def mean_euros(schedule, situation, amount_minor):
    found = set(matching(schedule, situation, amount_minor))
    prices = [rule.price_micro(amount_minor) for rule in schedule.rules if rule.id in found]
    return sum(prices) / len(prices) / MICRO / 100


def test_published_answer_on_the_mean_fee_of_credit_cards(public):
    """Task 1273: credit transactions of 10 EUR with GlobalCard."""
    assert mean_euros(public, Situation(network="GlobalCard", funding="credit"), 1_000) == pytest.approx(
        0.120132, abs=1e-6
    )


def test_published_answer_on_the_mean_fee_of_restaurants(public):
    """Task 1305: account type H, Eating Places and Restaurants (5812), 10 EUR with GlobalCard."""
    asked = Situation(network="GlobalCard", mcc="5812", account=Account(account_type="H"))
    assert mean_euros(public, asked, 1_000) == pytest.approx(0.123217, abs=1e-6)


def test_published_answer_on_which_rules_apply(public):
    """Task 1464: account type R and ACI B; its list has 416 ids."""
    found = matching(public, Situation(aci="B", account=Account(account_type="R")))
    assert len(found) == 416
    assert found[:12] == ("1", "2", "5", "6", "8", "9", "10", "12", "14", "15", "20", "21")
    assert found[-3:] == ("998", "999", "1000")
