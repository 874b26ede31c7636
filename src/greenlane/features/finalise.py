"""From integers to what models see: the one place that divides, for served vectors and training rows alike."""

import difflib
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from greenlane.errors import FeatureError
from greenlane.features.definition import MARK_MAX, NEVER, FeatureSet
from greenlane.features.expression import Step, parse
from greenlane.features.inputs import INPUTS
from greenlane.features.kernels import kernel
from greenlane.payments.arrays import Floats, Ints

NUMBER, VALUE, NEVER_SEEN, STORE, NEGATE, COALESCE = range(6)
ADD, SUBTRACT, MULTIPLY, DIVIDE, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, EQUAL, UNEQUAL = range(6, 16)
BINARY: Final = ("+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=")
IN_SECONDS: Final = ("time_since", "previous_gap")


@kernel
def combined(act: int, x: float, y: float) -> float:
    """A binary operation; missing where a part is missing, and where the divisor is zero."""
    if np.isnan(x) or np.isnan(y) or (act == DIVIDE and y == 0.0):
        return np.nan
    if act == ADD:
        return x + y
    if act == SUBTRACT:
        return x - y
    if act == MULTIPLY:
        return x * y
    if act == DIVIDE:
        return x / y
    if act == LESS:
        return 1.0 if x < y else 0.0
    if act == LESS_EQUAL:
        return 1.0 if x <= y else 0.0
    if act == GREATER:
        return 1.0 if x > y else 0.0
    if act == GREATER_EQUAL:
        return 1.0 if x >= y else 0.0
    return 1.0 if (x == y) == (act == EQUAL) else 0.0


@kernel
def never_seen(value: int) -> float:
    """1 where a history is known to hold no such event, 0 where it holds one, else missing."""
    if value == NEVER:
        return 1.0
    return np.nan if value <= MARK_MAX else 0.0


@kernel
def finalise(ints: Ints, divisors: Floats, code: Ints, numbers: Floats, out: npt.NDArray[np.float32] | Floats) -> None:
    """out[n, m]: the integers over their divisors with marks as NaN, then what `code` derives, in float64."""
    width = ints.shape[1]
    values, stack = np.empty(out.shape[1]), np.empty(code.shape[0] + 2)
    for i in range(ints.shape[0]):
        for j in range(width):
            values[j] = np.nan if ints[i, j] <= MARK_MAX else ints[i, j] / divisors[j]
        top = 0
        for c in range(code.shape[0]):
            act, of = code[c, 0], code[c, 1]
            if act == NUMBER:
                stack[top] = numbers[of]
                top += 1
            elif act == VALUE:
                stack[top] = values[of]
                top += 1
            elif act == NEVER_SEEN:
                stack[top] = never_seen(ints[i, of])
                top += 1
            elif act == NEGATE:
                stack[top - 1] = -stack[top - 1]
            elif act == STORE:
                top -= 1
                values[of] = stack[top]
            else:
                top -= 1
                if act == COALESCE:
                    stack[top - 1] = stack[top] if np.isnan(stack[top - 1]) else stack[top - 1]
                else:
                    stack[top - 1] = combined(act, stack[top - 1], stack[top])
        for j in range(values.size):
            out[i, j] = values[j]


def unknown(what: str, name: str, known: Iterable[str]) -> FeatureError:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return FeatureError(f"{what}: unknown {name!r}", hint=f"did you mean {near[0]!r}?" if near else None)


class Finaliser:
    """Every output of a feature set: its inputs, its columns, its derived features, in that order.

    >>> from greenlane.features.definition import Derived
    >>> ratio = Finaliser(FeatureSet((), (Derived("is_large", "amount_minor > 10000"),)))
    >>> ratio.row(np.array([20_000] + [NEVER] * (len(INPUTS) - 1)))[[0, 1, -1]].tolist()
    [20000.0, nan, 1.0]
    """

    def __init__(self, features: FeatureSet):
        self._known = {name: i for i, name in enumerate((*INPUTS, *(c.name for c in features.columns)))}
        self._width = len(self._known)
        seconds = [c.measure.op in IN_SECONDS for c in features.columns]
        self._divisors = np.array([1.0] * len(INPUTS) + [1e6 if s else 1.0 for s in seconds])
        self._code: list[list[int]] = []
        self._constants: list[float] = []
        for derived in features.derived:
            self._derive(derived.name, derived.expression)
        self.names: tuple[str, ...] = tuple(self._known)
        """What each value is called."""
        self._program = np.array(self._code, np.int64).reshape(-1, 2)
        self._numbers = np.array(self._constants, np.float64)
        self.matrix(np.empty((0, self._width), np.int64))  # compiles now, not at the first payment

    def _derive(self, name: str, expression: str) -> None:
        for step in parse(expression):
            self._code.append(self._instruction(name, step))
        if name in self._known:
            raise FeatureError(f"derived feature {name!r} has the name of another", hint="give it a new name")
        self._known[name] = len(self._known)
        self._code.append([STORE, self._known[name]])

    def _instruction(self, name: str, step: Step) -> list[int]:
        if step.act == "number":
            self._constants.append(float(step.of))
            return [NUMBER, len(self._constants) - 1]
        if step.act in ("name", "column", "never_seen"):
            if step.of not in self._known:
                raise unknown(name, str(step.of), self._known)
            return [NEVER_SEEN if step.act == "never_seen" else VALUE, self._known[str(step.of)]]
        if step.act == "negate":
            return [NEGATE, 0]
        return [COALESCE if step.act == "coalesce" else ADD + BINARY.index(step.act), 0]

    def row(self, ints: Ints) -> npt.NDArray[np.float32]:
        """float32[m] of one vector int64[k] as the engines answer it."""
        return self.matrix(ints.reshape(1, -1)).reshape(-1)

    def matrix(self, ints: Ints) -> npt.NDArray[np.float32]:
        """float32[n, m] of n vectors."""
        assert ints.shape[1] == self._width  # the kernel does not look
        out = np.empty((len(ints), len(self.names)), np.float32)
        finalise(ints, self._divisors, self._program, self._numbers, out)
        return out

    def values64(self, ints: Ints) -> Floats:
        """float64[n, m]: the same before rounding, for checks against expected tables."""
        assert ints.shape[1] == self._width  # the kernel does not look
        out = np.empty((len(ints), len(self.names)), np.float64)
        finalise(ints, self._divisors, self._program, self._numbers, out)
        return out
