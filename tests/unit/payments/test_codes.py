from typing import get_args

import pytest

from greenlane.payments import codes
from greenlane.payments.attempt import Network
from greenlane.payments.tables import rows

TABLES = {
    "response_codes": (codes.declines, 110),
    "visa_categories": (codes.visa_categories, 42),
    "mastercard_mac": (codes.mastercard_advice, 21),
    "network_retry_limits": (codes.retry_limits, 15),
    "ach_return_codes": (codes.ach_returns, 70),
    "sepa_reason_codes": (codes.sepa_reasons, 31),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_row_loads_under_its_own_key_and_names_its_source(name: str) -> None:
    load, count = TABLES[name]
    assert len(load()) == count == len(rows(name))
    assert all(row.source for row in load().values())
    assert load() is load()


def test_every_visa_category_agrees_with_the_response_codes() -> None:
    for (network, code), decline in codes.declines().items():
        own = codes.visa_categories().get(code)
        if own is not None and decline.visa_category is not None and network in ("visa", "*"):
            assert decline.visa_category == own.category, (network, code)


def test_visa_allows_twenty_reattempts_since_may_2025_and_fifteen_before() -> None:
    now, before = codes.retry_limits()["VISA_CAT234_20"], codes.retry_limits()["VISA_CAT234_15"]
    assert (now.max_attempts, before.max_attempts) == (20, 15)
    assert now.effective_from == before.effective_to == "2025-05-19"
    assert "initiator(CIT|MIT)" in now.scope_key
    assert {c.max_reattempts_30d for c in codes.visa_categories().values() if c.category > 1} == {20}


def test_visa_category_one_is_never_on_any_route() -> None:
    first = [c for c in codes.visa_categories().values() if c.category == 1]
    assert {c.code for c in first} == {"04", "07", "12", "14", "15", "41", "43", "46", "57", "R0", "R1", "R3"}
    assert {c.max_reattempts_30d for c in first} == {0}
    assert {codes.decline_of("visa", c.code).cascade for c in first} == {"no"}
    limit = codes.retry_limits()["VISA_CAT1"]
    assert (limit.max_attempts, limit.window) == (0, "unbounded")


@pytest.mark.parametrize("code", ["03", "62", "78", "93"])
def test_codes_once_thought_final_are_category_two(code: str) -> None:
    assert codes.visa_category_of(code).category == 2


@pytest.mark.parametrize(
    ("code", "visa", "mastercard"),
    [
        ("65", "velocity_exceeded", "sca_required"),
        ("70", "sca_required", "refer_to_issuer"),
        ("78", "card_inactive", "invalid_account"),
        ("83", "suspected_fraud", "fraud_security"),
    ],
)
def test_the_same_code_means_another_thing_on_another_network(code: str, visa: str, mastercard: str) -> None:
    assert codes.decline_of("visa", code).category == visa
    assert codes.decline_of("mastercard", code).category == mastercard


@pytest.mark.parametrize("code", ["79", "80", "81", "82"])
def test_these_differ_between_visa_and_mastercard_too(code: str) -> None:
    assert codes.decline_of("visa", code).network != "mastercard"
    assert codes.decline_of("mastercard", code).network == "mastercard"


@pytest.mark.parametrize("code", ["79", "82", "83"])
def test_mastercards_umbrella_codes_are_read_by_their_advice(code: str) -> None:
    assert codes.decline_of("mastercard", code).retry_policy == "by_mac"
    assert codes.advice_of("01", code) is not codes.advice_of("01", "05")


def test_advice_without_a_known_code_is_no_advice_to_retry() -> None:
    assert codes.advice_of("", "51") is None
    assert codes.decline_of("mastercard", "no such code").retry_policy == "never"


def test_an_unknown_code_is_treated_as_hard() -> None:
    for network in ("visa", "other", "no such network"):
        unknown = codes.decline_of(network, "no such code")
        assert (unknown.category, unknown.decline_class, unknown.cascade) == ("unknown", "hard", "no")


def test_a_code_is_looked_up_on_its_network_then_on_any() -> None:
    assert codes.decline_of("elo", "51") is codes.declines()["*", "51"]
    assert codes.decline_of("visa", "N7").network == "visa"
    assert codes.decline_of("mastercard", "N7") is codes.UNKNOWN


def test_a_timeout_is_reversed_before_anything_else() -> None:
    timeout = codes.decline_of("gateway", "TO")
    assert (timeout.decline_class, timeout.retry_policy, timeout.cascade) == (
        "unknown",
        "reverse_then_retry",
        "after_reversal",
    )


def test_every_network_of_the_tables_is_one_of_the_api() -> None:
    known = {*get_args(Network), "*", "gateway"}
    assert {network for network, _ in codes.declines()} <= known
