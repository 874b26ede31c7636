"""What a merchant's payments earn, lose and cost: the body of `PUT /v1/merchants/{id}`.

Rates are integers in ppm (350_000 = 35 %), money is integer minor units of the tenant's reporting currency: there is no
binary float in configuration, so two machines that hold the same configuration hold the same bits.

Defaults are for a currency with two decimals, about a euro or a dollar. Where each comes from stands at the field:
"sourced" figures have a published origin, "assumed" ones are ours and meant to be replaced by the merchant's own.
"""

import hashlib
from functools import cached_property
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from greenlane.merchants.fees import Schedule
from greenlane.payments.attempt import AmountMinor, Country, Credential, Currency, Exemption, Frozen, Id, Network

Ppm = Annotated[int, Meta(ge=0, le=1_000_000, description="a share in parts per million")]
CostMinor = Annotated[int, Meta(ge=0, le=10**9, description="integer minor units of the reporting currency")]
Mcc = Annotated[str, Meta(pattern=r"^[0-9]{4}$", description="ISO 18245 merchant category code")]


class Fees(Frozen, frozen=True, omit_defaults=False):
    """What an attempt costs: `pct_ppm` of the amount + `fixed_minor` if approved, `declined_minor` if not.

    >>> Fees().approved_minor(10_000)
    230.0
    """

    pct_ppm: Ppm = 20_000
    """All percentages together: interchange, scheme, acquirer. Assumed: blended 1.4 to 2.9 %."""
    fixed_minor: CostMinor = 30
    """Assumed: 0.20 to 0.30."""
    declined_minor: CostMinor = 5
    """The authorisation fee is due for a decline too. Assumed: 0.01 to 0.05."""

    def approved_minor(self, amount_minor: int) -> float:
        return self.pct_ppm * amount_minor / 1_000_000 + self.fixed_minor


class TraBand(Frozen, frozen=True, omit_defaults=False):
    """A band of the transaction risk analysis exemption that an acquirer is in: its reference rate and its amount.

    RTS 2018/389, annex: remote card fraud of the acquirer <= 13 bps of value lets it ask up to EUR 100, <= 6 bps up to
    250, <= 1 bp up to 500; amounts here are in the tenant's reporting currency.

    >>> TraBand().amount_max_minor
    10000
    """

    reference_bps: Annotated[int, Meta(ge=0, le=10_000)] = 13
    amount_max_minor: AmountMinor = 10_000


class RouteTerms(Frozen, frozen=True, omit_defaults=False):
    """A route the merchant has: what it takes, where its acquirer is, what it costs (absent: the merchant's `fees`)."""

    id: Id
    network: Network | None = None
    credentials: Annotated[tuple[Credential, ...], Meta(min_length=1, max_length=2)] = ("pan", "network_token")
    acquirer: Id | None = None
    """Routes of one acquirer share its exemption band. Absent: the attempt's, else the route is its own."""
    acquirer_country: Country | None = None
    fees: Fees | None = None
    schedule: Schedule | None = None
    """A price list; what it does not price costs `fees`, and an authentication it does not price `challenge_minor`."""
    token_requestors: Annotated[tuple[Id, ...], Meta(max_length=32)] = ()
    """Whose network tokens it takes; none named: anybody's."""
    currencies: Annotated[tuple[Currency, ...], Meta(max_length=64)] = ()
    """What it can be charged in; none named: anything."""
    accepts_network_transaction_id: bool = True
    """Whether a merchant-initiated payment can be chained to a first one made elsewhere."""
    exemptions: Annotated[tuple[Exemption, ...], Meta(max_length=5)] = ()
    """Which exemptions of strong authentication its acquirer asks for on request."""
    tra_band: TraBand = TraBand()


