from pathlib import Path

import duckdb
import msgspec
import pytest

from greenlane.adapters.history_import import ImportReport, import_files
from greenlane.adapters.history_mapping import Mapping, read_mapping
from greenlane.decisions.control import control_of
from greenlane.errors import InputError, SettingsError
from greenlane.features.definition import Aggregation, Count, Entity, FeatureSet
from greenlane.journal.bulk import BulkSequencer
from greenlane.journal.freeze import Reporting
from greenlane.journal.memory import MemoryJournal
from greenlane.ports.clock import FakeClock
from greenlane.ports.journal import SOURCE_BIT, Entry
from greenlane.ports.subjects import MemorySubjects

PAGE = """
id = "n"
time = { column = "at" }
amount = { column = "paid" }
label = { column = "fraud", known_after = "7d" }
[columns]
merchant_id = "shop"
"payment_method.card.fingerprint" = "card"
[constants]
currency = "EUR"
"""
HEADER = "n,at,paid,fraud,shop,card\n"
ROWS = """1,2018-04-01 00:00:01,12.34,0,s1,c1
2,2018-04-02 00:00:00,5,1,s1,c2
3,2018-04-09 00:00:00,7.00,0,s2,c1
"""
SHOP = Entity("shop", "merchant_id")
APRIL_2_US, APRIL_9_US = 1522627200000000, 1523232000000000


class World:
    """A journal in memory, and what people do with it."""

    def __init__(self, folder: Path):
        self.folder, self.store, self.subjects = folder, MemoryJournal(), MemorySubjects()

    def mapping(self, page: str = PAGE) -> Mapping:
        (self.folder / "m.toml").write_text(page)
        return read_mapping(self.folder / "m.toml")

    def csv(self, rows: str = ROWS, *, header: str = HEADER) -> Path:
        (self.folder / "rows.csv").write_text(header + rows)
        return self.folder / "rows.csv"

    def load(self, file: Path, page: str = PAGE, **options: object) -> ImportReport:
        sequencer = BulkSequencer(self.store, FakeClock(2 * 10**15), [], importing=True)
        try:
            return import_files(
                [file],
                self.mapping(page),
                sequencer=sequencer,
                subjects=self.subjects,
                reporting=Reporting("EUR"),
                **options,
            )
        finally:
            sequencer.close()

    @property
    def entries(self) -> list[Entry]:
        return [entry for entry in self.store.read() if entry.kind != "control"]

    @property
    def payments(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind == "authorization"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_payments_and_labels_enter_in_the_order_they_became_known(world: World):
    report = world.load(world.csv())
    assert (report.payments, report.labels, report.bad) == (3, 1, 0)
    assert [(e.kind, e.event_id) for e in world.entries] == [
        ("authorization", "1"),
        ("authorization", "2"),
        ("fraud_report", "2:fraud_report"),
        ("authorization", "3"),
    ]
    assert [e.ingest_us for e in world.entries][1:] == [APRIL_2_US, APRIL_9_US, APRIL_9_US]


def test_a_payment_is_frozen_whole_and_its_label_carries_the_same_facts(world: World):
    world.load(world.csv())
    payment, label = world.entries[1], world.entries[2]
    assert payment.facts is not None
    assert (payment.facts.amount_minor, payment.facts.currency, payment.facts.merchant_id) == (500, "EUR", "s1")
    assert (payment.facts.payment_us, payment.facts.attempt_id) == (APRIL_2_US, "2")
    assert payment.facts.card == world.subjects.pseudonym("card", "c2")
    assert label.facts == payment.facts
    assert (payment.emits, label.emits) == (SOURCE_BIT["attempts"], SOURCE_BIT["fraud_reports"])


def test_the_same_import_again_changes_nothing(world: World):
    world.load(world.csv())
    before = list(world.store.read())
    report = world.load(world.csv())
    assert (report.payments, report.labels, report.already_known) == (0, 0, 4)
    assert list(world.store.read()) == before


def test_known_payments_that_another_mapping_tells_otherwise_are_counted_and_stay(world: World):
    world.load(world.csv())
    before = world.entries
    other = PAGE + 'initiator = "mit"\n'
    reports = [world.load(world.csv(), page) for page in (PAGE, other, other)]
    assert [(report.already_known, report.kept) for report in reports] == [(4, 0), (4, 3), (4, 3)]
    assert "3 of them are told otherwise by this mapping" in reports[1].summary
    assert "otherwise" not in reports[0].summary
    assert world.entries == before


def test_later_rows_can_follow_and_earlier_ones_are_refused(world: World):
    world.load(world.csv())
    assert world.load(world.csv("4,2018-04-10 00:00:00,1,0,s1,c9\n")).payments == 1
    with pytest.raises(InputError) as refusal:
        world.load(world.csv("5,2018-04-03 00:00:00,1,0,s1,c9\n"))
    assert refusal.value.code == "import_out_of_order"


def test_a_known_row_with_other_values_is_reported_and_the_rest_goes_in(world: World):
    world.load(world.csv())
    report = world.load(world.csv("3,2018-04-09 00:00:00,8.00,0,s2,c1\n4,2018-04-10,1,0,s1,c9\n"))
    assert (report.payments, report.bad) == (1, 1)
    assert (report.faults[0].line, report.faults[0].column) == (2, "n")


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (",2018-04-01,1,0,s,c", "n"),
        ("a b,2018-04-01,1,0,s,c", "n"),
        ("9,yesterday,1,0,s,c", "at"),
        ("9,2018-04-01,1.234,0,s,c", "paid"),
        ("9,2018-04-01,NaN,0,s,c", "paid"),
        ("9,2018-04-01,-1,0,s,c", "paid"),
        ("9,2018-04-01,99999999999999,0,s,c", "paid"),
        ("9,2018-04-01,1,perhaps,s,c", "fraud"),
        ("9,2018-04-01,1", "fraud"),
        ("9,2018-04-01,1,0,s,c,more", ""),
    ],
)
def test_a_bad_row_is_reported_with_line_and_column_and_left_out(world: World, row: str, column: str):
    first, *others = ROWS.splitlines(keepends=True)
    report = world.load(world.csv('0,2018-04-01,1,0,s,"two\nlines"\n' + first + f"{row}\n" + "".join(others)))
    assert (report.payments, report.bad) == (4, 1)
    fault = report.faults[0]
    assert (fault.file.endswith("rows.csv"), fault.line, fault.column) == (True, 5, column)


