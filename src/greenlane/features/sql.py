"""A feature set as one SQL query: exactly the integers the stream engine serves, near-linear also for hot keys.

Read from a relation `entries` (seq, ingest_us, occurred_us, kind, emits, sign, then every fact) and a relation
`queries` (seq, unique: the entries at which to read); answers one row per query in order: `seq`, then one BIGINT per
column.

A window is {e.seq < q.seq} and {t(e) >= left}: two orders at once, so no single sort answers it. The recipe, for
each aggregation, with the rows after each step:

    arrivals   one per kept event              on_time: positive, and not earlier than any positive event before it
    timeline   one per positive arrival        latest_t, the last on-time event's rank, running sums over on-time ones
    asked      one per query that has a key
    cuts       one per asked                   the last on-time event with seq < q.seq
    edges      one per asked and window        the window's times
    reads      one per edge                    the last one with latest_t < left: the window is (from_rank, to_rank]
    spans      one per read that holds any     Min, Max, Distinct over that rank interval, as one ROWS frame
    points     one per other event             late or negative ones, and what late ones change in Distinct
    blocks     log(points) per point           running state, along seq, of 1, 2, 4, ... neighbours in t
    covers     log(points) per edge            the blocks that make up {t >= left}
    totals     one per edge                    those blocks' states before q.seq, merged
    answers    one per read                    both parts merged; NULL where the window is empty
    vectors    one per asked                   one column per measure and window, marks put in

Along the timeline neither seq nor latest_t ever falls, so both orders are one. Count and Sum of an interval of it are
differences of running sums (exact in 128 bits). Last, TimeSince, PreviousGap and Seen ask for no left edge: the cut
answers them. Late points are few in most sources; where most are late
(labels at the time of their payment) they cost log(n), never n.

Distinct over both parts: a value counts while its latest t is at or after left. With M its latest t over all events and
N over on-time ones, the span counts [N >= left], so the late part owes [M >= left] - [N >= left]. M and N change only
at events, so every change is a pair of signed points, and their sum before q.seq needs no set of values.
"""

# ruff: noqa: S608 - every name put into a text is a checked name of a definition, every literal our own integer

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from sqlglot import exp

from greenlane.features.definition import (
    ABSENT,
    EMPTY,
    NEVER,
    WARMING,
    Aggregation,
    Column,
    FeatureSet,
    Measure,
    Window,
)
from greenlane.features.where import where_sql
from greenlane.payments.facts import TEXT_FIELDS
from greenlane.ports.journal import SOURCE_BIT

SPLIT_OPS: Final = ("count", "sum", "min", "max", "first", "distinct")
"""Measures that need the left edge found, and late events merged in."""
LEVELS: Final = 40
"""Blocks of up to 2^39 late points of one key."""


def features_sql(feature_set: FeatureSet, first_complete_us: int, *, dialect: str = "duckdb") -> str:
    """The query text. `first_complete_us`: since when the journal is complete; windows reaching further back warm up.

    >>> from greenlane.features.definition import Count, Entity
    >>> velocity = Aggregation("velocity", Entity("card", "card"), "attempts", (Count(),), ("1h/2m",))
    >>> features_sql(FeatureSet((velocity,)), 0)
    'WITH arrivals_0 AS (SELECT ...) SELECT q.seq, COALESCE(...) AS "velocity.count.1h" FROM queries AS q LEFT JOIN ...'
    """
    folds = [Fold(a, number, first_complete_us) for number, a in enumerate(feature_set.aggregations)]
    query = exp.select("q.seq", dialect="duckdb").from_("queries AS q").order_by("q.seq")
    for fold in folds:
        for step in fold.steps:
            query = query.with_(fold.table(step), as_=step(fold), dialect="duckdb", copy=False)
        query = query.select(*(output(fold, column) for column in fold.of.columns), dialect="duckdb", copy=False)
        query = query.join(f"{fold.table(vectors)} AS v{fold.number}", using="seq", join_type="left", copy=False)
    return query.sql(dialect=dialect)


