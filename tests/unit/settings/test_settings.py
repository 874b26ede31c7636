from pathlib import Path

import pytest

from greenlane.errors import SettingsError
from greenlane.settings import FILE, Rate, Settings, make_directory, read_settings, write_settings


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = Settings(
        tenant="acme",
        reporting_currency="USD",
        rates={"EUR": Rate(1_080_000_000_000, "2026-11-21"), "JPY": Rate(6_500_000_000, "2026-11-20")},
        perspective="psp",
        clock="simulated",
        decision_durability="sync",
        days_in_sqlite=3,
    )
    write_settings(tmp_path, written)
    assert read_settings(tmp_path) == written
    assert not list(tmp_path.glob("*.part"))


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == Settings()
    write_settings(tmp_path, Settings())
    assert read_settings(tmp_path) == Settings()


@pytest.mark.parametrize(
    "text",
    [
        "tenat = 'x'",
        "tenant = 'Two Words'",
        "reporting_currency = 'euro'",
        "perspective = 'mine'",
        "loss_bound_ms = 0",
        "body_bytes_max = 'large'",
        "[rates.USD]\nrate_e12 = 0\ndate = 'x'",
        "[rates.USD]\ndate = 'x'",
        "not toml at all",
        "tenant = ",
    ],
)
def test_what_is_wrong_is_told_with_the_file_and_the_known_names(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(SettingsError) as refusal:
        read_settings(tmp_path)
    assert str(tmp_path / FILE) in refusal.value.message
    assert "reporting_currency" in (refusal.value.hint or "")


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError):
        read_settings(tmp_path)


def test_a_directory_is_its_owners_alone(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SettingsError, match="cannot make"):
        make_directory(tmp_path / "taken")
