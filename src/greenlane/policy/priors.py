"""What is believed of approval and authentication where no model has learned it: stated priors, as configuration.

Log-odds are integers in thousandths, shares in ppm. All are assumptions of ours around published ranges: approval from
decline rates of 10-14 % (payer present) and 18-25 % (not), domestic against cross-border acquiring 92 against 78 %,
tokens +3 to 4 %; authentication from vendors' rankings. Fraudsters' figures have no public source: they are configured
with a range to try (`FRAUD_APPROVAL_RANGE_PPM`), and a decision that flips inside it should not be trusted blindly.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from greenlane.merchants.regions import EEA
from greenlane.payments.attempt import Frozen
from greenlane.policy.value import Authentication

FRAUD_APPROVAL_RANGE_PPM: Final = (500_000, 950_000)
"""Where q_f / q_g plausibly lies: choosing with `Priors(fraud_approval_ppm=...)` at both ends shows its weight."""


class Priors(Frozen, frozen=True, omit_defaults=False, gc=True):
    """Log-odds (x 1000) of a good payer's approval, and shares (ppm) of authentication.

    >>> Priors().approved_millilogit
    1992
    """

    approved_millilogit: int = 1_992
    """88 %: payer present, domestic, PAN."""
    approved_mit_millilogit: int = 1_295
    """78.5 %: payer not present."""
    cross_border_millilogit: int = -450
    network_token_millilogit: int = 300
    cvv_present_millilogit: int = 250
    mit_chained_millilogit: int = 400
    """The network transaction id of the first payment is sent along."""
    mit_unchained_millilogit: int = -600
    three_ds_europe_millilogit: int = 350
    three_ds_us_millilogit: int = -260
    """-3 points near 88 %; by issuer it varies with a standard deviation of 6 points: learn it."""
    exempt_millilogit: int = 0
    """Beyond the soft declines, which are counted apart."""
    soft_decline_ppm: int = 80_000
    """delta, P(1A or 65 | exemption asked for): they are about 6 % of all declines, most of them of such attempts."""
    fraud_approval_ppm: int = 700_000
    """q_f / q_g."""
    frictionless_fraud_ppm: int = 500_000
    """phi_f / phi_g: issuers wave fewer fraudsters through."""
    success_fraud_ppm: int = 60_000
    """s_f."""
    unavailable_ppm: int = 15_000
    """u: technical failure of 1 to 2 %."""
    declined_ratio_e3: tuple[int, int, int, int] = (1_000, 2_000, 5_000, 13_000)
    """P(code | fraud) / P(code | good) x 1000 by the code's fraud signal, 0 to 3 (`payments/data/response_codes`). Over
    the usual mix of declines it averages 3.2, which is (1-q_f) / (1-q_g) of the figures above."""
    cvv_match_ratio_e3: int = 800
    cvv_mismatch_ratio_e3: int = 5_000
    avs_match_ratio_e3: int = 700
    avs_mismatch_ratio_e3: int = 2_000
    """P(result | fraud) / P(result | good) x 1000 of the issuer's answers on security code and address."""


class GoodPayer(NamedTuple):
    """phi_g and s_g, ppm."""

    frictionless_ppm: int
    success_ppm: int


class Payer(NamedTuple):
    """What was learned of a good payer: phi_g, s_g and u, ppm."""

    frictionless_ppm: int
    success_ppm: int
    unavailable_ppm: int


GOOD_PAYERS: Final[Mapping[str, GoodPayer]] = MappingProxyType(
    {
        "GB": GoodPayer(650_000, 930_000),
        "NL": GoodPayer(600_000, 920_000),
        "FR": GoodPayer(350_000, 900_000),
        "DE": GoodPayer(450_000, 860_000),
        "ES": GoodPayer(500_000, 850_000),
        "IT": GoodPayer(500_000, 850_000),
        "US": GoodPayer(750_000, 800_000),
        "JP": GoodPayer(700_000, 850_000),
        "IN": GoodPayer(0, 850_000),
    }
)
ELSEWHERE: Final = GoodPayer(500_000, 850_000)


class Approval(NamedTuple):
    """Over one way, integers 1e-9: P(approved) of a good and a fraudulent payer, plain, after a passed authentication,
    and with an exemption that was not soft-declined; and P(soft decline | exemption)."""

    good_e9: int
    fraud_e9: int
    good_3ds_e9: int
    fraud_3ds_e9: int
    good_exempt_e9: int
    fraud_exempt_e9: int
    soft_decline_e9: int


class Situation(NamedTuple):
    """What the approval prior looks at."""

    payer_present: bool
    chained: bool
    token: bool
    cvv_present: bool
    issuer_country: str | None


@lru_cache(maxsize=4096)
def approval(priors: Priors, situation: Situation, *, acquirer_country: str | None) -> Approval:
    """Approval over a route whose acquirer is in `acquirer_country`; unknown countries count as domestic.

    >>> plain = Situation(payer_present=True, chained=False, token=False, cvv_present=False, issuer_country="DE")
    >>> approval(Priors(), plain, acquirer_country="DE").good_e9
    879954567
    """
    domestic = acquirer_country is None or situation.issuer_country in (None, acquirer_country)
    plain = _log_odds(priors, situation) + (0 if domestic else priors.cross_border_millilogit)
    good_e9 = _probability_e9(plain)
    good_3ds_e9 = _probability_e9(plain + _three_ds_shift(priors, situation.issuer_country))
    good_exempt_e9 = _probability_e9(plain + priors.exempt_millilogit)
    return Approval(
        good_e9,
        fraud_approval_e9(priors, good_e9),
        good_3ds_e9,
        fraud_approval_e9(priors, good_3ds_e9),
        good_exempt_e9,
        fraud_approval_e9(priors, good_exempt_e9),
        soft_decline_e9=priors.soft_decline_ppm * 1_000,
    )


def fraud_approval_e9(priors: Priors, good_e9: int) -> int:
    """q_f from q_g, by the stated ratio: it is never learned from approved traffic."""
    return good_e9 * priors.fraud_approval_ppm // 1_000_000


def authentication(priors: Priors, issuer_country: str | None, payer: Payer | None = None) -> Authentication:
    """How payers fare in 3-D Secure: as was learned of them, else as is stated of their issuer's country.

    >>> authentication(Priors(), "IN").frictionless_good
    0.0
    """
    good = payer or GOOD_PAYERS.get(issuer_country or "", ELSEWHERE)
    return Authentication(
        frictionless_good=good.frictionless_ppm / 1e6,
        success_good=good.success_ppm / 1e6,
        frictionless_fraud=good.frictionless_ppm * priors.frictionless_fraud_ppm / 1e12,
        success_fraud=priors.success_fraud_ppm / 1e6,
        unavailable=(priors.unavailable_ppm if payer is None else payer.unavailable_ppm) / 1e6,
    )


def _log_odds(priors: Priors, situation: Situation) -> int:
    if situation.payer_present:
        base = priors.approved_millilogit
    else:
        chain = priors.mit_chained_millilogit if situation.chained else priors.mit_unchained_millilogit
        base = priors.approved_mit_millilogit + chain
    token = priors.network_token_millilogit if situation.token else 0
    return base + token + (priors.cvv_present_millilogit if situation.cvv_present else 0)


def _three_ds_shift(priors: Priors, issuer_country: str | None) -> int:
    if issuer_country == "US":
        return priors.three_ds_us_millilogit
    return priors.three_ds_europe_millilogit if issuer_country in EEA or issuer_country == "GB" else 0


def _probability_e9(millilogit: int) -> int:
    return round(1e9 / (1.0 + math.exp(-millilogit / 1e3)))
