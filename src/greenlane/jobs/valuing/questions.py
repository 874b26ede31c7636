"""The questions: which options a decision had by one factor, and with what probability a candidate would take each."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from greenlane.errors import InputError
from greenlane.jobs.valuing.traffic import Factor, Options, Seen, Traffic
from greenlane.models.approval_model import ApprovalModel
from greenlane.policy.approving import situation_of
from greenlane.policy.choose import Chosen
from greenlane.policy.explore import RELEASED_TO
from greenlane.policy.history import NOTHING_YET

Floats = NDArray[np.float64]

BLOCKED, PASSED, CHALLENGED, UNCHALLENGED = "blocked", "passed", "challenged", "unchallenged"


def ways(seen: Seen) -> Options | str:
    """The ways of the intervention that was chosen: pi(route, credential | x, intervention)."""
    chosen = seen.record.chosen
    if chosen.action.intervention == "block":
        return "blocked: it went over no route"
    wanted, places, names = (chosen.action.intervention, chosen.action.exemption), [], []
    for place, action in enumerate(chosen.actions):
        if (action.intervention, action.exemption) == wanted:
            places.append(place)
            names.append(f"{action.route}/{action.credential}")
    if len(places) < 2:
        return "mandated: one way was open"
    return seen.cells(places, names, [chosen.distribution[place] for place in places])


def swaps(seen: Seen) -> Options | str:
    """A challenge, or the best thing to do without one, where the draw was between these two."""
    chosen = seen.record.chosen
    if len(chosen.may.interventions) < 3:
        return "mandated: one intervention was open"
    open_to = [place for place, mass in enumerate(chosen.distribution) if mass]
    if chosen.explored.kind != "challenge" or len(open_to) != 2:
        return "no swap was on offer"
    names = [CHALLENGED if chosen.may.action(p).intervention == "challenge" else UNCHALLENGED for p in open_to]
    return seen.cells(open_to, names, [chosen.distribution[place] for place in open_to])


def passing(seen: Seen) -> Options | str:
    """Passed or blocked; whichever way it passed, or else would have passed."""
    chosen = seen.record.chosen
    block = chosen.may.size - 1
    if not block:
        return "mandated: a rule, list or limit stopped it"
    passed, mass = passed_place(chosen), chosen.distribution[block]
    return seen.cells((passed, block), (PASSED, BLOCKED), (sum(chosen.distribution) - mass, mass))


def passed_place(chosen: Chosen) -> int:
    """Where it passed, or would have."""
    block, taken = chosen.may.size - 1, chosen.explored.place
    sent = [place for place in range(block) if chosen.may.action(place).intervention in RELEASED_TO] or list(
        range(block)
    )
    best = max(sent, key=lambda place: (chosen.distribution[place] > 0, chosen.values_micro[place]))
    return best if taken == block else taken


def would_be_blocked(seen: Seen) -> Options | str:
    found = passing(seen)
    if isinstance(found, str):
        return found
    values = seen.record.chosen.values_micro
    return found if values[-1] == max(values) else "passed: no block was meant"


FACTORS: Final[Mapping[str, Factor]] = MappingProxyType(
    {"route": ways, "challenge": swaps, "release": would_be_blocked, "threshold": passing}
)


def greedy(score: Floats, open_to: NDArray[np.bool_]) -> Floats:
    """float64[n, options]: all on the highest score among what was open; equal ones: the first.

    >>> greedy(np.array([[1.0, 3.0, 9.0]]), np.array([[True, True, False]])).tolist()
    [[0.0, 1.0, 0.0]]
    """
    best = np.where(open_to, score, -np.inf).argmax(axis=1)
    return np.asarray(np.eye(score.shape[1])[best])


def fixed_route(traffic: Traffic, route: str) -> Floats:
    """Over this route wherever it was open, with the better credential there; elsewhere as it was logged."""
    mine = np.array([name.partition("/")[0] == route for name in traffic.names])
    can = traffic.open_to & mine
    target = greedy(np.where(mine, traffic.value, -np.inf), can)
    return np.where(can.any(axis=1)[:, None], target, traffic.logging)


def by_model(traffic: Traffic, model: ApprovalModel) -> Floats:
    """The way of most expected money, where approval is what the model says it is."""
    score = np.full(traffic.value.shape, -np.inf)
    for i, row in enumerate(traffic.rows):
        names = row.options.names
        at = [traffic.names.index(name) for name in names]
        pairs = [(route, credential) for route, _, credential in (name.partition("/") for name in names)]
        situation = situation_of(row.options.attempt, row.facts, NOTHING_YET, at_us=row.at_us)
        modes = {"challenge": 2, "exempt": 1}.get(row.paid.intervention, 0)
        said = np.array([each[modes] for each in model.predict(situation, pairs)]) / 1e9
        scale = np.minimum(said / np.maximum(row.options.approval, 1e-6), 1.0 / np.maximum(row.options.approval, 1e-6))
        score[i, at] = (row.options.idle + row.options.won * scale[:, None]).sum(axis=1)
    return greedy(score, traffic.open_to)


ROUTERS: Final[Mapping[str, Callable[[Traffic], Floats]]] = MappingProxyType(
    {
        "cheapest": lambda t: greedy(-t.fee, t.open_to),
        "best approval": lambda t: greedy(t.approval, t.open_to),
        "best value": lambda t: greedy(t.value, t.open_to),
    }
)


def router(traffic: Traffic, candidate: str, models: Callable[[str], ApprovalModel]) -> Floats:
    """Raises InputError where nothing of this name routes."""
    routes = {name.partition("/")[0] for name in traffic.names}
    if candidate in ROUTERS:
        return ROUTERS[candidate](traffic)
    if candidate in routes:
        return fixed_route(traffic, candidate)
    if candidate.startswith("mdl_"):
        return by_model(traffic, models(candidate))
    hint = f"one of {', '.join([*ROUTERS, *sorted(routes)])}, or a stored approval model (mdl_...)"
    raise InputError(f"{candidate!r} is no router here", code="unknown_candidate", param="--candidate", hint=hint)


def swapper(traffic: Traffic, candidate: str) -> Floats:
    """`always`, `never`, or the share of challenges where the two are worth nearly the same."""
    share = {"always": 1.0, "never": 0.0}.get(candidate)
    share = number(candidate, "a share of challenges, always, or never") if share is None else share
    if not 0.0 <= share <= 1.0:
        raise InputError(f"{candidate} is no share", code="unknown_candidate", param="--candidate", hint="0 to 1")
    wanted = np.array([share if name == CHALLENGED else 1.0 - share for name in traffic.names])
    return np.tile(wanted, (len(traffic), 1))


def releaser(traffic: Traffic, candidate: str) -> Floats:
    """SHARE@CEILING: released with SHARE at p = 0, falling in a straight line to none at CEILING."""
    found = re.fullmatch(r"([0-9.]+)@([0-9.]+)", candidate)
    if found is None:
        hint = "SHARE@CEILING, such as 0.05@0.7"
        raise InputError(f"{candidate!r} is no band", code="unknown_candidate", param="--candidate", hint=hint)
    share, ceiling = (number(each, "SHARE@CEILING") for each in found.groups())
    if not (0.0 < share <= 1.0 and 0.0 < ceiling <= 1.0):
        raise InputError(f"{candidate} is no band", param="--candidate", hint="both lie between 0 and 1")
    chance = share * np.maximum(0.0, 1.0 - traffic.fraud / ceiling)
    return np.stack([1.0 - chance if name == BLOCKED else chance for name in traffic.names], axis=1)


def number(text: str, what: str) -> float:
    """Raises InputError where it is none.

    >>> number("0.5", "a share")
    0.5
    """
    try:
        return float(text)
    except ValueError:
        hint = f"give {what}"
        raise InputError(f"{text!r} is no number", code="unknown_candidate", param="--candidate", hint=hint) from None
