"""The shape of a world file: every number a world is made of, to be read, compared and frozen by hash.

A world file states what is its own; all else it takes from the house's file (`worlds/house.toml`), where every figure
names its source. Tables are joined key by key, lists are taken whole.
"""

import difflib
import json
import math
import re
import tomllib
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from greenlane.errors import SettingsError
from greenlane.payments.attempt import Credential, Exemption

Typology = Literal["stolen_card", "card_testing", "account_takeover", "enumeration", "triangulation"]
Kind = Literal["retail", "digital", "travel", "subscription"]
Funding = Literal["debit", "credit", "prepaid"]
TYPOLOGIES: tuple[Typology, ...] = ("stolen_card", "card_testing", "account_takeover", "enumeration", "triangulation")
HOUSE: Final = "house"
PAYDAYS: Final = frozenset(map(str, range(29)))
MEANT: Final = {
    "kind": f"one of {', '.join(get_args(Kind))}",
    "exemptions": f"some of {', '.join(get_args(Exemption))}",
    "credentials": f"some of {', '.join(get_args(Credential))}",
    "country": "two capital letters of ISO 3166-1, such as DE",
    "code": "two capital letters of ISO 3166-1, such as DE",
    "currency": "three capital letters of ISO 4217, such as EUR",
}
MEASURED: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""The shares at which a measured delay states its days."""


Share = Annotated[float, Meta(ge=0, le=1)]
Weight = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Minor = Annotated[int, Meta(ge=0)]
CountryCode = Annotated[str, Meta(pattern="^[A-Z]{2}$")]


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The manner of all parts of a world file. Shares are weights: they need not sum to one."""


class Delay(Part, frozen=True):
    """Log-normal, cut at the end."""

    median_days: float
    sigma: float
    cut_days: float


class Payers(Part, frozen=True):
    """`paydays`: days of the month, or 0 for every second Friday, and the share of payers who are paid then."""

    count: int
    paydays: dict[str, float]
    payments_per_day: float
    payments_per_day_sigma: float
    joined_before_days: float
    joined_after_days: float
    amount_sigma: float
    hour_mean: float
    hour_sd_between: float
    hour_sd_within: float
    favourites_spread: float
    mail: tuple[float, ...]
    bank_abroad: float
    again: float
    again_minutes: float
    visitor: float
    visitor_account_days: float
    elsewhere: float
    splurge: float
    second_card: float
    second_card_share: float
    card_life_days: int
    device_life_days: int
    device_one_off: float
    second_device_share: float
    address_life_days: int
    mobile: float
    mobile_addresses: int
    abroad_week: float
    proxy: float
    gift: float
    token: float
    token_suspended: float
    updater: float
    friendly_delay: Delay
    patience_minutes: float
    returns: float
    returns_minutes: float


class Country(Part, frozen=True):
    code: CountryCode
    share: Weight
    stolen_share: Weight
    frictionless: Share
    challenge_success: Share
    utc_offset_hours: float


class Merchant(Part, frozen=True):
    """`margin` and `kappa` (unrecoverable share of the goods cost) are what a demonstration configures for it.

    A subscription charges its `subscribers` (a share of all payers) every `period_days` of itself.
    """

    id: str
    mcc: str
    kind: Kind
    country: CountryCode
    share: Weight
    amount_median_minor: Count
    amount_sigma: Weight
    margin: Share
    kappa: Share
    fraud_weight: Weight
    friendly: Share
    subscribers: Share = 0.0
    period_days: Count = 30


class Acquiring(Part, frozen=True):
    """A route, as the world sees it. `fee` is a share of the amount, `fee_abroad` that of cards that are foreign to the
    acquirer, `fee_debit` that of debit cards at home; the others are minor units.
    """

    id: str
    acquirer: str
    country: CountryCode
    log_odds: float
    fee: Share
    fee_minor: Minor
    declined_minor: Minor
    fee_abroad: Share | None = None
    fee_debit: Share | None = None
    credentials: tuple[Credential, ...] = ("pan", "network_token")
    exemptions: tuple[Exemption, ...] = ()
    tra_bps: Minor = 13
    tra_amount_max_minor: Minor = 10_000


