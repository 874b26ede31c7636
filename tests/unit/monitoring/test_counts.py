"""Files of minute counts, in the forms they come in: outages are found and dated, and what is no such file says so."""

from pathlib import Path

import counts as made
import pytest

from greenlane.adapters.count_table import read_counts
from greenlane.errors import SettingsError
from greenlane.jobs.monitoring import replay


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


def test_what_is_too_short_to_judge_says_so_and_has_no_rate(tmp_path: Path):
    path = tmp_path / "counts.csv"

    def told(minutes: int, each: int) -> dict:
        lines = [f"2026-01-0{1 + n // 1440} {n // 60 % 24:02}:{n % 60:02},00,{each}" for n in range(minutes)]
        path.write_text("\n".join(["time,code,count", *lines]))
        return replay(path).told()

    brief = told(20, 100)
    assert brief["too_short"] == "what is usual is learned from the first 4 hours, and this is 20 minutes"
    assert brief["pages_per_day"] is None
    assert "some 444 answers" in told(1500, 0)["too_short"]
    half = told(720, 10)
    assert (half["too_short"], half["pages_per_day"]) == (None, None)
    assert told(1500, 10)["pages_per_day"] == 0.0


def test_names_of_columns_are_names_whatever_stands_in_them(tmp_path: Path):
    path = tmp_path / "counts.csv"
    path.write_text("\n".join([
        'time,"code","the ""acquirer"", or whoever",count',
        *(f"2026-01-01 10:00,00,{name},7" for name in ("a", "b")),
    ]))  # fmt: skip
    assert {minute.group for minute in read_counts(path)} == {("a",), ("b",)}
    path.write_text('time,"x"") FROM nowhere --",51\n2026-01-01 10:00,3,4\n')
    assert read_counts(path)[0].counts == {'x") FROM nowhere --': 3, "51": 4}


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
