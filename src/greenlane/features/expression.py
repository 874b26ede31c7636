"""The small language of derived features: an expression in, a postfix program out.

A Pratt parser (Pratt 1973, "Top down operator precedence"): each operator binds its right side as tightly as its own
strength, so precedence is one table. The grammar stands at `Derived` in `definition`.
"""

import re
from typing import Final, Literal, NamedTuple, NoReturn

from greenlane.errors import FeatureError
from greenlane.features.definition import FACT_OF_PATH

STRENGTH: Final = {
    "<": 1, "<=": 1, ">": 1, ">=": 1, "==": 1, "!=": 1,
    "+": 2, "-": 2, "*": 3, "/": 3,
}  # fmt: skip
OF_AGGREGATION: Final = ("count", "time_since", "previous_gap")
OF_FIELD: Final = ("sum", "min", "max", "last", "first", "distinct")
FUNCTIONS: Final = (*OF_AGGREGATION, *OF_FIELD, "mean", "rate", "never_seen", "coalesce")
TOKEN: Final = re.compile(
    r"\s*(?:(?P<window>[0-9]+(?:us|ms|s|m|h|d)\b(?:\+[0-9]+(?:us|ms|s|m|h|d)\b)?)"
    r"|(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[a-z_][a-z0-9_]*(?:\.[a-z0-9_]+)*)"
    r"|(?P<sign><=|>=|==|!=|[-+*/<>(),]))"
)
CHARACTERS_MAX: Final = 2000

Act = Literal[
    "number", "name", "column", "never_seen", "negate", "coalesce", "<", "<=", ">", ">=", "==", "!=", "+", "-", "*", "/"
]


class Step(NamedTuple):
    """One move of a stack machine; `of` is the number, or the name of the input, derived feature or column to push."""

    act: Act
    of: str | float = ""


class Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse(expression: str) -> list[Step]:
    """The postfix program of an expression; names are not looked up yet.

    >>> [step.of or step.act for step in parse("amount_minor / mean(velocity.amount_minor, 30d) > 3")]
    ['amount_minor', 'velocity.sum_amount_minor.30d', 'velocity.count.30d', '/', '/', 3.0, '>']
    """
    parser = Parser(expression)
    try:
        parser.expression(0)
    except RecursionError:
        parser.fail("nested too deeply")
    parser.expect("")
    return parser.steps


class Parser:
    def __init__(self, expression: str):
        self.text = expression
        self.steps: list[Step] = []
        self._tokens = list(self._scan())
        self._at = 0

    def _scan(self) -> list[Token]:
        if len(self.text) > CHARACTERS_MAX:
            raise FeatureError(f"an expression of {len(self.text)} characters", hint=f"at most {CHARACTERS_MAX}")
        found, at, end = [], 0, len(self.text.rstrip())
        while at < end:
            match = TOKEN.match(self.text, at)
            if not match:
                raise FeatureError(f"{self.text!r}: cannot read {self.text[at:].strip()[:20]!r}", hint=GRAMMAR)
            kind = match.lastgroup or ""
            found.append(Token(kind, match[kind], match.start(kind)))
            at = match.end()
        return [*found, Token("end", "", end)]

    def fail(self, why: str) -> NoReturn:
        raise FeatureError(f"{self.text!r}: {why} at character {self._tokens[self._at].at + 1}", hint=GRAMMAR)

    def take(self, kind: str, what: str) -> str:
        token = self._tokens[self._at]
        if token.kind != kind:
            self.fail(f"{what} expected, not {token.text or 'the end'!r}")
        self._at += 1
        return token.text

    def expect(self, text: str) -> None:
        if self._tokens[self._at].text != text:
            self.fail(f"{text or 'the end'!r} expected, not {self._tokens[self._at].text or 'the end'!r}")
        self._at += 1

    def expression(self, strength: int) -> None:
        """Everything that binds more tightly than `strength`."""
        self.operand()
        while (binds := STRENGTH.get(self._tokens[self._at].text, 0)) > strength:
            operator = self._tokens[self._at].text
            self._at += 1
            self.expression(binds)
            self.steps.append(Step(operator))  # type: ignore[arg-type] # a key of STRENGTH is an Act

    def operand(self) -> None:
        kind, text, _ = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            self.steps.append(Step("number", float(text)))
        elif text == "-":
            self.expression(STRENGTH["*"])
            self.steps.append(Step("negate"))
        elif text == "(":
            self.expression(0)
            self.expect(")")
        elif kind == "name" and self._tokens[self._at].text == "(":
            self.call(text)
        elif kind == "name":
            self.steps.append(Step("name", text))
        else:
            self._at -= 1
            self.fail(f"a value expected, not {text or 'the end'!r}")

    def call(self, function: str) -> None:
        self.expect("(")
        if function == "coalesce":
            self.expression(0)
            self.expect(",")
            self.expression(0)
            self.steps.append(Step("coalesce"))
        elif function == "never_seen":
            self.steps.append(Step("never_seen", self.take("name", "an aggregation") + ".seen"))
        elif function == "rate":
            above = self.take("name", "an aggregation")
            self.expect(",")
            below = self.take("name", "an aggregation")
            window = self.window()
            self.ratio(f"{above}.count.{window}", f"{below}.count.{window}")
        elif function in OF_AGGREGATION:
            name = self.take("name", "an aggregation")
            self.steps.append(Step("column", f"{name}.{function}.{self.window()}"))
        elif function in (*OF_FIELD, "mean"):
            self.call_of_field(function)
        else:
            self._at -= 2
            self.fail(f"no function {function!r}")
        self.expect(")")

    def call_of_field(self, function: str) -> None:
        aggregation, _, path = self.take("name", "aggregation.field").partition(".")
        field, window = FACT_OF_PATH.get(path, path), self.window()
        if function == "mean":
            self.ratio(f"{aggregation}.sum_{field}.{window}", f"{aggregation}.count.{window}")
        else:
            self.steps.append(Step("column", f"{aggregation}.{function}_{field}.{window}"))

    def ratio(self, above: str, below: str) -> None:
        self.steps += [Step("column", above), Step("column", below), Step("/")]

    def window(self) -> str:
        self.expect(",")
        return self.take("window", "a window such as 30d or 30d+8d")


GRAMMAR: Final = (
    f"+ - * / ( ), comparisons, numbers, inputs, and {', '.join(FUNCTIONS)}: mean(velocity.amount_minor, 30d)"
)
