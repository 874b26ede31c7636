"""The settings of one data directory (= one tenant), read from `greenlane.toml`; every one has a default.

tenant = "acme"
reporting_currency = "EUR"
perspective = "merchant"          # or "psp"

[rates.USD]                       # reporting units per unit, x 10^-12, with the date it was fixed
rate_e12 = 920000000000
date = "2026-11-21"
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from greenlane.errors import SettingsError

FILE = "greenlane.toml"


class Rate(Struct, frozen=True, forbid_unknown_fields=True):
    """Reporting-currency units per unit of a currency, as an integer x 10^-12."""

    rate_e12: Annotated[int, Meta(gt=0)]
    date: str


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,64}$")] = "default"
    reporting_currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")] = "EUR"
    rates: dict[str, Rate] = {}
    perspective: Literal["merchant", "psp"] = "merchant"
    clock: Literal["system", "simulated"] = "system"
    """simulated: the time comes from the request (`at`); refused on a directory that has live entries."""
    decision_durability: Literal["async", "sync"] = "async"
    """async answers at once: a crash of the server loses nothing of it, a power cut `loss_bound_ms` at most. sync waits
    for the disk.
    """
    loss_bound_ms: Annotated[int, Meta(ge=1, le=1000)] = 50
    body_bytes_max: Annotated[int, Meta(ge=1024, le=16_777_216)] = 1_048_576
    requests_per_second_max: Annotated[int, Meta(ge=1)] = 50_000
    days_in_sqlite: Annotated[int, Meta(ge=1, le=3650)] = 35
    feature_records_max: Annotated[int, Meta(ge=1000)] = 4_000_000
    """Records of feature state held in memory; colder ones are spilled to disk, never forgotten."""
    snapshot_every_s: Annotated[int, Meta(ge=1)] = 60
    parity_sample: Annotated[int, Meta(ge=1)] = 100
    """The follower recomputes one served feature vector in this many."""
    alarm_webhook: str = ""
    """Where the follower sends incidents; none by default. They are told in its log in any case."""
    alarm_webhook_secret: str = ""
    """Signs what is sent there."""
    alarm_mail: str = ""
    """smtp://user:password@host:587?from=greenlane@shop.example&to=oncall@shop.example"""


def read_settings(directory: Path) -> Settings:
    """
    >>> import tempfile
    >>> read_settings(Path(tempfile.mkdtemp())).reporting_currency
    'EUR'
    """
    path = directory / FILE
    if not path.exists():
        return Settings()
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Settings)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        known = ", ".join(Settings.__struct_fields__)
        raise SettingsError(f"{path}: {error}", hint=f"settings: {known}") from error


def write_settings(directory: Path, settings: Settings) -> None:
    """Only what differs from the defaults is written; people edit this file."""
    plain = Settings()
    lines = ["# Settings of this data directory: one tenant, one journal. See docs/reference.md.\n"]
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        if name != "rates" and (
            value != getattr(plain, name) or name in ("tenant", "reporting_currency", "perspective")
        ):
            lines.append(f"{name} = {msgspec.json.encode(value).decode()}\n")
    for currency, rate in settings.rates.items():
        lines.append(f'\n[rates.{currency}]\nrate_e12 = {rate.rate_e12}\ndate = "{rate.date}"\n')
    write_whole(directory / FILE, "".join(lines).encode())


def write_whole(path: Path, data: bytes) -> None:
    """For its owner's eyes only; whoever reads it meanwhile sees all of the old file or all of the new one."""
    part = path.with_name(f".{path.name}.part")
    part.touch(mode=0o600)
    part.write_bytes(data)
    part.replace(path)


def make_directory(directory: Path) -> None:
    """The data directory, readable by its owner only."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(f"cannot make {directory}: {error}", hint="choose another --data directory") from error
    if not os.access(directory, os.W_OK):
        raise SettingsError(f"{directory} is not writable", hint="choose another --data directory")
