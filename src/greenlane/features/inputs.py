"""What a payment says about itself, as integers: computed once, here, for serving and for training alike."""

from typing import Final, get_args

from greenlane.features.definition import ABSENT
from greenlane.payments.attempt import Channel, Credential, Funding, Initiator, MethodType, Network
from greenlane.payments.facts import Facts
from greenlane.payments.times import HOUR_US, MINUTE_US

INPUTS: Final = (
    "amount_minor",
    "amount_reporting_minor",
    "minute_of_day",
    "hour",
    "weekday",
    "is_weekend",
    "is_night",
    "mcc",
    "channel",
    "initiator",
    "method",
    "network",
    "funding",
    "credential",
    "issuer_country",
    "ip_country",
    "billing_country",
    "issuer_ip_country_differ",
    "issuer_billing_country_differ",
    "is_proxy",
    "account_age_hours",
    "asn",
)
"""Monday is weekday 0, night is hours 0 to 6, all UTC of ingest. Codes count from 1 in the order of the API's words."""


def codes(words: tuple[str, ...]) -> dict[str, int]:
    """
    >>> codes(("pan", "network_token"))
    {'pan': 1, 'network_token': 2}
    """
    return {word: i for i, word in enumerate(words, 1)}


CHANNEL: Final = codes(get_args(Channel))
INITIATOR: Final = codes(get_args(Initiator))
METHOD: Final = codes(get_args(MethodType))
NETWORK: Final = codes(get_args(Network))
FUNDING: Final = codes(get_args(Funding))
CREDENTIAL: Final = codes(get_args(Credential))
LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COUNTRY: Final = codes(tuple(a + b for a in LETTERS for b in LETTERS))
MCC: Final = {f"{number:04}": number for number in range(10_000)}


def inputs(facts: Facts, ingest_us: int) -> tuple[int, ...]:
    """One integer per name of INPUTS, ABSENT where the request did not tell.

    >>> bread = Facts(payment_id="", payment_us=0, amount_minor=5, currency="EUR", amount_reporting_minor=5, mcc="5411")
    >>> told = dict(zip(INPUTS, inputs(bread, 2 * HOUR_US)))
    >>> told["mcc"], told["hour"], told["issuer_country"] == ABSENT
    (5411, 2, True)
    """
    minute = ingest_us // MINUTE_US
    hour = minute // 60 % 24
    weekday = (minute // 1440 + 3) % 7
    issuer = COUNTRY.get(facts.issuer_country, ABSENT)
    ip = COUNTRY.get(facts.ip_country, ABSENT)
    billing = COUNTRY.get(facts.billing_country, ABSENT)
    return (
        facts.amount_minor,
        facts.amount_reporting_minor,
        minute % 1440,
        hour,
        weekday,
        1 if weekday >= 5 else 0,
        1 if hour <= 6 else 0,
        MCC.get(facts.mcc, ABSENT),
        CHANNEL.get(facts.channel, ABSENT),
        INITIATOR.get(facts.initiator, ABSENT),
        METHOD.get(facts.method, ABSENT),
        NETWORK.get(facts.network, ABSENT),
        FUNDING.get(facts.funding, ABSENT),
        CREDENTIAL.get(facts.credential, ABSENT),
        issuer,
        ip,
        billing,
        ABSENT if issuer == ABSENT or ip == ABSENT else int(issuer != ip),
        ABSENT if issuer == ABSENT or billing == ABSENT else int(issuer != billing),
        ABSENT if facts.is_proxy < 0 else facts.is_proxy,
        ABSENT if facts.account_age_us < 0 else facts.account_age_us // HOUR_US,
        facts.asn or ABSENT,
    )