class Approval(Part, frozen=True):
    """Effects on the latent scale of a good payer's approval, near log-odds in the middle; `sd`: of normal draws."""

    base: float
    issuer_sd: float
    bin_sd: float
    merchant_sd: float
    issuer_route_sd: float
    ceiling_low: float
    domestic: float
    token: float
    verification_value: float
    amount_z: float
    night: float
    prepaid: float
    mit: float
    chained: float
    unchained: float
    three_ds: float
    three_ds_elsewhere_mean: float
    three_ds_elsewhere_sd: float
    exempt: float
    issuer_concentration: float
    limit_median_minor: float
    limit_sigma: float
    limit_drop: float
    strict_hours: float
    strict_drop: float
    fraud_skill_sd: float
    drift_sd: float
    drift_days: int


class Interactions(Part, frozen=True):
    """Deviations of what holds for one issuer over one route only, before `interaction` multiplies them."""

    three_ds_sd: float
    exempt_sd: float
    token_sd: float
    retry_sd: float
    soft_decline_sd: float
    retry_authenticated: float


class Soft(Part, frozen=True):
    """Soft declines of payments in scope of strong authentication, in log-odds over issuers."""

    mandated: bool
    plain: float
    exempt: float
    issuer_sd: float


class Recovery(Part, frozen=True):
    """Approval of a retry as a share of what it was, by the cause of the last decline."""

    funds_at_once: float
    funds_waiting: float
    funds_payday: float
    funds_decay: float
    generic_at_once: float
    generic_cascade: float
    generic_waiting: float
    generic_decay: float
    technical_at_once: float
    technical_cascade: float
    technical_hours: float
    corrected: float
    repeats_code: float


class Memory(Part, frozen=True):
    """What an issuer remembers of a merchant in one card range: points, and what they cost there."""

    declined_retry: float
    declined: float
    reported: float
    half_life_days: float
    threshold: float
    weight: float


class Outages(Part, frozen=True):
    acquirer_per_day: Weight
    issuer_per_day: Weight
    median_minutes: Weight
    sigma: Weight
    full: Share
    partial_factor: Share
    timeouts: Share


class Issuers(Part, frozen=True):
    per_country: int
    shares: tuple[float, ...]
    bins: int
    visa: float
    funding: dict[Funding, float]


class Authentication(Part, frozen=True):
    unavailable: float
    issuer_sd: float
    latency_median_s: float
    latency_sigma: float
    fraud_frictionless_factor: float


class Review(Part, frozen=True):
    true_positive: float
    true_negative: float
    cancel: float
    hours: float


class Reporting(Part, frozen=True):
    log_odds_at_50: float
    per_log_amount: float
    report_only: float
    dispute_only: float
    dispute_days: tuple[float, float, float, float, float, float, float]


class Scheme(Part, frozen=True):
    """How one typology of fraud works."""

    episodes_per_day: float
    attempts_mean: float
    gap_minutes: float
    amount_shift: float
    amount_sigma: float
    approval_log_odds: float
    challenge_success: float
    crew_device: float
    own_country: float
    proxy: float
    disposable_mail: float
    aged_account: float
    report_delay: Delay
    same_range: float = 0.0


class Fraud(Part, frozen=True):
    adaptation: float
    crews: int
    crew_device_days: int
    crew_addresses: int
    crew_drops: int
    hour_mean: float
    hour_sd: float
    fresh_days: float
    aged_days: float
    drop: float
    claims_another_country: float
    hop: float
    like_the_victim: float
    moved: float
    stolen_card: Scheme
    card_testing: Scheme
    account_takeover: Scheme
    enumeration: Scheme
    triangulation: Scheme

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """In the order of `TYPOLOGIES`."""
        return tuple(getattr(self, name) for name in TYPOLOGIES)


class Declines(Part, frozen=True):
    """Network response codes and their shares, by who pays; `mit` where the payer is good and absent."""

    good: dict[str, float]
    mit: dict[str, float]
    stolen_card: dict[str, float]
    card_testing: dict[str, float]
    account_takeover: dict[str, float]
    enumeration: dict[str, float]
    triangulation: dict[str, float]


class Parameters(Part, frozen=True):
    name: Annotated[str, Meta(min_length=1)]
    seed: int
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    interaction: Annotated[float, Meta(ge=0)]
    payers: Payers
    countries: Annotated[tuple[Country, ...], Meta(min_length=1)]
    merchants: Annotated[tuple[Merchant, ...], Meta(min_length=1)]
    routes: Annotated[tuple[Acquiring, ...], Meta(min_length=1, max_length=32)]
    approval: Approval
    interactions: Interactions
    soft: Soft
    recovery: Recovery
    memory: Memory
    outages: Outages
    issuers: Issuers
    authentication: Authentication
    review: Review
    reporting: Reporting
    fraud: Fraud
    declines: Declines


