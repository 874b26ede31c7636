"""Everything the policy depends on besides the payment and its merchant, under one content hash."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import msgspec

from greenlane.errors import InputError
from greenlane.merchants.stakes import Perspective
from greenlane.payments.attempt import Frozen
from greenlane.policy.explore import Exploring
from greenlane.policy.plain import Plain
from greenlane.policy.priors import ELSEWHERE, GOOD_PAYERS, Priors

FORMULAS: Final = 2
"""Raised when a formula changes, so that the version does even where no parameter did."""

EPOCH_US: Final = 15 * 60 * 1_000_000
"""Multipliers, posteriors and model versions stand still for this long."""


class Policy(Frozen, frozen=True, omit_defaults=False, dict=True, gc=True):
    """The tenant's policy. `perspective` has no default: whose money is optimised must be said.

    >>> Policy(perspective="merchant").version == Policy(perspective="psp").version
    False
    """

    perspective: Perspective
    priors: Priors = Priors()
    exploring: Exploring = Exploring()
    plain: Plain | None = None
    """Something simpler than the value of actions, to be compared with it."""

    @cached_property
    def version(self) -> str:
        """Content hash of all parameters and of the formulas' number."""
        whole = msgspec.msgpack.encode((FORMULAS, EPOCH_US, self, sorted(GOOD_PAYERS.items()), ELSEWHERE))
        return hashlib.blake2b(whole, digest_size=8).hexdigest()


def changed(policy: Policy, *changes: Mapping[str, Any]) -> Policy:
    """With other parameters, what is left out as it was; InputError where there is no such parameter.

    >>> changed(Policy(perspective="merchant"), {"priors": {"fraud_approval_ppm": 500_000}}).priors.fraud_approval_ppm
    500000
    """
    plain: dict[str, Any] = msgspec.to_builtins(policy)
    for change in changes:
        if "perspective" in change:
            raise InputError("whose money counts is no experiment", param="$.policy.perspective", hint="leave it out")
        plain = _merged(plain, change)
    try:
        return msgspec.convert(plain, Policy)
    except msgspec.ValidationError as error:
        known = ", ".join(Policy.__struct_fields__[1:])
        raise InputError(str(error), param="$.policy", hint=f"parameters of the policy: {known}") from error


def _merged(before: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(before)
    for name, value in change.items():
        was = found.get(name)
        found[name] = _merged(was, value) if isinstance(was, dict) and isinstance(value, Mapping) else value
    return found


class Multipliers(Frozen, frozen=True, gc=True):
    """Online prices of the shared budgets of one merchant, in minor units; zero while a budget is not scarce.

    >>> Multipliers() == Multipliers(report_minor=0, review_minor=0)
    True
    """

    report_minor: int = 0
    """S_report: one more reported fraud, towards the programmes of the merchant's networks."""
    dispute_minor: int = 0
    """S_dispute: one more dispute towards them."""
    review_minor: int = 0
    """lambda_rev: one more payment in the review queue."""
    band_micro: Mapping[str, int] = {}
    """lambda_acq x 10^6 by acquirer: the price of a unit of fraud above the reference rate of its exemption band."""


def epoch_of(ingest_us: int) -> int:
    """The number of the policy epoch.

    >>> epoch_of(0), epoch_of(EPOCH_US)
    (0, 1)
    """
    return ingest_us // EPOCH_US
