"""One seed is one world to the byte, and its payments look like what the world's file says."""

from itertools import islice, pairwise

import msgspec
import pytest
from msgspec.structs import replace

from greenlane.errors import SettingsError
from greenlane.merchants.economics import Economics
from greenlane.payments.attempt import ATTEMPT_DECODER
from greenlane.payments.checks import check_attempt
from greenlane.payments.guard import refuse_card_data
from greenlane.payments.times import DAY_US, parse_rfc3339
from greenlane.simulation.answers import Sent
from greenlane.simulation.living import Living
from greenlane.simulation.parameters import TYPOLOGIES, load
from greenlane.simulation.people import People
from greenlane.simulation.world import World

NOTHING = Economics()
START_US = 1_767_225_600_000_000


def arrivals(n, *, seed=1, start_us=START_US):
    return list(World.load("shop").payments(start_us=start_us, n=n, seed=seed))


@pytest.fixture(scope="module")
def many():
    return arrivals(20_000)


def test_one_seed_is_one_world_to_the_byte(many):
    again = arrivals(20_000)
    assert msgspec.msgpack.encode([tuple(a) for a in many]) == msgspec.msgpack.encode([tuple(a) for a in again])


def test_asking_for_fewer_payments_gives_the_first_of_them(many):
    assert arrivals(700) == many[:700]


def test_a_world_is_read_lazily(many):
    assert list(islice(World.load("shop").payments(start_us=START_US, n=10**9, seed=1), 5)) == many[:5]


def test_another_seed_has_other_people_but_the_same_banks():
    one, other = arrivals(2000, seed=1), arrivals(2000, seed=2)
    assert {a.attempt.payment.customer.id for a in one}.isdisjoint(a.attempt.payment.customer.id for a in other)
    ranges = [{a.attempt.payment.payment_method.card.bin for a in world} for world in (one, other)]
    assert len(ranges[0] & ranges[1]) > 0.7 * len(ranges[0])


def test_payments_come_in_time_order_and_never_before_the_start():
    later = START_US + DAY_US // 2
    times = [a.at_us for a in arrivals(1500, start_us=later)]
    assert times[0] >= later
    assert all(a <= b for a, b in pairwise(times))


def test_every_attempt_is_a_valid_request_that_names_its_time(many):
    for arrival in many[:300]:
        assert ATTEMPT_DECODER.decode(msgspec.json.encode(arrival.attempt)) == arrival.attempt
        check_attempt(arrival.attempt)
        assert parse_rfc3339(arrival.attempt.at) == arrival.at_us
        assert parse_rfc3339(arrival.attempt.payment.customer.account_created) <= arrival.at_us


def test_ids_are_unique_by_payment_and_hold_nothing_that_looks_like_a_card_number(many):
    assert len({a.attempt.payment.id for a in many}) == len(many)
    for arrival in many[:2000]:
        refuse_card_data(msgspec.json.encode(arrival.attempt))


def test_fraud_is_rare_and_of_the_three_typologies_of_the_shop(many):
    share = {t: sum(a.truth.typology == t for a in many) / len(many) for t in ("", *TYPOLOGIES)}
    assert 0.97 < share[""] < 0.995
    assert all(share[t] > 0.0005 for t in TYPOLOGIES[:3])
    assert share["enumeration"] == share["triangulation"] == 0


def test_reported_fraud_and_good_approval_are_near_what_the_file_says(many):
    living = Living(World.load("shop"), 1)
    routes = [route.id for route in living.world.parameters.routes]
    plain = [(a, [living.true_terms(a, Sent(r), NOTHING).approved for r in routes]) for a in many[:4000]]
    assert 0.0060 < sum(a.truth.report_probability * approval[0] for a, approval in plain) / len(plain) < 0.0150
    for approval in zip(*(approval for a, approval in plain if not a.truth.fraud), strict=True):
        assert 0.85 < sum(approval) / len(approval) < 0.91


def test_fifteen_to_thirty_percent_of_fraud_is_never_reported(many):
    frauds = [a.truth for a in many if a.truth.fraud]
    unreported = 1 - sum(t.report_probability for t in frauds) / len(frauds)
    assert 0.15 < unreported < 0.30
    assert unreported == pytest.approx(1 - sum(t.would_be_reported for t in frauds) / len(frauds), abs=0.08)