def test_strict_stops_before_anything_is_appended(world: World):
    with pytest.raises(InputError) as refusal:
        world.load(world.csv(ROWS + "4,2018-04-10,much,0,s,c\n"), strict=True)
    assert "rows.csv:5" in str(refusal.value)
    assert refusal.value.param == "paid"
    assert list(world.store.read()) == []


def test_a_card_number_is_refused_and_not_shown(world: World):
    number = "4" + "1" * 15
    report = world.load(world.csv(ROWS + f"4,2018-04-10,1,0,s,{number}\n"))
    assert (report.payments, report.bad, report.faults[0].column) == (3, 1, "card")
    assert number not in str(report)


def test_decimals_are_read_as_decimals(world: World):
    amounts = ["0.1", "1.10", "33.33", "1e2", "285.79999999999995", "8.70"]
    world.load(world.csv("".join(f"{i},2018-04-01,{a},0,s,c\n" for i, a in enumerate(amounts))))
    assert [e.facts.amount_minor for e in world.payments if e.facts] == [10, 110, 3333, 10_000, 28_580, 870]


def test_currencies_have_their_own_decimals(world: World):
    page = PAGE.replace('currency = "EUR"\n', "").replace("[columns]", '[columns]\ncurrency = "cur"')
    rows = "1,2018-04-01,12.34,0,s,c,EUR\n2,2018-04-01,12.5,0,s,c,JPY\n3,2018-04-01,1,0,s,c,XQZ\n"
    report = world.load(world.csv(rows, header=HEADER.replace("\n", ",cur\n")), page)
    assert [(f.line, f.column) for f in report.faults] == [(3, "paid"), (4, "cur")]


def test_minor_units_and_numbers_of_time_are_taken_as_told(world: World):
    page = PAGE.replace('"at" }', '"at", unit = "ms" }').replace('"paid" }', '"paid", unit = "minor" }')
    world.load(world.csv("1,1522627200123,1234,0,s,c\n"), page)
    assert world.payments[0].ingest_us == APRIL_2_US + 123_000
    assert world.payments[0].facts is not None
    assert world.payments[0].facts.amount_minor == 1234


