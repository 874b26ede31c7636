"""Files of minute counts, in the forms they come in: outages are found and dated, and what is no such file says so."""

import sys
from pathlib import Path

import pytest

from greenlane.adapters.count_table import read_counts
from greenlane.errors import SettingsError
from greenlane.jobs.monitoring import replay

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import counts as made


@pytest.fixture(scope="module")
def every() -> list[made.Judged]:
    return [made.replayed(seed, days=1, per_minute=120.0, outages=4) for seed in range(len(made.FORMS))]


def test_every_outage_is_found_and_dated_within_minutes(every):
    assert [outage for one in every for outage, delay in one.found if delay is None] == []


def test_at_most_one_page_a_day_is_false(every):
    assert all(one.false_pages <= one.days for one in every)


def test_the_same_counts_in_any_form_are_the_same_minutes(tmp_path: Path):
    counts, _ = made.made(3, days=1, per_minute=60.0, outages=2)
    read = {form: read_counts(made.write(counts, tmp_path, form, seed=1)) for form in made.FORMS}
    for form in ("shuffled", "zoned", "wide"):
        assert read[form] == read["long"]
    assert read["csv"] == read["gaps"]
    for form in ("gaps", "numbers"):
        assert all(0 not in minute.counts.values() for minute in read[form])


def test_texts_that_only_describe_are_no_groups(tmp_path: Path):
    path = tmp_path / "counts.csv"
    lines = ["Weekday,Response Code,meaning,acquirer,Minute,N"]
    lines += [
        f"Sat,{c},{m},{a},12/07/2025 10:0{n},7"
        for n in range(3)
        for c, m in (("00", "ok"), ("51", "funds"))
        for a in "ab"
    ]
    path.write_text("\n".join(lines))
    assert {minute.group for minute in read_counts(path)} == {("a",), ("b",)}


def test_an_end_and_a_size_are_told(tmp_path: Path):
    counts, (outage,) = made.made(0, days=1, per_minute=120.0, outages=1)
    found = replay(made.write(counts, tmp_path, "long", seed=1))
    (page,) = (one for one in found.incidents if one.severity == "page")
    assert made.minute(page.ended_us) == pytest.approx(outage.end, abs=3)
    assert found.pages_per_day == pytest.approx(1.0 / found.days)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\nx,y\n", "needs a time, a code and a count; it has a, b"),
        ("a,b,c\n1,2,3\n", "needs a time, a code and a count; it has a, b, c"),
        ("time,code,count\nyesterday,00,1\n", "cannot be read"),
        ("time,code,count\n", "has no rows"),
        ("", "needs a time"),
    ],
)
def test_what_is_no_such_file_says_so(tmp_path: Path, text, said):
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        read_counts(path)
    with pytest.raises(SettingsError, match="no file"):
        read_counts(tmp_path / "absent.parquet")
    path.rename(tmp_path / "other.parquet")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_counts(tmp_path / "other.parquet")