def test_delays_follow_their_priors(many):
    delays = sorted(a.truth.report_delay_us / DAY_US for a in many if a.truth.typology != "card_testing")
    assert delays[len(delays) // 2] == pytest.approx(11, rel=0.05)
    assert sum(d <= 30 for d in delays) / len(delays) == pytest.approx(0.87, abs=0.02)
    assert delays[-1] <= 120


def test_payers_come_back_to_the_same_shops_with_the_same_card_and_device(many):
    seen, known = set(), {"card": 0, "device": 0, "merchant": 0}
    people, good = set(), [a.attempt.payment for a in many if not a.truth.fraud]
    back = 0
    for p in good:
        keys = {"card": p.payment_method.card.fingerprint, "device": p.device.id, "merchant": p.merchant_id}
        back += p.customer.id in people
        for name, value in keys.items():
            known[name] += (p.customer.id, value) in seen
            seen.add((p.customer.id, value))
        people.add(p.customer.id)
    assert known["card"] > 0.75 * back
    assert known["device"] > 0.65 * back
    assert known["merchant"] > 0.5 * back


def test_a_world_is_known_by_the_hash_of_its_file(tmp_path):
    text = World.load("shop")
    copy = tmp_path / "copy.toml"
    copy.write_bytes(_shop().encode())
    assert World.load(copy).digest == text.digest
    copy.write_bytes(_shop().replace("count = 5000", "count = 5001").encode())
    assert World.load(copy).digest != text.digest


def test_an_unknown_world_and_a_misspelt_parameter_are_refused_with_a_hint(tmp_path):
    with pytest.raises(SettingsError, match="one of: calm, europe, shop, subscriptions, us"):
        load("shopp")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(_shop() + "\n[payers]\nsplurges = 0.1\n")
    with pytest.raises(SettingsError, match="cannot be used"):  # the table is there already
        load(wrong)
    wrong.write_text(_shop().replace("count = 5000", "splurges = 0.1"))
    with pytest.raises(SettingsError, match="splurge") as refused:
        load(wrong)
    assert refused.value.param == "payers.splurges" and refused.value.hint == "did you mean 'splurge'?"
    wrong.write_text(_shop().replace("kappa = 0.9\n", ""))
    with pytest.raises(SettingsError, match="missing required field") as refused:
        load(wrong)
    assert refused.value.param == "merchants[6].kappa"
    wrong.write_text(_shop().replace('id = "acq_west"', 'id = "acq_north"'))
    with pytest.raises(SettingsError, match="stands twice") as refused:
        load(wrong)
    assert refused.value.param == "routes"
    wrong.write_text(_shop().replace("seed = 17", 'seed = "seventeen"'))
    with pytest.raises(SettingsError, match="Expected `int`") as refused:
        load(wrong)
    assert refused.value.param == "seed"


@pytest.mark.parametrize(
    ("stated", "wrong", "param", "hint"),
    [
        ("kappa = 0.9", "kappa = 1.9", "merchants[6].kappa", "docs/worlds.md"),
        ("kappa = 0.9", "kappa = nan", "merchants[6].kappa", "docs/worlds.md"),
        ('code = "ES"', 'code = "Spain"', "countries", "such as DE"),
        ('currency = "EUR"', 'currency = "euro"', "currency", "such as EUR"),
        ('kind = "retail"', 'kind = "shop"', "kind", "one of retail, digital, travel, subscription"),
    ],
)
def test_what_cannot_be_is_refused_by_its_place(tmp_path, stated, wrong, param, hint):
    text, path = _shop(), tmp_path / "wrong.toml"
    assert stated in text
    path.write_text(text.replace(stated, wrong, 1))
    with pytest.raises(SettingsError, match="cannot be used") as refused:
        load(path)
    assert param in refused.value.param and hint in refused.value.hint


def test_a_merchant_of_one_price_only_has_no_unusual_amounts():
    world = World.load("calm")
    merchants = tuple(replace(each, amount_sigma=0.0) for each in world.parameters.merchants)
    fixed = World(replace(world.parameters, merchants=merchants), "")
    crowd = People(fixed.parameters, fixed.banks, seed=1, start_us=START_US).payments(START_US // DAY_US)
    assert not fixed.banks._amount_z(crowd).any()


def _shop():
    from importlib import resources

    return resources.files("greenlane.simulation").joinpath("worlds", "shop.toml").read_text()