def output(fold: "Fold", column: Column) -> str:
    return f'COALESCE(v{fold.number}."{column.name}", {ABSENT}) AS "{column.name}"'


class Fold(Struct, frozen=True):
    """One aggregation on its way to SQL, with the names that its steps share."""

    of: Aggregation
    number: int
    first_complete_us: int

    def table(self, step: "Step") -> str:
        return f"{step.__name__}_{self.number}"

    @property
    def steps(self) -> tuple["Step", ...]:
        """The recipe, less what no measure of this aggregation needs."""
        steps: list[tuple[Step, bool]] = [
            (arrivals, True),
            (timeline, True),
            (asked, True),
            (cuts, True),
            (edges, self.split),
            (reads, self.split),
            (spans, self.spanned),
            (points, self.split),
            (blocks, self.split),
            (covers, self.split),
            (totals, self.split),
            (answers, self.split),
            (vectors, True),
        ]
        return tuple(step for step, needed in steps if needed)

    @property
    def keys(self) -> list[str]:
        return [f"key_{i}" for i in range(len(self.of.entity.facts))]

    @property
    def key_list(self) -> str:
        return ", ".join(self.keys)

    def same_key(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{key} = {right}.{key}" for key in self.keys)

    def latest(self, step: "Step | str", alias: str, condition: str) -> str:
        """Joins to each row of the left table the last row of its key that meets the condition, or NULLs."""
        table = step if isinstance(step, str) else self.table(step)
        left = condition.partition(".")[0]
        return f"ASOF LEFT JOIN {table} AS {alias} ON {self.same_key(left, alias)} AND {condition}"

    def has(self, *ops: str) -> bool:
        return any(m.op in ops for m in self.of.measures)

    def fields(self, *ops: str) -> list[str]:
        """The facts that measures of these kinds read, each once."""
        return list(dict.fromkeys(m.field for m in self.of.measures if m.op in ops))

    @property
    def spanned(self) -> bool:
        return self.has("min", "max", "distinct")

    @property
    def split(self) -> bool:
        """Whether more is asked than the last on-time event can tell."""
        return self.has(*SPLIT_OPS)

    @property
    def delayed(self) -> bool:
        return any(w.delay_us for w in self.of.parsed_windows)


Step = Callable[[Fold], str]


def listed(*columns: str) -> str:
    return ", ".join(column for column in columns if column)


def present(fact: str, table: str = "e") -> str:
    return f"{table}.{fact} <> ''" if fact in TEXT_FIELDS else f"{table}.{fact} <> 0"


def floored(moment: str, hop: str | int) -> str:
    """Rounded down to the hop, also below the epoch, where % has the sign of the time."""
    return f"({moment} - (({moment} % {hop}) + {hop}) % {hop})"


def left_us(delay_us: str | int, width_us: str | int, hop_us: str | int) -> str:
    return floored(f"(c.ingest_us - {delay_us} - {width_us})", hop_us)


def arrivals(fold: Fold) -> str:
    time = f"LEAST(e.{'payment_us' if fold.of.time == 'payment' else 'occurred_us'}, e.ingest_us)"
    facts = fold.of.entity.facts
    kept = [f"(e.emits & {SOURCE_BIT[fold.of.source]}) <> 0", f"{time} >= e.ingest_us - {fold.of.ttl_us}"]
    kept += [present(fact) for fact in facts]
    if fold.of.where:
        kept.append(f"({where_sql(fold.of.where)})")
    taken = [f"e.{fact} AS {key}" for key, fact in zip(fold.keys, facts, strict=True)]
    taken += [f"e.{field}" for field in fold.fields("sum", "min", "max", "last", "first", "distinct")]
    return f"""
        SELECT *, sign > 0 AND t >= COALESCE(earlier_t, t) AS on_time FROM (
            SELECT *, MAX(CASE WHEN sign > 0 THEN t END) OVER earlier AS earlier_t
            FROM (SELECT e.seq, {time} AS t, e.sign, {listed(*taken)} FROM entries AS e WHERE {" AND ".join(kept)})
            WINDOW earlier AS (
                PARTITION BY {fold.key_list} ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            )
        )"""


def timeline(fold: Fold) -> str:
    """previous_t: the latest t but one. Each event beats either the latest before it or leaves itself as runner-up."""
    sums = [f"SUM(CASE WHEN on_time THEN {field} END) OVER so_far AS sum_{field}" for field in fold.fields("sum")]
    return f"""
        SELECT *, GREATEST(t, earlier_t) AS latest_t,
            {listed("COUNT(CASE WHEN on_time THEN 1 END) OVER so_far AS rank", *sums)},
            MAX(CASE WHEN t < earlier_t THEN t ELSE earlier_t END) OVER so_far AS previous_t,
            LEAD(GREATEST(t, earlier_t)) OVER so_far AS next_latest_t
        FROM {fold.table(arrivals)} WHERE sign > 0
        WINDOW so_far AS (PARTITION BY {fold.key_list} ORDER BY seq ROWS UNBOUNDED PRECEDING)"""


def asked(fold: Fold) -> str:
    facts = fold.of.entity.facts
    keys = [f"e.{fact} AS {key}" for key, fact in zip(fold.keys, facts, strict=True)]
    return f"""
        SELECT e.seq, e.ingest_us, {listed(*keys)} FROM queries AS q JOIN entries AS e ON e.seq = q.seq
        WHERE {" AND ".join(present(fact) for fact in facts)}"""


def cuts(fold: Fold) -> str:
    sums = [f"COALESCE(o.sum_{field}, 0) AS sum_{field}" for field in fold.fields("sum")]
    lasts = [f"o.{field} AS last_{field}" for field in fold.fields("last")]
    gap = fold.latest(timeline, "late", "a.seq > late.seq") if fold.has("previous_gap") else ""
    return f"""
        WITH on_time AS (SELECT * FROM {fold.table(timeline)} WHERE on_time)
        SELECT a.*, {listed("COALESCE(o.rank, 0) AS rank", "o.latest_t", gap and "late.previous_t", *sums, *lasts)}
        FROM {fold.table(asked)} AS a {fold.latest("on_time", "o", "a.seq > o.seq")} {gap}"""


def edges(fold: Fold) -> str:
    windows = [f"({w}, {x.width_us}, {x.hop_us}, {x.delay_us})" for w, x in enumerate(fold.of.parsed_windows)]
    return f"""
        SELECT c.seq, c.rank, {fold.key_list}, w,
            {left_us("delay_us", "width_us", "hop_us")} AS left_us,
            {floored("(c.ingest_us - delay_us)", "hop_us")} + hop_us AS right_us
        FROM {fold.table(cuts)} AS c
        CROSS JOIN (VALUES {listed(*windows)}) AS windows(w, width_us, hop_us, delay_us)"""


def reads(fold: Fold) -> str:
    """Per edge the rows just before the window; where it is delayed, also the last ones in it."""
    before = [f"COALESCE(before.sum_{field}, 0) AS from_sum_{field}" for field in fold.fields("sum")]
    last = (
        [f"COALESCE(last.sum_{field}, 0) AS right_sum_{field}" for field in fold.fields("sum")] if fold.delayed else []
    )
    right = "COALESCE(last.rank, 0)" if fold.delayed else "e.rank"
    return f"""
        WITH instants AS (
            SELECT * FROM {fold.table(timeline)} WHERE next_latest_t IS NULL OR next_latest_t > latest_t
        )
        SELECT e.seq, e.w, {fold.key_list.replace("key_", "e.key_")},
            {listed("COALESCE(before.rank, 0) AS from_rank", f"LEAST(e.rank, {right}) AS to_rank", *before, *last)}
        FROM {fold.table(edges)} AS e
        {fold.latest("instants", "before", "e.left_us > before.latest_t")}
        {fold.latest("instants", "last", "e.right_us > last.latest_t") if fold.delayed else ""}"""


def spans(fold: Fold) -> str:
    """One partition per key: its on-time events in rank order, then its reads, each looking back at its interval."""
    fields = fold.fields("min", "max", "distinct")
    folded = [f"MIN({field}) OVER span AS min_{field}" for field in fold.fields("min")]
    folded += [f"MAX({field}) OVER span AS max_{field}" for field in fold.fields("max")]
    for field in fold.fields("distinct"):
        value = f"CASE WHEN {present(field, 'placed')} THEN {field} END"
        folded.append(f"COUNT(DISTINCT {value}) OVER span AS distinct_{field}")
    return f"""
        SELECT seq, w, {listed(*folded)} FROM (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY {fold.key_list} ORDER BY rank) AS place FROM (
                SELECT {fold.key_list}, rank, {listed(*fields)}, 0 AS from_rank, 0 AS to_rank
                FROM {fold.table(timeline)} WHERE on_time
                UNION ALL BY NAME
                SELECT {fold.key_list}, {2**63 - 1} AS rank, seq, w, from_rank, to_rank FROM {fold.table(reads)}
                WHERE from_rank < to_rank
            )
        ) AS placed
        WINDOW span AS (
            PARTITION BY {fold.key_list} ORDER BY place
            ROWS BETWEEN place - from_rank - 1 PRECEDING AND place - to_rank PRECEDING
        )
        QUALIFY NOT w IS NULL"""


def points(fold: Fold) -> str:
    """r: the place in (t, seq) among the points of the key, from 1."""
    sums = [f"sign * {field} AS sum_{field}" for field in fold.fields("sum")]
    values = [f"CASE WHEN sign > 0 THEN {field} END AS {field}" for field in fold.fields("min", "max", "first")]
    late = f"""
        SELECT {fold.key_list}, seq, t, {listed("sign AS n", *sums, *values)}
        FROM {fold.table(arrivals)} WHERE NOT on_time"""
    parts = [late, *(distinct_points(fold, field) for field in fold.fields("distinct"))]
    return f"""
        SELECT *, ROW_NUMBER() OVER (PARTITION BY {fold.key_list} ORDER BY t, seq) AS r
        FROM ({" UNION ALL BY NAME ".join(parts)})"""


def distinct_points(fold: Fold, field: str) -> str:
    """Where a value's latest t over all events (M) and over on-time ones (N) part: +1 at M, -1 at N, and back."""
    return f"""
        SELECT {fold.key_list}, seq, t, distinct_{field} FROM (
            SELECT {fold.key_list}, seq,
                UNNEST([GREATEST(m, t), CASE WHEN on_time THEN t ELSE n END, m, n]) AS t,
                UNNEST([1, -1, -1, 1]) AS distinct_{field}
            FROM (
                SELECT {fold.key_list}, seq, t, on_time,
                    MAX(t) OVER earlier AS m, MAX(CASE WHEN on_time THEN t END) OVER earlier AS n
                FROM {fold.table(arrivals)} AS a WHERE sign > 0 AND {present(field, "a")}
                WINDOW earlier AS (
                    PARTITION BY {fold.key_list}, {field} ORDER BY seq
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                )
            ) WHERE NOT on_time OR m IS DISTINCT FROM n
        ) WHERE NOT t IS NULL"""


def blocks(fold: Fold) -> str:
    """A point lies, at each level, in the block r >> level; only odd ones are ever asked. RANGE frames keep peers."""
    merged = ["SUM(n) OVER so_far AS n"]
    merged += [f"SUM({name}) OVER so_far AS {name}" for name in summed(fold)]
    merged += [f"MIN({field}) OVER so_far AS min_{field}" for field in fold.fields("min")]
    merged += [f"MAX({field}) OVER so_far AS max_{field}" for field in fold.fields("max")]
    if fold.has("first"):
        merged.append("MIN(CASE WHEN n > 0 THEN r END) OVER so_far AS first_r")
    return f"""
        SELECT {fold.key_list}, level, r >> level AS block, seq, {listed(*merged)}
        FROM {fold.table(points)} JOIN RANGE(0, {LEVELS}) AS levels(level) ON ((r >> level) & 1) = 1
        WINDOW so_far AS (PARTITION BY {fold.key_list}, level, r >> level ORDER BY seq)"""


def summed(fold: Fold) -> list[str]:
    return [f"sum_{f}" for f in fold.fields("sum")] + [f"distinct_{f}" for f in fold.fields("distinct")]


def covers(fold: Fold) -> str:
    """With `below` points before the edge, the rest is block (below >> level) + 1 at each level where that is odd."""
    sides = [f"SELECT seq, w, {fold.key_list}, 1 AS side, left_us AS at_us FROM {fold.table(edges)}"]
    if fold.delayed:
        sides.append(f"SELECT seq, w, {fold.key_list}, -1 AS side, right_us AS at_us FROM {fold.table(edges)}")
    return f"""
        WITH sizes AS (SELECT {fold.key_list}, MAX(r) AS size FROM {fold.table(points)} GROUP BY {fold.key_list}),
        instants AS (SELECT {fold.key_list}, t, MAX(r) AS r FROM {fold.table(points)} GROUP BY {fold.key_list}, t),
        sides AS (SELECT e.*, size FROM ({" UNION ALL ".join(sides)}) AS e JOIN sizes ON {fold.same_key("e", "sizes")}),
        placed AS (
            SELECT sides.*, COALESCE(i.r, 0) AS below
            FROM sides {fold.latest("instants", "i", "sides.at_us > i.t")}
        )
        SELECT seq, w, side, {fold.key_list}, level, (below >> level) + 1 AS block
        FROM placed JOIN RANGE(0, {LEVELS}) AS levels(level)
        ON ((below >> level) & 1) = 0 AND (((below >> level) + 1) << level) <= size"""


def totals(fold: Fold) -> str:
    merged = [f"CAST(SUM(side * b.{name}) AS BIGINT) AS {name}" for name in ("n", *summed(fold))]
    merged += [f"MIN(b.min_{field}) AS min_{field}" for field in fold.fields("min")]
    merged += [f"MAX(b.max_{field}) AS max_{field}" for field in fold.fields("max")]
    if fold.has("first"):
        merged.append("MIN(b.first_r) AS first_r")
    return f"""
        SELECT c.seq, c.w, {listed(*merged)}
        FROM {fold.table(covers)} AS c ASOF JOIN {fold.table(blocks)} AS b
        ON {fold.same_key("c", "b")} AND c.level = b.level AND c.block = b.block AND c.seq > b.seq
        GROUP BY c.seq, c.w"""


def answers(fold: Fold) -> str:
    joins = [f"JOIN {fold.table(cuts)} AS c ON c.seq = r.seq"]
    if fold.spanned:
        joins.append(f"LEFT JOIN {fold.table(spans)} AS s ON s.seq = r.seq AND s.w = r.w")
    if fold.split:
        joins.append(f"LEFT JOIN {fold.table(totals)} AS late ON late.seq = r.seq AND late.w = r.w")
    if fold.has("first"):
        joins.append(f"""LEFT JOIN {fold.table(timeline)} AS f ON {fold.same_key("f", "r")} AND f.on_time
            AND f.rank = r.from_rank + 1 AND r.from_rank < r.to_rank
            LEFT JOIN {fold.table(points)} AS p ON {fold.same_key("p", "r")} AND p.r = late.first_r""")
    measured = [f"{answer(fold, m)} AS m{i}" for i, m in enumerate(fold.of.measures) if m.op in SPLIT_OPS]
    return f"SELECT r.seq, r.w, {listed(*measured)} FROM {fold.table(reads)} AS r {' '.join(joins)}"


def answer(fold: Fold, measure: Measure) -> str:
    """A split measure in its window, NULL where it is empty. r: ranks, c: cut, s: span, late: totals, f, p: firsts."""
    field = measure.field
    match measure.op:
        case "count":
            return "GREATEST(r.to_rank - r.from_rank, 0) + COALESCE(late.n, 0)"
        case "sum":
            upto = f"c.sum_{field}"
            if fold.delayed:
                upto = f"CASE WHEN r.to_rank < c.rank THEN r.right_sum_{field} ELSE c.sum_{field} END"
            timely_sum = (
                f"CASE WHEN r.from_rank < r.to_rank THEN CAST({upto} - r.from_sum_{field} AS BIGINT) ELSE 0 END"
            )
            return f"{timely_sum} + COALESCE(late.sum_{field}, 0)"
        case "distinct":
            return f"LEAST(COALESCE(s.distinct_{field}, 0) + COALESCE(late.distinct_{field}, 0), {measure.cap})"
        case "min":
            return f"LEAST(s.min_{field}, late.min_{field})"
        case "max":
            return f"GREATEST(s.max_{field}, late.max_{field})"
        case _:
            timely_first = "p.t IS NULL OR f.t < p.t OR (f.t = p.t AND f.seq < p.seq)"
            return f"CASE WHEN {timely_first} THEN f.{field} ELSE p.{field} END"


def recent(measure: Measure, window: Window) -> str:
    """A measure that the cut alone answers, NULL where the window is empty."""
    left = left_us(window.delay_us, window.width_us, window.hop_us)
    match measure.op:
        case "last":
            return f"CASE WHEN c.latest_t >= {left} THEN c.last_{measure.field} END"
        case "time_since":
            return f"CASE WHEN c.latest_t >= {left} THEN c.ingest_us - c.latest_t END"
        case _:
            return f"CASE WHEN c.previous_t >= {left} THEN c.latest_t - c.previous_t END"


def vectors(fold: Fold) -> str:
    """Answers turned from one row per window into one column per window, and marks."""
    windows, turned, marked = fold.of.parsed_windows, [], []
    for column in fold.of.columns:
        if column.window is None:
            value = seen(fold)
        elif column.measure.op in SPLIT_OPS:
            measure, w = fold.of.measures.index(column.measure), windows.index(column.window)
            turned.append(f'MAX(CASE WHEN w = {w} THEN m{measure} END) AS "{column.name}"')
            value = marks(fold, column.window, f'a."{column.name}"')
        else:
            value = marks(fold, column.window, recent(column.measure, column.window))
        marked.append(f'{value} AS "{column.name}"')
    turn = f"JOIN (SELECT {listed('seq', *turned)} FROM {fold.table(answers)} GROUP BY seq) AS a ON a.seq = c.seq"
    return f"SELECT {listed('c.seq', *marked)} FROM {fold.table(cuts)} AS c {turn if turned else ''}"


def marks(fold: Fold, window: Window, value: str) -> str:
    reach = window.width_us + window.delay_us
    return f"""CAST(CASE
        WHEN c.ingest_us - {reach} < {fold.first_complete_us} THEN {WARMING}
        WHEN {unseen(fold)} THEN {NEVER}
        ELSE COALESCE({value}, {EMPTY}) END AS BIGINT)"""


def seen(fold: Fold) -> str:
    return f"""CAST(CASE
        WHEN NOT ({unseen(fold)}) THEN 1
        WHEN c.ingest_us - {fold.of.ttl_us} < {fold.first_complete_us} THEN {WARMING}
        ELSE {NEVER} END AS BIGINT)"""


def unseen(fold: Fold) -> str:
    return f"c.latest_t IS NULL OR c.latest_t < c.ingest_us - {fold.of.ttl_us}"
