import msgspec
import pytest
from msgspec.structs import replace

from greenlane.errors import InputError
from greenlane.journal.freeze import Reporting, freeze, network_of
from greenlane.payments.attempt import Attempt, Card, Customer, Device, LocalMethod, Payment, PaymentMethod
from greenlane.ports.subjects import MemorySubjects
from greenlane.settings import Rate

EUR = Reporting(
    "EUR", {"USD": Rate(rate_e12=500_000_000_000, date="2026-11-21"), "JPY": Rate(6_250_000_000, "2026-11-21")}
)
BARE = Attempt(
    attempt_id="att_1",
    payment=Payment(
        id="pay_1",
        amount=1999,
        currency="EUR",
        merchant_id="m",
        payment_method=PaymentMethod(card=Card(fingerprint="fp")),
    ),
)


def frozen(attempt: Attempt, *, payment_us: int | None = None):
    return freeze(attempt, subjects=MemorySubjects(), reporting=EUR, ingest_us=5_000_000, payment_us=payment_us)


def with_payment(**fields: object) -> Attempt:
    return replace(BARE, payment=replace(BARE.payment, **fields))


def test_what_is_not_told_is_absent() -> None:
    facts = frozen(BARE)
    assert facts.card != 0 and facts.payment_us == 5_000_000 and facts.attempt_id == "att_1"
    assert (facts.customer, facts.email, facts.device, facts.ip, facts.ip24, facts.bin8) == (0, 0, 0, 0, "", "")
    assert (facts.is_proxy, facts.account_age_us, facts.intervention) == (-1, -1, "")


def test_no_identifier_is_kept_as_it_came() -> None:
    attempt = with_payment(
        customer=Customer(
            id="cus_secret", email_hash="email_secret", phone_hash="phone_secret", email_domain="Example.COM"
        ),
        device=Device(id="dev_secret", ip="203.0.113.77", is_proxy=False),
        payment_method=PaymentMethod(card=Card(fingerprint="fp_secret", par="par_secret", bin="400000")),
        shipping_hash="ship_secret",
    )
    facts = frozen(attempt)
    kept = msgspec.msgpack.encode(facts)
    assert b"secret" not in kept and b"203.0" not in kept
    subjects = (facts.card, facts.par, facts.customer, facts.email, facts.phone, facts.device, facts.ip, facts.shipping)
    assert len(set(subjects)) == 8 and 0 not in subjects
    assert (facts.email_domain, facts.is_proxy, facts.bin8) == ("example.com", 0, "400000")


def test_neighbours_share_the_network_and_nothing_else() -> None:
    one, two = (frozen(with_payment(device=Device(ip=f"203.0.113.{n}"))) for n in (1, 2))
    assert one.ip24 == two.ip24 != "" and one.ip != two.ip


@pytest.mark.parametrize(
    ("amount", "currency", "reporting_minor"),
    [(1999, "EUR", 1999), (1, "USD", 0), (3, "USD", 2), (5, "USD", 2), (100, "JPY", 62), (300, "JPY", 188)],
)
def test_amounts_are_counted_in_one_currency_half_to_even(amount: int, currency: str, reporting_minor: int) -> None:
    facts = frozen(with_payment(amount=amount, currency=currency))
    assert (facts.amount_minor, facts.currency, facts.amount_reporting_minor) == (amount, currency, reporting_minor)


def test_a_currency_without_a_rate_is_refused_with_a_way_out() -> None:
    with pytest.raises(InputError) as refused:
        frozen(with_payment(currency="GBP"))
    assert (refused.value.code, refused.value.param) == ("currency_not_configured", "$.payment.currency")
    assert "[rates.GBP]" in (refused.value.hint or "")


def test_account_age_is_counted_to_the_payments_own_time() -> None:
    attempt = with_payment(customer=Customer(account_created="1970-01-01T00:00:03Z"))
    assert frozen(attempt).account_age_us == 2_000_000
    assert frozen(attempt, payment_us=3_500_000).account_age_us == 500_000
    assert frozen(attempt, payment_us=1).account_age_us == 0


def test_other_methods_have_their_own_instrument() -> None:
    ideal = PaymentMethod(type="ideal", ideal=LocalMethod(fingerprint="fp", bank_country="NL"))
    facts = frozen(with_payment(payment_method=ideal))
    assert facts.method == "ideal" and facts.card != frozen(BARE).card
    assert (facts.network, facts.funding, facts.credential, facts.issuer_country) == ("", "", "", "NL")


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("10.1.2.3", "10.1.2"),
        ("::ffff:10.1.2.3", "10.1.2"),
        ("2001:db8:1::9", "2001:0db8:0001"),
        ("not an ip", "not an ip"),
    ],
)
def test_networks_of_addresses(ip: str, network: str) -> None:
    assert network_of(ip) == network
