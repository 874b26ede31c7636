"""`where=` of an aggregation: a boolean SQL expression over frozen facts, run as a Python closure and printed as SQL.

Facts are never NULL ("" and 0 mean absent), so the logic is two-valued and both forms agree row for row. Text compares
by Unicode code point, which is the order of its UTF-8 bytes and so DuckDB's own. Grammar:

    = <> < <= > >=  AND OR NOT  [NOT] IN (...)  [NOT] BETWEEN x AND y  ( )  TRUE FALSE  'text'  whole numbers  facts
"""

import operator
from collections.abc import Callable
from typing import Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from greenlane.errors import FeatureError
from greenlane.features.definition import fact_named
from greenlane.payments.facts import TEXT_FIELDS, Facts

Predicate = Callable[[Facts], bool]
Value = Callable[[Facts], Any]

COMPARISONS: Final[dict[type[exp.Expr], Callable[[Any, Any], bool]]] = {
    exp.EQ: operator.eq,
    exp.NEQ: operator.ne,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
}
GRAMMAR: Final = "a boolean over facts: = <> < <= > >= AND OR NOT IN BETWEEN, 'text', whole numbers"
CHARACTERS_MAX: Final = 4000


def compile_where(expression: str) -> Predicate:
    """The expression as a function of one event's facts; FeatureError where it is no such expression.

    >>> large = compile_where("merchant_id IN ('m1', 'm2') AND amount_minor >= 10000")
    >>> payment = Facts(
    ...     payment_id="p", payment_us=0, amount_minor=10000, currency="", amount_reporting_minor=0, merchant_id="m2"
    ... )
    >>> large(payment)
    True
    """
    return predicate(where_tree(expression))


def where_sql(expression: str) -> str:
    """The expression over the columns of a table `e`, one per fact.

    >>> where_sql("NOT network = 'visa' OR is_proxy = 1")
    '(NOT ("e"."network" = \\'visa\\')) OR ("e"."is_proxy" = 1)'
    """
    return where_tree(expression).sql(dialect="duckdb")


def where_tree(expression: str) -> exp.Expr:
    """Parsed, checked and rebuilt: every operand in parentheses, every fact under its own name and quoted."""
    return rebuilt(parsed(expression))


def parsed(expression: str) -> exp.Expr:
    if len(expression) > CHARACTERS_MAX:
        raise FeatureError(f"where= of {len(expression)} characters", hint=f"at most {CHARACTERS_MAX}")
    try:
        found = sqlglot.parse(expression, dialect="duckdb")
    except (SqlglotError, RecursionError) as error:
        raise FeatureError(f"where= cannot be read: {expression[:200]!r}", hint=GRAMMAR) from error
    if len(found) != 1 or not isinstance(found[0], exp.Expr):
        raise FeatureError(f"where= must be one expression: {expression[:200]!r}", hint=GRAMMAR)
    return found[0]


def rebuilt(node: exp.Expr) -> exp.Expr:
    """The boolean `node` from parts we know, and nothing else of what the parser allows."""
    if isinstance(node, exp.Paren):
        return rebuilt(node.this)
    if isinstance(node, exp.And | exp.Or):
        parts = [exp.paren(rebuilt(part), copy=False) for part in node.flatten()]
        return exp.and_(*parts) if isinstance(node, exp.And) else exp.or_(*parts)
    if isinstance(node, exp.Not):
        return exp.Not(this=exp.paren(rebuilt(node.this), copy=False))
    if isinstance(node, exp.Boolean):
        return exp.Boolean(this=node.this)
    operands = [operand(part) for part in operands_of(node)]
    if len({is_text(part) for part in operands}) != 1:
        raise FeatureError(f"where= compares text with a number: {node.sql('duckdb')}", hint="quote text: mcc = '5967'")
    if isinstance(node, exp.In):
        return exp.In(this=operands[0], expressions=operands[1:])
    if isinstance(node, exp.Between):
        return exp.Between(this=operands[0], low=operands[1], high=operands[2])
    return type(node)(this=operands[0], expression=operands[1])


def operands_of(node: exp.Expr) -> list[exp.Expr]:
    """What a comparison compares; FeatureError for every node that is none."""
    given = {name for name, value in node.args.items() if value not in (None, False, [])}
    if type(node) in COMPARISONS and given == {"this", "expression"}:
        return [node.this, node.expression]
    if isinstance(node, exp.Between) and given == {"this", "low", "high"}:
        return [node.this, node.args["low"], node.args["high"]]
    if isinstance(node, exp.In) and given == {"this", "expressions"}:
        return [node.this, *node.expressions]
    raise FeatureError(f"where= does not support {node.sql('duckdb')!r}", hint=GRAMMAR)


def operand(node: exp.Expr) -> exp.Expr:
    """A fact or a literal, with its SQL type in `node.type`."""
    if isinstance(node, exp.Paren):
        return operand(node.this)
    if isinstance(node, exp.Column):
        return fact(".".join(part.name for part in node.parts))
    if isinstance(node, exp.Literal) and node.is_string:
        return typed(exp.Literal.string(node.this), "TEXT")
    return typed(exp.Literal.number(whole_number(node)), "BIGINT")


def fact(path: str) -> exp.Expr:
    name = fact_named(path)
    return typed(exp.column(name, table="e", quoted=True), "TEXT" if name in TEXT_FIELDS else "BIGINT")


def whole_number(node: exp.Expr) -> int:
    negative = isinstance(node, exp.Neg)
    digits = node.this if negative else node
    if not isinstance(digits, exp.Literal) or digits.is_string or not digits.this.isdecimal():
        raise FeatureError(f"where= does not support {node.sql('duckdb')!r}", hint=GRAMMAR)
    number = -int(digits.this) if negative else int(digits.this)
    if not -(2**63) <= number < 2**63:
        raise FeatureError(f"where= has a number beyond 64 bits: {number}")
    return number


def typed(node: exp.Expr, kind: str) -> exp.Expr:
    node.type = exp.DataType.build(kind)
    return node


def is_text(node: exp.Expr) -> bool:
    return bool(node.is_type("TEXT"))


def predicate(node: exp.Expr) -> Predicate:
    """A rebuilt tree as a closure."""
    if isinstance(node, exp.Paren):
        return predicate(node.this)
    if isinstance(node, exp.And):
        every = [predicate(part) for part in node.flatten()]
        return lambda facts: all(holds(facts) for holds in every)
    if isinstance(node, exp.Or):
        some = [predicate(part) for part in node.flatten()]
        return lambda facts: any(holds(facts) for holds in some)
    if isinstance(node, exp.Not):
        inner = predicate(node.this)
        return lambda facts: not inner(facts)
    if isinstance(node, exp.Boolean):
        constant = bool(node.this)
        return lambda _facts: constant
    return comparison(node)


def comparison(node: exp.Expr) -> Predicate:
    left, *rest = (value(part) for part in operands_of(node))
    if isinstance(node, exp.In):
        return lambda facts: left(facts) in [choice(facts) for choice in rest]
    if isinstance(node, exp.Between):
        low, high = rest
        return lambda facts: bool(low(facts) <= left(facts) <= high(facts))
    compare, right = COMPARISONS[type(node)], rest[0]
    return lambda facts: compare(left(facts), right(facts))


def value(node: exp.Expr) -> Value:
    if isinstance(node, exp.Column):
        return operator.attrgetter(node.name)
    constant: int | str = node.this if node.is_string else whole_number(node)
    return lambda _facts: constant