def load(name_or_path: str | Path) -> tuple[Parameters, str]:
    """The parameters and their sha256, the house's among them: a world of the package by name, or a file by path.

    Raises SettingsError: `no_such_world`; `invalid_world` with `param`, the path of the field within the file.

    >>> parameters, digest = load("shop")
    >>> parameters.name, len(digest)
    ('shop', 64)
    """
    stated = _tables(_read(HOUSE), HOUSE)
    _joined(stated, _tables(_read(name_or_path), name_or_path))
    _finite(name_or_path, stated)
    try:
        parameters = msgspec.convert(stated, Parameters)
    except msgspec.ValidationError as problem:
        raise _invalid(name_or_path, str(problem)) from None
    _checked(name_or_path, parameters)
    return parameters, sha256(json.dumps(msgspec.to_builtins(parameters), sort_keys=True).encode()).hexdigest()


def _checked(name: str | Path, parameters: Parameters) -> None:
    """Names must be unique; someone must be able to pay."""
    for place, names in (
        ("countries", [country.code for country in parameters.countries]),
        ("merchants", [merchant.id for merchant in parameters.merchants]),
        ("routes", [route.id for route in parameters.routes]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise _invalid(name, f"{twice!r} stands twice - at `$.{place}`")
    if not set(parameters.payers.paydays) <= PAYDAYS:
        raise _invalid(name, "a payday is a day of the month up to 28, or 0 - at `$.payers.paydays`")
    for place, shares in (("countries", parameters.countries), ("merchants", parameters.merchants)):
        if not sum(part.share for part in shares) > 0:
            raise _invalid(name, f"shares add up to nothing - at `$.{place}`")


def _finite(name: str | Path, stated: Any, place: str = "$") -> None:
    if isinstance(stated, float) and not math.isfinite(stated):
        raise _invalid(name, f"{stated} is no number to count with - at `{place}`")
    if isinstance(stated, dict):
        for key, value in stated.items():
            _finite(name, value, f"{place}.{key}")
    if isinstance(stated, list):
        for at, value in enumerate(stated):
            _finite(name, value, f"{place}[{at}]")


def _tables(body: bytes, name: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(body.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise _invalid(name, str(problem)) from None


def _joined(onto: dict[str, Any], stated: dict[str, Any]) -> None:
    for key, value in stated.items():
        if isinstance(value, dict) and isinstance(onto.get(key), dict):
            _joined(onto[key], value)
        else:
            onto[key] = value


def _invalid(name: str | Path, problem: str) -> SettingsError:
    field = re.search(r"field `(\w+)`", problem)
    place = re.search(r"at `\$\.?([^`]*)`", problem)
    where = ".".join(part for part in (place and place[1], field and field[1]) if part)
    return SettingsError(
        f"world {str(name)!r} cannot be used: {problem}",
        code="invalid_world",
        param=where or None,
        hint=_hint(problem, where),
    )


def _hint(problem: str, where: str) -> str:
    field = where.rpartition(".")[2].partition("[")[0]
    if "unknown field" in problem:
        near = difflib.get_close_matches(field, _fields(Parameters), n=1)
        if near:
            return f"did you mean {near[0]!r}?"
    if ("enum" in problem or "regex" in problem) and field in MEANT:
        return MEANT[field]
    return "docs/worlds.md shows a world file; worlds/house.toml states the other fields with their meaning and source"


def _fields(part: type[Struct]) -> set[str]:
    """All names that a world file may hold."""
    found: set[str] = set()
    for other in [part, *Part.__subclasses__()]:
        found |= set(other.__struct_fields__)
    return found


def _read(name_or_path: str | Path) -> bytes:
    worlds = resources.files("greenlane.simulation").joinpath("worlds")
    packaged = worlds.joinpath(f"{name_or_path}.toml")
    if packaged.is_file():
        return packaged.read_bytes()
    try:
        return Path(name_or_path).read_bytes()
    except OSError:
        raise SettingsError(
            f"there is no world {str(name_or_path)!r}",
            code="no_such_world",
            hint=f"give a path, or one of: {', '.join(shipped())}",
        ) from None


def shipped() -> list[str]:
    """Names of the worlds of the package.

    >>> shipped()
    ['calm', 'europe', 'shop', 'subscriptions', 'us']
    """
    worlds = resources.files("greenlane.simulation").joinpath("worlds")
    return sorted(w.name.removesuffix(".toml") for w in worlds.iterdir() if w.name != f"{HOUSE}.toml")
