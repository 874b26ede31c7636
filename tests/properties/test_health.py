"""The online layer is a function of the journal: refolded, or dumped anywhere and loaded, it has the same bytes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.payments.facts import Facts
from greenlane.policy.breaker import WHOLE_PPM
from greenlane.policy.health import OFFSET_MAX
from greenlane.policy.online import ANSWERS, ATTEMPTS, Expected, Online
from greenlane.ports.journal import Entry

ROUTES = ("acq_a", "acq_b")
ANSWER = st.sampled_from([("00", "approved"), ("05", "soft"), ("51", "soft"), ("91", "soft"), ("", "unknown")])
EVENT = st.tuples(
    st.integers(0, 40_000_000), st.sampled_from(["iss_1", "iss_2", ""]), st.sampled_from(ROUTES), ANSWER,
    st.integers(1, 20_000), st.booleans(), st.integers(1, 2**40),
)  # fmt: skip
EVENTS = st.lists(EVENT, max_size=120)


def expected(entry: Entry) -> Expected | None:
    facts = entry.facts
    if facts is None:
        return None
    acquirers = (("acq_a", "north"), ("acq_b", "north"))
    return Expected(facts.attempt_id, facts.route_id, 870_000_000, 2_000_000, 9_000_000, acquirers)


def journal(events: list[tuple[int, str, str, tuple[str, str], int, bool, int]]) -> list[Entry]:
    entries, at_us = [], 0
    for n, (gap_us, issuer, route, (code, decline_class), amount, decided, card) in enumerate(events):
        at_us += gap_us
        facts = Facts(
            payment_id=f"p{n}", payment_us=at_us, amount_minor=amount, currency="EUR", amount_reporting_minor=amount,
            attempt_id=f"a{n}", merchant_id="shop", bin8="40000000", card=card, network="visa", issuer_id=issuer,
            route_id=route, code=code, decline_class=decline_class,
        )  # fmt: skip
        for kind in ("decision", "authorization") if decided else ("authorization",):
            opens = ATTEMPTS * (kind == "decision" or not decided)
            emits = opens | ANSWERS * (kind == "authorization")
            entries.append(Entry(len(entries) + 1, 1, at_us, kind, "s", f"{kind}{n}", at_us, emits, 1, b"", facts, b""))
    return entries


def folded(entries: list[Entry]) -> Online:
    online = Online(expected)
    for entry in entries:
        online.apply(entry)
    return online


@given(EVENTS)
@settings(max_examples=40, deadline=None)
def test_the_same_journal_makes_the_same_bytes(events: list) -> None:
    assert folded(journal(events)).dump() == folded(journal(events)).dump()


@given(EVENTS, st.integers(0, 240))
@settings(max_examples=40, deadline=None)
def test_a_snapshot_anywhere_changes_nothing(events: list, cut: int) -> None:
    entries = journal(events)
    resumed = Online.load(folded(entries[:cut]).dump(), expected)
    for entry in entries[cut:]:
        resumed.apply(entry)
    assert resumed.dump() == folded(entries).dump()


@given(EVENTS, st.integers(0, 10**9))
@settings(max_examples=30, deadline=None)
def test_reading_at_any_time_before_the_next_entry_changes_nothing(events: list, early_us: int) -> None:
    entries, read = journal(events), Online(expected)
    for entry in entries:
        read.advance(min(entry.ingest_us, early_us))
        read.advance(entry.ingest_us)
        read.breaker.gates("iss_1", ROUTES, entry.ingest_us)
        read.apply(entry)
    assert read.dump() == folded(entries).dump()


@given(EVENTS)
@settings(max_examples=40, deadline=None)
def test_offsets_and_shares_stay_within_their_bounds(events: list) -> None:
    online, entries = folded(journal(events)), journal(events)
    at_us = entries[-1].ingest_us if entries else 0
    assert all(abs(offset) <= OFFSET_MAX for offset in online.health.offsets("iss_1", "40000000", ROUTES))
    assert all(0 <= gate.share_ppm <= WHOLE_PPM for gate in online.breaker.gates("iss_1", ROUTES, at_us))