class Economics(Frozen, frozen=True, omit_defaults=False, dict=True, gc=True):
    """One merchant's money. Every field has a stated default; `inherit` adjusts them by MCC group and country.

    >>> Economics(margin_ppm=800_000).margin_ppm
    800000
    """

    mcc: Mcc | None = None
    country: Country | None = None

    # what a good payment earns
    margin_ppm: Ppm = 350_000
    """m. Assumed: retail .25-.45, digital .7-.9, travel .05-.15, marketplace .1."""
    fees: Fees = Fees()
    """f_r and c_r of routes that state none of their own."""
    routes: Annotated[tuple[RouteTerms, ...], Meta(max_length=32)] = ()
    """Used when an attempt names none; their order is the static priority."""

    # what a fraudulent approval costs: L(A), see `stakes.py`
    unrecoverable_ppm: Ppm = 1_000_000
    """kappa, unrecoverable share of goods cost. Assumed: shipped 1, stoppable .3, digital .1."""
    dispute_fee_minor: CostMinor = 1_500
    """F_cb. Sourced: 15 to 100, USD/GBP 15 typical."""
    handling_minor: CostMinor = 500
    """O_ops, the work on one dispute. Assumed; with the fee it makes the 20 of the break-even table."""
    unrefunded_ppm: Ppm = 1_000_000
    """Share of the route's fees that a reversed payment does not give back. Assumed: all."""

    # first-party disputes: such a payer passes every challenge
    dispute_ppm: Ppm = 2_000
    """d, P(first-party dispute). Assumed."""
    fraud_disputed_ppm: Ppm = 800_000
    """P(reported fraud is disputed too, if nobody else bears it). Assumed: both in 65 of 80 reports."""
    dispute_cost_minor: CostMinor | None = None
    """D. Absent: margin and goods are lost, plus fee and handling."""

    # what turning a good payer away costs
    false_decline_minor: CostMinor = 800
    """C_fd. Sourced: 41 % say never again, which overstates; assumed: .10-.25 of a lifetime margin of 30-150."""
    other_method_value_ppm: Ppm = 150_000
    """V_other_method as a share of the margin: a blocked good payer may pay in another way. Assumed."""
    lost_sale_minor: CostMinor = 200
    """C_lost: cost of a lost sale beyond its margin; the issuer is blamed for most of it. Assumed."""
    payer_retry_ppm: Ppm = 300_000
    """rho, P(payer retries unasked). Assumed."""
    payer_retry_value_ppm: Ppm = 500_000
    """V_payer_retry as a share of the margin. Assumed: about every second retry succeeds."""
    churn_ppm: Ppm = 100_000
    """P(a declined payment without payer ends the contract). Assumed."""
    residual_value_minor: CostMinor = 6_000
    """What that contract was still worth. Assumed: lifetime margin of 30 to 150."""

    # authentication
    challenge_minor: CostMinor = 5
    """c_3ds. Assumed: .03 to .10."""
    abandonment_minor: CostMinor = 400
    """C_ab: a good payer fails or leaves the challenge, beyond the margin. Assumed: half of a false decline."""
    shifted_ppm: Ppm = 950_000
    """omega, share of fraud disputes shifted to the issuer. Assumed: .90 to .97."""
    sca_mandated: bool = False
    """The merchant leaves mandated SCA to Greenlane: in scope it is then exemption, challenge or block."""
    low_value_max_minor: AmountMinor = 3_000
    """Sourced: RTS 2018/389 art. 16, EUR 30. The issuer counts; a soft decline is the safeguard."""
    soft_decline_minor: CostMinor = 10
    """c_soft beyond the fee of a declined attempt: the payer waits. Assumed."""

    # review
    review_minor: CostMinor = 300
    """c_rev. Sourced: 10 to 15 minutes per order; assumed 2 to 5 from that."""
    review_cancel_ppm: Ppm = 30_000
    """k_c, P(good payer cancels in review). Assumed."""
    review_cancel_minor: CostMinor = 400
    """C_cancel. Assumed: half of a false decline."""
    review_true_positive_ppm: Ppm = 750_000
    """TPR: fraud that reviewers stop. Assumed."""
    review_true_negative_ppm: Ppm = 950_000
    """TNR: good payments that reviewers pass. Assumed (sourced: 82 % of all reviewed are approved)."""

    # the other perspective: a PSP earns its take and carries the merchant's insolvency
    take_ppm: Ppm = 29_000
    take_minor: CostMinor = 30
    """Assumed: blended PSP prices of 1.4-2.9 % + 0.20-0.30."""
    insolvency_ppm: Ppm = 5_000
    """P(merchant insolvent while the payment can come back). Assumed."""
    fines_minor: CostMinor = 800
    """Sourced: USD 8 per fraud or dispute item of an excessive merchant."""

    # caps
    amount_max_minor: AmountMinor | None = None
    """Hard stop above; absent: none."""
    unscored_amount_max_minor: AmountMinor = 10_000
    """Allowed without a fraud probability up to here (failing open); above it challenge, review or block. Assumed."""
    default_intervention: Literal["allow", "challenge", "review", "block"] = "allow"
    """The declared answer when there is no time left to value anything."""

    @cached_property
    def version(self) -> str:
        """Content hash of every field, defaults included."""
        return hashlib.blake2b(msgspec.msgpack.encode(self), digest_size=8).hexdigest()

    @cached_property
    def route_terms(self) -> dict[str, RouteTerms]:
        return {terms.id: terms for terms in self.routes}
