"""Regions of payment law: where interchange is capped and where strong authentication is mandated."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

EEA: Final = frozenset(
    [
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE"),
        *("IS", "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK"),
    ]
)

SCA_REGIONS: Final[Mapping[str, str]] = MappingProxyType(
    {**dict.fromkeys(sorted(EEA), "EEA"), "GB": "UK", "IN": "IN"},
)
"""Country -> region within which both ends must lie for the mandate to bind."""
