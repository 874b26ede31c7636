"""Who bears fraud after an authentication."""

import pytest

from greenlane.payments.attempt import ThreeDS
from greenlane.policy.liability import liability

VISA_LIKE = ("visa", "amex", "jcb", "diners")


@pytest.mark.parametrize("network", VISA_LIKE)
@pytest.mark.parametrize(("eci", "status", "shifted"), [("05", "Y", True), ("06", "A", True), ("07", "", False)])
def test_the_indicator_tells_where_the_status_is_missing(network, eci, status, shifted):
    assert liability(ThreeDS(eci=eci), network=network) == (status, shifted)


@pytest.mark.parametrize(
    ("eci", "status", "shifted"),
    [("02", "Y", True), ("01", "A", True), ("00", "", False), ("04", "I", False), ("06", "I", False), ("07", "", True)],
)
def test_mastercard_counts_otherwise(eci, status, shifted):
    assert liability(ThreeDS(eci=eci), network="mastercard") == (status, shifted)


def test_07_means_the_opposite_on_visa_and_on_mastercard():
    shifted = [liability(ThreeDS(eci="07"), network=network).shifted for network in ("visa", "mastercard")]
    assert shifted == [False, True]


def test_what_does_not_fit_together_shifts_nothing():
    assert not liability(ThreeDS(trans_status="U", eci="05"), network="visa").shifted
    assert not liability(ThreeDS(trans_status="Y", eci="07"), network="visa").shifted


def test_the_status_tells_where_the_indicator_is_missing_or_unknown():
    assert [liability(ThreeDS(trans_status=s), network="visa").shifted for s in "YANRUI"] == [True, True, *[False] * 4]
    assert liability(ThreeDS(trans_status="Y", eci="05"), network="elo").shifted


@pytest.mark.parametrize("shift", [True, False])
def test_the_caller_knows_better(shift):
    assert liability(ThreeDS(trans_status="Y", eci="05", liability_shift=shift), network="visa").shifted is shift
