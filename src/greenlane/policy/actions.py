"""The words of a choice: an action is intervention x exemption x route x credential, and which of them are possible."""

from typing import Final, NamedTuple, get_args

from msgspec import Struct

from greenlane.payments.attempt import Exemption


class Way(NamedTuple):
    """A route with the credential that is sent over it: "pan", "network_token", or "" for what is no card."""

    route: str
    credential: str


class Action(Struct, frozen=True, array_like=True, gc=False):
    """What to do. `exemption` only with the intervention "exempt"; a block goes over no route with no credential."""

    intervention: str
    exemption: str = ""
    route: str = ""
    credential: str = ""

    @property
    def way(self) -> Way:
        return Way(self.route, self.credential)


BLOCK: Final = Action("block")

INTERVENTIONS: Final = ("allow", "exempt", "challenge", "review", "block")
"""In order of rising friction, which also decides between equal values."""

EXEMPTIONS: Final[tuple[str, ...]] = get_args(Exemption)
"""In the order in which they are preferred where several could be asked for."""

ROWS: Final[tuple[tuple[str, str], ...]] = (
    ("allow", ""),
    *(("exempt", exemption) for exemption in EXEMPTIONS),
    ("challenge", ""),
    ("review", ""),
)
"""(intervention, exemption) in the order of actions; the block comes after them all."""


class Row(NamedTuple):
    """One of ROWS, and the ways over which it is admissible: bit i stands for way i."""

    intervention: str
    exemption: str
    ways: int


class Eligible(Struct, frozen=True, array_like=True, gc=False):
    """What may be done. The order of actions is: rows in the order of ROWS, ways sorted, the block last.

    >>> both = (Way("a", "pan"), Way("b", "pan"))
    >>> may = Eligible((Row("allow", "", 0b11), Row("exempt", "low_value", 0b10)), both, ())
    >>> [(action.intervention, action.route) for action in may.actions]
    [('allow', 'a'), ('allow', 'b'), ('exempt', 'b'), ('block', '')]
    >>> [may.place(action) for action in may.actions], may.size
    ([0, 1, 2, 3], 4)
    """

    rows: tuple[Row, ...]
    """Those with at least one way."""
    ways: tuple[Way, ...]
    stops: tuple[str, ...]
    """The hard constraints that took something away, by name."""

    @property
    def size(self) -> int:
        return sum(row.ways.bit_count() for row in self.rows) + 1

    @property
    def actions(self) -> list[Action]:
        """Every eligible action, once."""
        ways = list(enumerate(self.ways))
        sent = [
            Action(row.intervention, row.exemption, *way) for row in self.rows for at, way in ways if row.ways >> at & 1
        ]
        return [*sent, BLOCK]

    @property
    def interventions(self) -> tuple[str, ...]:
        """Those that are admissible over some way, and the block."""
        return (*dict.fromkeys(row.intervention for row in self.rows), "block")

    def cell(self, at: int) -> tuple[int, int] | None:
        """(place in `rows`, place in `ways`) of the action at a place of the order; None for the block."""
        for row, (_, _, bits) in enumerate(self.rows):
            size = bits.bit_count()
            if at < size:
                return row, _nth_bit(bits, at)
            at -= size
        return None

    def action(self, at: int) -> Action:
        cell = self.cell(at)
        if cell is None:
            return BLOCK
        row = self.rows[cell[0]]
        return Action(row.intervention, row.exemption, *self.ways[cell[1]])

    def place(self, action: Action) -> int:
        """The place of an eligible action: the inverse of `action`."""
        before = 0
        for intervention, exemption, bits in self.rows:
            if (intervention, exemption) == (action.intervention, action.exemption):
                return before + (bits & ((1 << self.ways.index(action.way)) - 1)).bit_count()
            before += bits.bit_count()
        return before


def _nth_bit(bits: int, n: int) -> int:
    for _ in range(n):
        bits &= bits - 1
    return (bits & -bits).bit_length() - 1
