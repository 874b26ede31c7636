"""Attempts whose approval depends on issuer and route together, on the amount, the mode and the attempt's number."""

import numpy as np

from greenlane.learning.approval_set import Sample, Samples
from greenlane.models.approval_rows import AUTHENTICATED, Situation
from greenlane.payments.facts import Facts

ROUTES = {"acq_a": ("north", "DE"), "acq_b": ("south", "FR")}
MINUTE_US = 60_000_000


def log_odds_of(issuer: int, route: str, *, amount: int, mode: int, attempt_no: int) -> float:
    home = 0.8 if (issuer % 2 == 0) == (route == "acq_a") else -0.4
    return 1.4 + home - 0.4 * np.log(amount / 5_000) + 0.5 * (mode == AUTHENTICATED) - 2.5 * (attempt_no > 1)


def facts_of(issuer: int, *, amount: int, card: int = 1, payment: str = "p") -> Facts:
    return Facts(
        payment_id=payment, payment_us=0, amount_minor=amount, currency="EUR", amount_reporting_minor=amount,
        merchant_id=f"shop_{issuer % 3}", mcc="5651", card=card, bin8=f"4000{issuer:04d}", network="visa",
        funding="debit", issuer_id=f"iss_{issuer}", issuer_country="DE" if issuer % 2 == 0 else "FR",
    )  # fmt: skip


def answered(attempts: int, *, seed: int = 0) -> Samples:
    rng, samples = np.random.default_rng(seed), Samples(routes=dict(ROUTES))
    for n in range(attempts):
        issuer, route = int(rng.integers(10)), ("acq_a", "acq_b")[int(rng.integers(2))]
        amount, mode = int(rng.integers(500, 40_000)), int(rng.integers(3))
        attempt_no = 2 if rng.random() < 0.1 else 1
        z = log_odds_of(issuer, route, amount=amount, mode=mode, attempt_no=attempt_no)
        last = ("do_not_honor", n * MINUTE_US, "acq_a") if attempt_no > 1 else ("", 0, "")
        situation = Situation(
            facts_of(issuer, amount=amount, card=n), (n + 60) * MINUTE_US, attempt_no, False, True, *last
        )
        approved = bool(rng.random() < 1 / (1 + np.exp(-z)))
        samples.rows.append(Sample(situation, route, "pan", mode, approved, 1.0))
    return samples
