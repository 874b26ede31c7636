"""The shape of a world file: every number a world is made of, to be read, compared and frozen by hash."""

import tomllib
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from greenlane.errors import SettingsError

Typology = Literal["stolen_card", "card_testing", "account_takeover"]
Funding = Literal["debit", "credit", "prepaid"]
TYPOLOGIES: tuple[Typology, ...] = ("stolen_card", "card_testing", "account_takeover")


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The manner of all parts of a world file. Shares are weights: they need not sum to one."""


class Delay(Part, frozen=True):
    """Log-normal, cut at the end."""

    median_days: float
    sigma: float
    cut_days: float


class Payers(Part, frozen=True):
    count: int
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
    friendly_delay: Delay


class Country(Part, frozen=True):
    code: str
    share: float
    stolen_share: float
    frictionless: float
    challenge_success: float
    utc_offset_hours: float


class Merchant(Part, frozen=True):
    """`margin` and `kappa` (unrecoverable share of the goods cost) are what a demonstration configures for it."""

    id: str
    mcc: str
    kind: Literal["retail", "digital", "travel"]
    country: str
    share: float
    amount_median_minor: int
    amount_sigma: float
    margin: float
    kappa: float
    fraud_weight: float
    friendly: float


class Acquiring(Part, frozen=True):
    """A route, as the world sees it. `fee` is a share of the amount; the others are minor units."""

    id: str
    acquirer: str
    country: str
    log_odds: float
    fee: float
    fee_minor: int
    declined_minor: int


class Approval(Part, frozen=True):
    """Effects in log-odds."""

    base: float
    issuer_sd: float
    issuer_route_sd: float
    merchant_sd: float
    domestic: float
    token: float
    verification_value: float
    amount_z: float
    night: float
    prepaid: float
    three_ds: float
    three_ds_elsewhere_mean: float
    three_ds_elsewhere_sd: float
    issuer_concentration: float


class Issuers(Part, frozen=True):
    per_country: int
    shares: tuple[float, ...]
    bins: int
    visa: float
    funding: dict[Funding, float]


class Authentication(Part, frozen=True):
    unavailable: float
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
    dispute_delay: Delay


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


class Fraud(Part, frozen=True):
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
    same_range: float
    hop: float
    like_the_victim: float
    moved: float
    stolen_card: Scheme
    card_testing: Scheme
    account_takeover: Scheme

    @property
    def schemes(self) -> tuple[Scheme, Scheme, Scheme]:
        return self.stolen_card, self.card_testing, self.account_takeover


class Declines(Part, frozen=True):
    """Network response codes and their shares."""

    good: dict[str, float]
    stolen_card: dict[str, float]
    card_testing: dict[str, float]
    account_takeover: dict[str, float]


class Parameters(Part, frozen=True):
    name: str
    seed: int
    currency: str
    payers: Payers
    countries: tuple[Country, ...]
    merchants: tuple[Merchant, ...]
    routes: tuple[Acquiring, ...]
    approval: Approval
    issuers: Issuers
    authentication: Authentication
    review: Review
    reporting: Reporting
    fraud: Fraud
    declines: Declines


def load(name_or_path: str | Path) -> tuple[Parameters, str]:
    """The parameters and the sha256 of the file: a world of the package by name, or any file by path.

    >>> parameters, digest = load("shop")
    >>> parameters.name, len(digest)
    ('shop', 64)
    """
    body = _read(name_or_path)
    try:
        parameters = msgspec.convert(tomllib.loads(body.decode()), Parameters)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as problem:
        raise SettingsError(
            f"world {str(name_or_path)!r} cannot be used: {problem}",
            code="invalid_world",
            hint="compare it with worlds/shop.toml",
        ) from None
    return parameters, sha256(body).hexdigest()


def _read(name_or_path: str | Path) -> bytes:
    worlds = resources.files("greenlane.simulation").joinpath("worlds")
    packaged = worlds.joinpath(f"{name_or_path}.toml")
    if packaged.is_file():
        return packaged.read_bytes()
    try:
        return Path(name_or_path).read_bytes()
    except OSError:
        names = ", ".join(sorted(w.name.removesuffix(".toml") for w in worlds.iterdir()))
        raise SettingsError(
            f"there is no world {str(name_or_path)!r}", code="no_such_world", hint=f"give a path, or one of: {names}"
        ) from None
