"""The small language of derived features: an expression in, a postfix program out.

Python's own parser reads it, of which only the nodes named here are let through. The grammar stands at `Derived` in
`definition`.
"""

import ast
import re
from typing import Final, Literal, NamedTuple

from greenlane.errors import FeatureError
from greenlane.features.definition import FACT_OF_PATH

Operator = Literal["<", "<=", ">", ">=", "==", "!=", "+", "-", "*", "/"]
OPERATORS: Final[dict[type[ast.AST], Operator]] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
}  # fmt: skip
OF_AGGREGATION: Final = ("count", "time_since", "previous_gap")
OF_FIELD: Final = ("sum", "min", "max", "last", "first", "distinct")
ARGUMENTS: Final = {**dict.fromkeys((*OF_AGGREGATION, *OF_FIELD, "mean", "coalesce"), 2), "rate": 3, "never_seen": 1}
GRAMMAR: Final = (
    f"+ - * / ( ), comparisons, numbers, inputs, and {', '.join(ARGUMENTS)}: mean(velocity.amount_minor, 30d)"
)
CHARACTERS: Final = re.compile(r"[a-z0-9_E .+*/<>=!(),-]*")
CHARACTERS_MAX: Final = 2000
WINDOW: Final = re.compile(r"(?<![\w.])([0-9]+(?:us|ms|s|m|h|d)(?:\+[0-9]+(?:us|ms|s|m|h|d))?)\b")


class Step(NamedTuple):
    """One move of a stack machine; `of` is the number, or the name of the input, derived feature or column to push."""

    act: Literal["number", "name", "column", "never_seen", "negate", "coalesce"] | Operator
    of: str | float = ""


def parse(expression: str) -> list[Step]:
    """The postfix program of an expression; names are not looked up yet.

    >>> [step.of or step.act for step in parse("amount_minor / mean(velocity.amount_minor, 30d) > 3")]
    ['amount_minor', 'velocity.sum_amount_minor.30d', 'velocity.count.30d', '/', '/', 3.0, '>']
    """
    if len(expression) > CHARACTERS_MAX:
        raise FeatureError(f"an expression of {len(expression)} characters", hint=f"at most {CHARACTERS_MAX}")
    text = " ".join(expression.split())
    if not CHARACTERS.fullmatch(text):
        raise FeatureError(f"{expression!r}: it has a character that means nothing here", hint=GRAMMAR)
    try:
        return Reader(WINDOW.sub(r'"\1"', text)).steps()
    except SyntaxError as error:
        raise FeatureError(f"{expression!r}: {error.msg} at character {error.offset}", hint=GRAMMAR) from error
    except (RecursionError, MemoryError, OverflowError) as error:
        raise FeatureError(f"{expression!r}: nested too deeply, or a number too large", hint=GRAMMAR) from error


class Reader:
    """Of an expression whose windows are texts."""

    def __init__(self, quoted: str):
        self._quoted = quoted

    def steps(self) -> list[Step]:
        return self._of(ast.parse(self._quoted, mode="eval").body)

    def _of(self, node: ast.expr) -> list[Step]:
        match node:
            case ast.Constant(value=int() | float() as number):
                return [Step("number", float(number))]
            case ast.Name(id=name):
                return [Step("name", name)]
            case ast.UnaryOp(op=ast.USub(), operand=negated):
                return [*self._of(negated), Step("negate")]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return [*self._of(left), *self._of(right), Step(OPERATORS[type(op)])]
            case ast.Compare(left=left, ops=ops, comparators=rights) if all(type(op) in OPERATORS for op in ops):
                compared = (
                    step for op, right in zip(ops, rights, strict=True)
                    for step in (*self._of(right), Step(OPERATORS[type(op)]))
                )  # fmt: skip
                return [*self._of(left), *compared]
            case ast.Call(func=ast.Name(id=function), args=args, keywords=[]):
                if len(args) != ARGUMENTS.get(function, len(args)):
                    raise self._error(node, f"{function} takes {ARGUMENTS[function]}")
                return self._called(node, function, args)
        raise self._error(node, "a value expected")

    def _called(self, node: ast.expr, function: str, args: list[ast.expr]) -> list[Step]:
        if function == "coalesce":
            return [*self._of(args[0]), *self._of(args[1]), Step("coalesce")]
        if function == "never_seen":
            return [Step("never_seen", f"{self._name(args[0])}.seen")]
        if function == "rate":
            return ratio(*(f"{self._name(each)}.count.{self._window(args[2])}" for each in args[:2]))
        if function in OF_AGGREGATION:
            return [Step("column", f"{self._name(args[0])}.{function}.{self._window(args[1])}")]
        if function not in ARGUMENTS:
            raise self._error(node, f"no function {function!r}")
        aggregation, _, path = self._name(args[0]).partition(".")
        field, window = FACT_OF_PATH.get(path, path), self._window(args[1])
        if function == "mean":
            return ratio(f"{aggregation}.sum_{field}.{window}", f"{aggregation}.count.{window}")
        return [Step("column", f"{aggregation}.{function}_{field}.{window}")]

    def _name(self, node: ast.expr) -> str:
        """A name, or several with dots between."""
        match node:
            case ast.Name(id=name):
                return name
            case ast.Attribute(value=owner, attr=name):
                return f"{self._name(owner)}.{name}"
        raise self._error(node, "an aggregation expected")

    def _window(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        raise self._error(node, "a window such as 30d or 30d+8d expected")

    def _error(self, node: ast.expr, why: str) -> FeatureError:
        at = len(self._quoted[: node.col_offset].replace('"', "")) + 1
        text = self._quoted.replace('"', "")
        return FeatureError(f"{text!r}: {why} at character {at}", hint=GRAMMAR)


def ratio(above: str, below: str) -> list[Step]:
    return [Step("column", above), Step("column", below), Step("/")]