@pytest.mark.parametrize("kind", ["TIMESTAMP_NS", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMPTZ_NS", "VARCHAR"])
def test_parquet_times_of_any_precision_are_cut_to_microseconds(world: World, kind: str):
    file = world.folder / "rows.parquet"
    duckdb.execute("SET TimeZone = 'UTC'")
    duckdb.execute(f"""
        COPY (SELECT 1 AS n, CAST('2018-04-02 00:00:00.123456789' AS {kind}) AS at, CAST(5.5 AS DOUBLE) AS paid,
                     false AS fraud, 7 AS shop, 8 AS card) TO '{file}' (FORMAT parquet)""")
    world.load(file)
    assert world.payments[0].ingest_us == APRIL_2_US + 123_456
    assert world.payments[0].facts is not None
    assert (world.payments[0].facts.merchant_id, world.payments[0].facts.amount_minor) == ("7", 550)


def test_a_label_may_bring_its_own_time_and_be_a_dispute(world: World):
    page = PAGE.replace(
        '{ column = "fraud", known_after = "7d" }', '{ type = "dispute", known_at = { column = "fraud" } }'
    )
    rows = "1,2018-04-01,1,,s,c\n2,2018-04-01,1,2018-04-02T00:00:00Z,s,c\n3,2018-04-02,1,2018-04-01,s,c\n"
    report = world.load(world.csv(rows), page)
    assert (report.payments, report.labels, report.faults[0].message) == (2, 1, "known before its payment")
    assert [(e.kind, e.ingest_us) for e in world.entries][-1] == ("dispute", APRIL_2_US)


def test_answers_of_issuers_feed_approvals_and_declines(world: World):
    page = PAGE.replace("[columns]", 'authorization = { column = "code" }\n[columns]')
    rows = "1,2018-04-01,1,0,s,c,00\n2,2018-04-01,1,0,s,c,51\n3,2018-04-01,1,0,s,c,\n"
    world.load(world.csv(rows, header=HEADER.replace("\n", ",code\n")), page)
    attempt, approval, decline = (SOURCE_BIT[name] for name in ("attempts", "approvals", "declines"))
    assert [e.emits for e in world.payments] == [attempt | approval, attempt | decline, attempt]
    assert [e.facts.code for e in world.payments if e.facts] == ["00", "51", ""]


def test_the_mapping_and_its_features_become_control_entries(world: World):
    page = (
        PAGE
        + """
[[features.aggregation]]
name = "velocity"
entity = "card"
key = "payment_method.card.fingerprint"
source = "attempts"
measures = ["count"]
windows = ["1h/1m"]
"""
    )
    world.load(world.csv(), page)
    imported, features = (control_of(e) for e in world.store.read() if e.kind == "control")
    assert (imported.subject, imported.after["complete_from_us"]) == ("import", None)
    assert features.subject == "features"
    assert msgspec.convert(features.after, FeatureSet) == world.mapping(page).feature_set


def test_a_misspelt_key_is_named_with_its_path(world: World):
    with pytest.raises(SettingsError) as refusal:
        world.mapping(PAGE.replace('column = "at"', 'colum = "at"'))
    assert (refusal.value.param, refusal.value.hint) == ("$.time.colum", "did you mean column?")
    with pytest.raises(SettingsError, match="'web' is not a value of channel"):
        world.mapping(PAGE + 'channel = "web"\n')
    with pytest.raises(SettingsError, match="no part of a payment"):
        world.mapping(PAGE.replace("merchant_id", "merchant_idd"))
    with pytest.raises(SettingsError, match="no column 'paid'"):
        world.load(world.csv(header=HEADER.replace("paid", "payed")))


def test_a_file_that_is_no_table_is_refused_and_a_row_in_another_encoding_is_a_fault(world: World):
    (world.folder / "book.xlsx").write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(SettingsError):
        world.load(world.folder / "book.xlsx")
    file = world.csv()
    file.write_bytes(file.read_bytes().replace(b"s2", b"caf\xe9"))
    report = world.load(file)
    assert (report.payments, report.bad, report.faults[0].line) == (2, 1, 4)


def test_the_first_features_are_declared_where_nobody_declares_any(world: World):
    first = FeatureSet((Aggregation("shops", entity=SHOP, source="attempts", measures=(Count(),), windows=("1d/1h",)),))
    world.load(world.csv(), first_features=first)
    subjects = [control_of(entry).subject for entry in world.store.read() if entry.kind == "control"]
    assert subjects == ["import", "features"]
