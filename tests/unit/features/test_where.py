"""`where=`: what is accepted, what is refused, and that Python and SQL agree row for row."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.errors import FeatureError
from greenlane.features.where import compile_where, where_sql
from greenlane.payments.facts import INT_FIELDS, TEXT_FIELDS, Facts

TEXTS = ("", "a", "B", "b", "ab", "é", "z", "\U0001f600", "\ue000", "it's")
NUMBERS = (0, 1, -1, 5, 2**53 + 1, -(2**63), 2**63 - 1)


def facts(**values) -> Facts:
    return Facts(payment_id="p", payment_us=0, currency="", amount_reporting_minor=0, **({"amount_minor": 0} | values))


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("amount_minor = 5", True),
        ("amount_minor <> 5", False),
        ("amount_minor != 4 AND mcc = 'b'", True),
        ("amount_minor BETWEEN 5 AND 6", True),
        ("amount_minor NOT BETWEEN -6 AND 5", False),
        ("mcc IN ('a', 'b')", True),
        ("mcc NOT IN ('a', 'b')", False),
        ("NOT mcc = 'b' OR amount_minor > 4", True),
        ("mcc = 'b' OR amount_minor = 4 AND mcc = 'x'", True),
        ("(mcc = 'b' OR amount_minor = 4) AND mcc = 'x'", False),
        ("5 <= amount_minor", True),
        ("amount_minor > amount_reporting_minor", True),
        ("payment_method.card.bin = ''", True),
        ("TRUE AND NOT FALSE", True),
        ("device = 0", True),
    ],
)
def test_expression_over_a_payment(expression, holds):
    assert compile_where(expression)(facts(amount_minor=5, mcc="b")) is holds


@pytest.mark.parametrize("fact", TEXT_FIELDS)
def test_every_text_fact_can_be_named(fact):
    assert compile_where(f"{fact} = 'x'") and where_sql(f"{fact} = 'x'") == f'"e"."{fact}" = \'x\''


@pytest.mark.parametrize("fact", INT_FIELDS)
def test_every_integer_fact_can_be_named(fact):
    assert compile_where(f"{fact} = 1") and where_sql(f"{fact} = 1") == f'"e"."{fact}" = 1'


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("merchnt_id = 'x'", "did you mean 'merchant_id'?"),
        ("e.mcc = 'x'", "no frozen fact"),
        ("mcc = 5967", "text with a number"),
        ("mcc IN ('a', 1)", "text with a number"),
        ("amount_minor = '5'", "text with a number"),
        ("amount_minor > 1.5", "does not support"),
        ("amount_minor > 1e3", "does not support"),
        ("amount_minor = 99999999999999999999", "64 bits"),
        ("mcc IS NULL", "does not support"),
        ("mcc = NULL", "does not support"),
        ("mcc LIKE 'a%'", "does not support"),
        ("amount_minor + 1 = 2", "does not support"),
        ("lower(mcc) = 'a'", "does not support"),
        ("mcc IN (SELECT 'a')", "does not support"),
        ("mcc IN ()", "does not support"),
        ("amount_minor BETWEEN SYMMETRIC 2 AND 1", "does not support"),
        ("amount_minor", "does not support"),
        ("card = 1 = TRUE", "does not support"),
        ("mcc = 'a' COLLATE nocase", "does not support"),
        ("mcc = 'a'; DROP TABLE e", "one expression"),
        ("", "one expression"),
        ("mcc = ", "cannot be read"),
        ("(" * 1000 + "card = 1" + ")" * 1000, "cannot be read"),
        ("card = 1 OR " * 500 + "card = 1", "characters"),
    ],
)
def test_refused_with_a_reason(expression, complaint):
    with pytest.raises(FeatureError) as refused:
        compile_where(expression)
    assert complaint in str(refused.value)


def test_a_long_alternative_is_no_deep_recursion():
    expression = " OR ".join(f"card={i}" for i in range(300))
    assert compile_where(expression)(facts(card=299))
    assert duckdb.sql(f"SELECT {where_sql(expression)} FROM (SELECT 299 AS card) AS e").fetchall() == [(True,)]


def literal(value: int | str) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def comparisons(names: tuple[str, ...], values: tuple[int, ...] | tuple[str, ...]) -> st.SearchStrategy[str]:
    left, right = st.sampled_from(names), st.sampled_from(values).map(literal) | st.sampled_from(names)
    compared = st.builds("{} {} {}".format, left, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), right)
    listed = st.builds("{} IN ({})".format, left, st.lists(right, min_size=1, max_size=3).map(", ".join))
    between = st.builds("{} NOT BETWEEN {} AND {}".format, left, right, right)
    return compared | listed | between


expressions = st.recursive(
    comparisons(("card", "amount_minor"), NUMBERS) | comparisons(("mcc", "merchant_id"), TEXTS),
    lambda inner: (
        st.builds("({}) {} NOT ({})".format, inner, st.sampled_from(["AND", "OR"]), inner)
        | st.builds("{} {} {}".format, inner, st.sampled_from(["AND", "OR"]), inner)
        | st.builds("NOT {}".format, inner)
    ),
    max_leaves=5,
)
ROWS = [
    facts(card=card, amount_minor=amount, mcc=mcc, merchant_id=merchant)
    for card in NUMBERS
    for amount in (0, 5, 2**53 + 1)
    for mcc in TEXTS
    for merchant in ("", "b", "\U0001f600")
]


@pytest.fixture(scope="module")
def table():
    con = duckdb.connect()
    con.execute("CREATE TABLE e (card BIGINT, amount_minor BIGINT, mcc VARCHAR, merchant_id VARCHAR)")
    con.executemany("INSERT INTO e VALUES (?, ?, ?, ?)", [[r.card, r.amount_minor, r.mcc, r.merchant_id] for r in ROWS])
    return con


@settings(max_examples=60, deadline=None)
@given(expression=expressions)
def test_python_and_sql_agree_row_for_row(table, expression):
    holds = compile_where(expression)
    found = table.execute(f"SELECT {where_sql(expression)} FROM e ORDER BY rowid").fetchall()
    assert [row[0] for row in found] == [holds(row) for row in ROWS]
