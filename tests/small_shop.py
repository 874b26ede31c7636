"""A small shop for tests: bodies, a small model over the real features, and a system in a directory of its own."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from greenlane.features.catalogue import CATALOGUE, GROUPS
from greenlane.features.finalise import Finaliser
from greenlane.models.artefact import Golden, Manifest, ModelColumn, golden_rows, save
from greenlane.models.calibration import Platt
from greenlane.models.flat_trees import FlatTrees
from greenlane.models.tree import Leaf, Split
from greenlane.payments.attempt import Attempt
from greenlane.settings import Settings, write_settings
from greenlane.wiring import System, open_system

NAMES = ("amount_minor", "is_proxy", "card_velocity.count.1h", "issuer_ip_country_differ")


def attempt_body(number: int = 1, /, *, amount: int = 12_999, **changes: Any) -> dict[str, Any]:
    """A whole request; `changes` go into the payment."""
    payment: dict[str, Any] = {
        "id": f"pay_{number}",
        "amount": amount,
        "currency": "EUR",
        "merchant_id": "shop_1",
        "payment_method": {"card": {"fingerprint": f"fp_{number}", "network": "visa", "issuer_country": "DE"}},
        "device": {"id": f"dev_{number % 5}", "ip": f"203.0.113.{number % 200}", "ip_country": "DE"},
        "customer": {"id": f"cus_{number % 9}", "email_hash": f"mail_{number % 9}", "email_domain": "mail.example"},
    }
    return {"attempt_id": f"att_{number}", "payment": payment | changes}


def attempt(number: int = 1, /, *, amount: int = 12_999, **more: Any) -> Attempt:
    """The same, decoded; `more` stands beside the payment."""
    return msgspec.convert(attempt_body(number, amount=amount) | more, Attempt)


def risky(number: int, /) -> dict[str, Any]:
    """A request that the small model believes to be fraud."""
    body = attempt_body(number, amount=90_000)
    body["payment"]["device"] |= {"is_proxy": True, "ip_country": "US"}
    return body


def save_model(directory: Path, *, lean: float = 0.0) -> str:
    """A model that fears proxies, foreign addresses and haste; `lean` shifts all its log-odds."""
    trees = FlatTrees.of(
        [
            Split(1, 0.5, True, Leaf(-2.0, 90.0), Leaf(2.5, 10.0)),
            Split(3, 0.5, True, Leaf(-0.5, 80.0), Split(0, 50_000.0, True, Leaf(0.5, 15.0), Leaf(2.0, 5.0))),
            Split(2, 2.5, True, Leaf(-0.4, 70.0), Leaf(1.5, 30.0)),
        ],
        features=len(NAMES),
    )
    calibrator = Platt(slope=1.0, intercept=-2.0 + lean)
    x = np.abs(np.random.default_rng(1).standard_normal((200, len(NAMES)))).astype(np.float32)
    rows = golden_rows(x, trees, seed=1, rows=200)
    margins = trees.margins(rows)
    manifest = Manifest(
        kind="fraud",
        family="by hand",
        trainer="tests",
        columns=tuple(ModelColumn(name, GROUPS[name]) for name in NAMES),
        feature_set=CATALOGUE.digest,
        feature_versions=CATALOGUE.versions,
        label="fraud reported",
        calibrator=calibrator,
        training_set={},
        evaluation={},
    )
    directory.mkdir(parents=True, exist_ok=True)
    return save(directory, manifest, trees, golden=Golden(rows, margins, calibrator.probabilities(margins)))


def shop_in(directory: Path, *, lean: float | None = 0.0, **settings: Any) -> System:
    """A ready system, with a champion unless `lean` is None; time comes from each request's `at`."""
    directory.mkdir(parents=True, exist_ok=True)
    write_settings(directory, Settings(**({"clock": "simulated"} | settings)))
    system = open_system(directory)
    if lean is not None and not system.live.aliases:
        model = save_model(system.places.models, lean=lean)
        system.promote(model, event_id="first", who="tests", why="the first model")
    return system


assert set(NAMES) <= set(Finaliser(CATALOGUE).names), "the model reads what is served"
