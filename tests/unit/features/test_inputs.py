import datetime

from unit.features.cases import HOUR, facts

from greenlane.features.definition import ABSENT
from greenlane.features.inputs import INPUTS, inputs


def told(ingest_us: int = 0, **known):
    return dict(zip(INPUTS, inputs(facts(**known), ingest_us), strict=True))


def test_clock_is_utc_of_ingest():
    for text in ("2026-11-21T23:59:59", "2026-11-22T06:30:00", "1969-12-31T07:00:00", "2024-02-29T12:00:00"):
        when = datetime.datetime.fromisoformat(text + "+00:00")
        found = told(int(when.timestamp()) * 1_000_000)
        assert (found["hour"], found["minute_of_day"]) == (when.hour, 60 * when.hour + when.minute)
        assert (found["weekday"], found["is_weekend"]) == (when.weekday(), int(when.weekday() >= 5))
        assert found["is_night"] == int(when.hour <= 6)


def test_what_the_request_does_not_tell_is_absent():
    found = told()
    missing = ("mcc", "network", "funding", "credential", "issuer_country", "ip_country", "billing_country", "is_proxy",
               "account_age_hours", "asn", "issuer_ip_country_differ", "issuer_billing_country_differ")  # fmt: skip
    assert {name for name, value in found.items() if value == ABSENT} == set(missing)


def test_words_outside_the_vocabulary_are_absent():
    found = told(mcc="54x1", network="barter", issuer_country="de")
    assert found["mcc"] == found["network"] == found["issuer_country"] == ABSENT


def test_codes_are_stable():
    """Models are trained on these numbers: a changed one is a changed feature."""
    found = told(
        channel="pos", initiator="mit", method="blik", network="other", funding="debit", credential="network_token",
        issuer_country="AA", ip_country="ZZ", billing_country="AA", mcc="0042",
    )  # fmt: skip
    assert [found[name] for name in ("channel", "initiator", "method", "network", "funding", "credential")] == [
        4, 2, 7, 11, 2, 2,
    ]  # fmt: skip
    assert (found["issuer_country"], found["ip_country"], found["mcc"]) == (1, 676, 42)
    assert (found["issuer_ip_country_differ"], found["issuer_billing_country_differ"]) == (1, 0)


def test_zero_is_told():
    found = told(is_proxy=0, account_age_us=HOUR - 1, amount_minor=0)
    assert (found["is_proxy"], found["account_age_hours"], found["amount_minor"]) == (0, 0, 0)
