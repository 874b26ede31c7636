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
differences of running sums (exact in 38 digits). Last, TimeSince, PreviousGap and Seen ask for no left edge: the cut
answers them. Late points are few in most sources; where most are late
(labels at the time of their payment) they cost log(n), never n.

Distinct over both parts: a value counts while its latest t is at or after left. With M its latest t over all events and
N over on-time ones, the span counts [N >= left], so the late part owes [M >= left] - [N >= left]. M and N change only
at events, so every change is a pair of signed points, and their sum before q.seq needs no set of values.

The portable form, which Spark understands too, has no ASOF join (`Fold.as_of`) and no `spans`: where a measure would
need one, its on-time events become points as well, at n log(n) instead of n.
"""

# ruff: noqa: S608 - every name put into a text is a checked name of a definition, every literal our own integer

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec import Struct
from sqlglot import exp, maybe_parse

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
"""Blocks of up to 2^39 points of one key."""
ALL_LEVELS: Final = f"(VALUES {', '.join(f'({level})' for level in range(LEVELS))}) AS levels(level)"


def features_sql(feature_set: FeatureSet, first_complete_us: int, *, portable: bool = False) -> str:
    """The query text for DuckDB. `first_complete_us`: since when the journal is complete; before it windows warm up.

    >>> from greenlane.features.definition import Count, Entity
    >>> velocity = Aggregation("velocity", Entity("card", "card"), "attempts", (Count(),), ("1h/2m",))
    >>> features_sql(FeatureSet((velocity,)), 0)
    'WITH arrivals_0 AS (SELECT ...) SELECT q.seq, COALESCE(...) AS "velocity.count.1h" FROM queries AS q LEFT JOIN ...'
    """
    *steps, (_, query) = relations(feature_set, first_complete_us, portable=portable)
    for name, step in steps:
        query = query.with_(name, as_=step, copy=False)
    return query.sql(dialect="duckdb")


def relations(feature_set: FeatureSet, first_complete_us: int, *, portable: bool) -> Iterator[tuple[str, exp.Select]]:
    """Every step by its name, in an order in which each reads only earlier ones; the last is the answer, `answer`."""
    query = exp.select("q.seq", dialect="duckdb").from_("queries AS q").order_by("q.seq")
    for number, aggregation in enumerate(feature_set.aggregations):
        fold = Fold(aggregation, number, first_complete_us, portable)
        for step in fold.steps:
            yield fold.table(step), maybe_parse(step(fold), into=exp.Select, dialect="duckdb")
        query = query.select(*(output(fold, column) for column in fold.of.columns), dialect="duckdb", copy=False)
        query = query.join(f"{fold.table(vectors)} AS v{number}", using="seq", join_type="left", copy=False)
    yield "answer", query


def output(fold: "Fold", column: Column) -> str:
    return f'COALESCE(v{fold.number}."{column.name}", {ABSENT}) AS "{column.name}"'


class Fold(Struct, frozen=True):
    """One aggregation on its way to SQL, with the names that its steps share."""

    of: Aggregation
    number: int
    first_complete_us: int
    portable: bool

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

    def as_of(
        self, left: str, right: str, *, at: str, by: str, kept: Sequence[str], took: dict[str, str], within: str = ""
    ) -> str:
        """Each row of `left` beside the last row of `right` of its key with `by` strictly before its `at`, or NULLs.

        Of `left` the key and the columns `kept` come out, of `right` those named in `took`. `within` names further
        columns that must be equal. Rows of `right` with equal (key, by) must be alike in what is taken, and what is
        NULL in one of them must be NULL in all before it, as in every running total: so the portable form, a union
        put in order, may take the last that is not NULL.
        """
        keys = listed(self.key_list, within)
        out = list(dict.fromkeys([*keys.split(", "), *kept]))
        if not self.portable:
            same = " AND ".join(f"l.{key} = r.{key}" for key in keys.split(", "))
            names = [f"l.{name}" for name in out] + [f"r.{name} AS {alias}" for alias, name in took.items()]
            return (
                f"(SELECT {listed(*names)} FROM {left} AS l ASOF LEFT JOIN {right} AS r ON {same} AND l.{at} > r.{by})"
            )
        asks = [f"{at} AS as_of", "1 AS asks", *(f"NULL AS {alias}" for alias in took)]
        tells = [key if key in keys.split(", ") else f"NULL AS {key}" for key in out]
        tells += [f"{by} AS as_of", "0 AS asks", *(f"{name} AS {alias}" for alias, name in took.items())]
        last = [f"LAST_VALUE({alias} IGNORE NULLS) OVER so_far AS {alias}" for alias in took]
        return f"""(SELECT {listed(*out, *took)} FROM (
            SELECT {listed(*out, "asks", *last)} FROM (
                SELECT {listed(*out, *asks)} FROM {left} UNION ALL SELECT {listed(*tells)} FROM {right}
            ) WINDOW so_far AS (PARTITION BY {keys} ORDER BY as_of, asks DESC ROWS UNBOUNDED PRECEDING)
        ) WHERE asks = 1)"""

    def has(self, *ops: str) -> bool:
        return any(m.op in ops for m in self.of.measures)

    def fields(self, *ops: str) -> list[str]:
        """The facts that measures of these kinds read, each once."""
        return list(dict.fromkeys(m.field for m in self.of.measures if m.op in ops))

    @property
    def spanned(self) -> bool:
        """Whether a ROWS frame as wide as each row says is asked for; the portable form makes points of all events."""
        return self.has("min", "max", "distinct") and not self.portable

    @property
    def split(self) -> bool:
        """Whether more is asked than the last on-time event can tell."""
        return self.has(*SPLIT_OPS)

    def exact(self, number: str) -> str:
        """A number whose running sum is exact: in 38 digits; portably in 64 bits, where one digit more is an error."""
        return f"CAST({number} AS {'BIGINT' if self.portable else 'DECIMAL(38, 0)'})"

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
    sums = [
        f"SUM(CASE WHEN on_time THEN {fold.exact(field)} END) OVER so_far AS sum_{field}"
        for field in fold.fields("sum")
    ]
    return f"""
        SELECT *, GREATEST(t, earlier_t) AS latest_t,
            {listed("COUNT(CASE WHEN on_time THEN 1 END) OVER so_far AS rank", *sums)},
            MAX(CASE WHEN t < earlier_t THEN t ELSE earlier_t END) OVER so_far AS previous_t,
            LEAD(GREATEST(t, earlier_t)) OVER (PARTITION BY {fold.key_list} ORDER BY seq) AS next_latest_t
        FROM {fold.table(arrivals)} WHERE sign > 0
        WINDOW so_far AS (PARTITION BY {fold.key_list} ORDER BY seq ROWS UNBOUNDED PRECEDING)"""


def asked(fold: Fold) -> str:
    facts = fold.of.entity.facts
    keys = [f"e.{fact} AS {key}" for key, fact in zip(fold.keys, facts, strict=True)]
    return f"""
        SELECT e.seq, e.ingest_us, {listed(*keys)} FROM queries AS q JOIN entries AS e ON e.seq = q.seq
        WHERE {" AND ".join(present(fact) for fact in facts)}"""


def cuts(fold: Fold) -> str:
    took = {"last_rank": "rank", "latest_t": "latest_t"}
    took |= {f"last_sum_{field}": f"sum_{field}" for field in fold.fields("sum")}
    took |= {f"last_{field}": field for field in fold.fields("last")}
    found = fold.as_of(fold.table(asked), "on_time", at="seq", by="seq", kept=["seq", "ingest_us"], took=took)
    previous = fold.has("previous_gap")
    if previous:
        kept = ["seq", "ingest_us", *took]
        found = fold.as_of(
            found, fold.table(timeline), at="seq", by="seq", kept=kept, took={"previous_t": "previous_t"}
        )
    sums = [f"COALESCE(last_sum_{field}, 0) AS sum_{field}" for field in fold.fields("sum")]
    lasts = [f"last_{field}" for field in fold.fields("last")]
    told = listed("COALESCE(last_rank, 0) AS rank", "latest_t", "previous_t" if previous else "", *sums, *lasts)
    return f"""
        WITH on_time AS (SELECT * FROM {fold.table(timeline)} WHERE on_time)
        SELECT seq, ingest_us, {fold.key_list}, {told} FROM {found} AS found"""


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
    sums = [f"sum_{field}" for field in fold.fields("sum")]
    kept, took = ["seq", "w", "rank", "left_us", "right_us"], {"from_rank": "rank"} | {f"from_{s}": s for s in sums}
    found = fold.as_of(fold.table(edges), "instants", at="left_us", by="latest_t", kept=kept, took=took)
    if fold.delayed:
        kept, took = [*kept, *took], {"right_rank": "rank"} | {f"right_{s}": s for s in sums}
        found = fold.as_of(found, "instants", at="right_us", by="latest_t", kept=kept, took=took)
    summed = [f"COALESCE({side}_{s}, 0) AS {side}_{s}" for side in ("from", "right")[: 1 + fold.delayed] for s in sums]
    right = "LEAST(rank, COALESCE(right_rank, 0))" if fold.delayed else "rank"
    return f"""
        WITH instants AS (
            SELECT * FROM {fold.table(timeline)} WHERE next_latest_t IS NULL OR next_latest_t > latest_t
        )
        SELECT seq, w, {fold.key_list}, {listed("COALESCE(from_rank, 0) AS from_rank", f"{right} AS to_rank", *summed)}
        FROM {found} AS found"""


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
    """r: the place in (t, seq) among the points of the key, from 1; of 64 bits, or shifts by 32 and more would wrap."""
    told = {"n": "CASE WHEN on_time THEN 0 ELSE sign END"}
    told |= {f"sum_{field}": f"CASE WHEN on_time THEN 0 ELSE sign * {field} END" for field in fold.fields("sum")}
    told |= {field: f"CASE WHEN sign > 0 THEN {field} END" for field in fold.fields("min", "max", "first")}
    wanted = "TRUE" if fold.portable and fold.has("min", "max") else "NOT on_time"
    values = [f"{value} AS {name}" for name, value in told.items()]
    distincts = fold.fields("distinct")
    values += [f"NULL AS distinct_{field}" for field in distincts]
    parts = [f"SELECT {fold.key_list}, seq, t, {listed(*values)} FROM {fold.table(arrivals)} WHERE {wanted}"]
    for field in distincts:
        names = [f"NULL AS {name}" for name in told]
        names += [f"distinct_{f}" if f == field else f"NULL AS distinct_{f}" for f in distincts]
        parts.append(f"SELECT {fold.key_list}, seq, t, {listed(*names)} FROM ({distinct_points(fold, field)})")
    return f"""
        SELECT *, CAST(ROW_NUMBER() OVER (PARTITION BY {fold.key_list} ORDER BY t, seq) AS BIGINT) AS r
        FROM ({" UNION ALL ".join(parts)})"""


def distinct_points(fold: Fold, field: str) -> str:
    """Where a value's latest t over all events (M) and over on-time ones (N) part: +1 at M, -1 at N, and back.

    Without a span for on-time events there is no N: every change of M is a pair of points.
    """
    moved = {0: ("GREATEST(m, t)", 1), 1: ("m", -1)}
    if fold.spanned:
        moved |= {2: ("CASE WHEN on_time THEN t ELSE n END", -1), 3: ("n", 1)}
    places = " ".join(f"WHEN {i} THEN {place}" for i, (place, _) in moved.items())
    changes = ", ".join(f"({i}, {change})" for i, (_, change) in moved.items())
    return f"""
        SELECT {fold.key_list}, seq, moved_t AS t, distinct_{field} FROM (
            SELECT {fold.key_list}, seq, CASE part {places} END AS moved_t, change AS distinct_{field}
            FROM (
                SELECT {fold.key_list}, seq, t, on_time,
                    MAX(t) OVER earlier AS m, MAX(CASE WHEN on_time THEN t END) OVER earlier AS n
                FROM {fold.table(arrivals)} AS a WHERE sign > 0 AND {present(field, "a")}
                WINDOW earlier AS (
                    PARTITION BY {fold.key_list}, {field} ORDER BY seq
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                )
            ) CROSS JOIN (VALUES {changes}) AS changes(part, change)
            WHERE {"NOT on_time OR m IS DISTINCT FROM n" if fold.spanned else "m IS NULL OR t > m"}
        ) WHERE NOT moved_t IS NULL"""


def blocks(fold: Fold) -> str:
    """A point lies, at each level, in the block r >> level; only odd ones are ever asked. RANGE frames keep peers."""
    merged = ["SUM(n) OVER so_far AS n"]
    merged += [f"SUM({fold.exact(name)}) OVER so_far AS {name}" for name in summed(fold)]
    merged += [f"MIN({field}) OVER so_far AS min_{field}" for field in fold.fields("min")]
    merged += [f"MAX({field}) OVER so_far AS max_{field}" for field in fold.fields("max")]
    if fold.has("first"):
        merged.append("MIN(CASE WHEN n > 0 THEN r END) OVER so_far AS first_r")
    return f"""
        SELECT {fold.key_list}, level, r >> level AS block, seq, {listed(*merged)}
        FROM {fold.table(points)} JOIN {ALL_LEVELS} ON ((r >> level) & 1) = 1
        WINDOW so_far AS (PARTITION BY {fold.key_list}, level, r >> level ORDER BY seq)"""


def summed(fold: Fold) -> list[str]:
    return [f"sum_{f}" for f in fold.fields("sum")] + [f"distinct_{f}" for f in fold.fields("distinct")]


def covers(fold: Fold) -> str:
    """With `below` points before the edge, the rest is block (below >> level) + 1 at each level where that is odd."""
    sides = [f"SELECT seq, w, {fold.key_list}, 1 AS side, left_us AS at_us FROM {fold.table(edges)}"]
    if fold.delayed:
        sides.append(f"SELECT seq, w, {fold.key_list}, -1 AS side, right_us AS at_us FROM {fold.table(edges)}")
    kept = ["seq", "w", "side", "size"]
    placed = fold.as_of("sides", "instants", at="at_us", by="t", kept=kept, took={"last_r": "r"})
    return f"""
        WITH sizes AS (SELECT {fold.key_list}, MAX(r) AS size FROM {fold.table(points)} GROUP BY {fold.key_list}),
        instants AS (SELECT {fold.key_list}, t, MAX(r) AS r FROM {fold.table(points)} GROUP BY {fold.key_list}, t),
        sides AS (SELECT e.*, size FROM ({" UNION ALL ".join(sides)}) AS e JOIN sizes ON {fold.same_key("e", "sizes")}),
        placed AS (SELECT *, COALESCE(last_r, 0) AS below FROM {placed} AS found)
        SELECT seq, w, side, {fold.key_list}, level, (below >> level) + 1 AS block
        FROM placed JOIN {ALL_LEVELS}
        ON ((below >> level) & 1) = 0 AND (((below >> level) + 1) << level) <= size"""


def totals(fold: Fold) -> str:
    sums, least = ["n", *summed(fold)], [f"min_{field}" for field in fold.fields("min")]
    least += ["first_r"] if fold.has("first") else []
    most = [f"max_{field}" for field in fold.fields("max")]
    merged = [f"CAST(SUM(side * {name}) AS BIGINT) AS {name}" for name in sums]
    merged += [f"MIN({name}) AS {name}" for name in least] + [f"MAX({name}) AS {name}" for name in most]
    took = {name: name for name in (*sums, *least, *most)}
    found = fold.as_of(
        fold.table(covers),
        fold.table(blocks),
        at="seq",
        by="seq",
        kept=["seq", "w", "side"],
        took=took,
        within="level, block",
    )
    return f"SELECT seq, w, {listed(*merged)} FROM {found} AS found GROUP BY seq, w"


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
    spanned = f"s.{measure.op}_{field}" if fold.spanned else "NULL"
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
            return f"LEAST(COALESCE({spanned}, 0) + COALESCE(late.distinct_{field}, 0), {measure.cap})"
        case "min":
            return f"LEAST({spanned}, late.min_{field})"
        case "max":
            return f"GREATEST({spanned}, late.max_{field})"
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
