"""A data directory as a busy shop has it: a month of history, 500 merchants with eight routes each, three models.

Two fraud models, the first of them champion, and an approval model, champion too. Trees are trained on what history
looks like through the live features, with seeded labels: what they believe means nothing, what they cost is what a real
model costs. Made once per machine, engine version and format, then copied.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
from journal import MERCHANTS, body
from msgspec.structs import replace

from greenlane import __version__
from greenlane.adapters import sqlite_journal
from greenlane.adapters.lightgbm_trainer import flat_trees_from
from greenlane.decisions.control import ControlRecord
from greenlane.decisions.live import APPROVAL_CHAMPION, CHAMPION
from greenlane.features.catalogue import CATALOGUE, GROUPS
from greenlane.features.finalise import Finaliser
from greenlane.features.stream import StreamEngine
from greenlane.learning.approval_set import Encoded, Samples, encoded
from greenlane.merchants.economics import Economics, Fees, RouteTerms
from greenlane.models import approval_rows, artefact
from greenlane.models.approval_model import ENCODING
from greenlane.models.approval_model import KIND as APPROVAL
from greenlane.models.artefact import Golden, Manifest, ModelColumn
from greenlane.models.calibration import Platt
from greenlane.payments.attempt import ATTEMPT_DECODER, Attempt
from greenlane.payments.outcome import Executed, Outcome
from greenlane.payments.times import DAY_US
from greenlane.ports.clock import SystemClock
from greenlane.settings import Settings, write_settings
from greenlane.wiring import Importer, Places, open_reader, open_system

LEAVES = 64
HISTORY_DAYS = 30
FIRST_NEW = 100_000
"""History are the payments of `journal.body` below this number; a benchmark's own start here."""
EXEMPTING = 250
"""Merchants up to this number have acquirers that ask for exemptions; the others none."""


def shop(directory: Path, *, history: int = 6_000, trees: int = 500, clock: str = "system") -> list[str]:
    """Fill `directory`; the ids of its two fraud models, the first of which is champion."""
    rows = approval_rows.COLUMNS, approval_rows.SPREAD
    formats = __version__, sqlite_journal.FORMAT, artefact.FORMAT, rows, CATALOGUE.digest
    made_of = Path(__file__).read_bytes() + repr(formats).encode()
    key = hashlib.blake2b(made_of, digest_size=6).hexdigest()
    cached = Path(tempfile.gettempdir()) / f"greenlane_shop_{os.getuid()}_{key}_{history}_{trees}_{clock}"
    if not cached.exists():
        part = Path(tempfile.mkdtemp(dir=cached.parent))
        make(part, history, trees=trees, clock=clock)
        part.rename(cached)
    shutil.copytree(cached, directory, dirs_exist_ok=True)
    return msgspec.json.decode((directory / "bench_models.json").read_bytes())


def make(directory: Path, history: int, *, trees: int, clock: str) -> None:
    print(f"preparing a shop of {history:,} payments and four models of {trees} trees (once)", flush=True)
    write_settings(directory, msgspec.convert({"clock": clock}, Settings))
    import_history(directory, [ATTEMPT_DECODER.decode(body(n)) for n in range(history)])
    models, rows = Places(directory).models, matrix(directory)
    ids = [train_fraud(models, rows, trees=trees, seed=seed) for seed in (1, 2)]
    found = approval_set(directory)
    approval, challenger = (train_approval(models, found, trees=trees, seed=seed) for seed in (3, 4))
    system = open_system(directory)
    for alias, model in ((CHAMPION, ids[0]), (APPROVAL_CHAMPION, approval)):
        system.promote(model, event_id=f"bench {alias}", who="bench", why="the benchmark's model", alias=alias)
    system.close()
    (directory / "bench_models.json").write_bytes(msgspec.json.encode(ids))
    (directory / "bench_challenger.json").write_bytes(msgspec.json.encode(challenger))


def economics(merchant: int) -> Economics:
    """Eight routes of eight acquirers, half of them abroad, each with fees of its own.

    >>> len(economics(1).routes), economics(1).routes[0].exemptions, economics(400).routes[0].exemptions
    (8, ('low_value', 'transaction_risk_analysis'), ())
    """
    asked_for = ("low_value", "transaction_risk_analysis") if merchant <= EXEMPTING else ()
    routes = [
        RouteTerms(
            id=f"route_{r}",
            network="visa",
            acquirer=f"acq_{r}",
            acquirer_country=("DE", "NL")[r % 2],
            fees=Fees(pct_ppm=12_000 + 500 * r, fixed_minor=20 + r, declined_minor=3),
            exemptions=asked_for,
        )
        for r in range(8)
    ]
    return Economics(mcc="5732", country="DE", routes=tuple(routes))


def import_history(directory: Path, attempts: Sequence[Attempt]) -> None:
    """Authorisations over the last days, one in fifty reported as fraud later; complete for long enough before."""
    start_us = SystemClock().now_us() - HISTORY_DAYS * DAY_US
    step_us = (HISTORY_DAYS * DAY_US - 60_000_000) // len(attempts)
    importer = Importer(directory)

    def control(subject: str, name: str, after: object) -> None:
        record = ControlRecord(subject, name, "bench", "history", None, after)
        importer.control(record, source="bench", event_id=f"{subject}/{name}", ingest_us=start_us)

    control("import", "bench", {"complete_from_us": start_us - 400 * DAY_US})
    for merchant in range(1, MERCHANTS + 1):
        control("merchant", f"mrc_{merchant}", msgspec.to_builtins(economics(merchant)))
    for n, attempt in enumerate(attempts):
        for outcome in outcomes_of(attempt, n):
            importer.take(outcome, start_us + n * step_us)
    importer.close()


def outcomes_of(attempt: Attempt, n: int) -> Iterator[Outcome]:
    """One in five was authenticated, one in seven exempted; one in nine declined."""
    payment = replace(attempt.payment, metadata={})
    result, code = ("declined", "05") if n % 9 == 0 else ("approved", "00")
    executed = Executed(route=f"route_{n * 5 % 8}", intervention="exempt" if n % 7 == 0 else "allow")
    if n % 5 == 0:
        yield Outcome(type="authentication", source="bench", event_id=f"asked_{n}", payment=payment, trans_status="Y")
    yield Outcome(
        type="authorization", source="bench", event_id=f"auth_{n}", payment=payment, result=result, network="visa",
        network_response_code=code, executed=executed,
    )  # fmt: skip
    if n % 50 == 0:
        yield Outcome(type="fraud_report", source="bench", event_id=f"report_{n}", payment_id=payment.id)


def matrix(directory: Path) -> np.ndarray:
    """float32[n, m]: what a decision would have known at each authorisation."""
    open_system(directory).close()  # declares the features
    reader = open_reader(directory)
    engine = StreamEngine(CATALOGUE, first_complete_us=0)
    _, vectors = engine.fold_and_read(reader.entries(), lambda entry: entry.kind == "authorization")
    reader.store.close()
    return Finaliser(CATALOGUE).matrix(vectors)


def approval_set(directory: Path) -> Encoded:
    """The rows of the approval model, with the names it knows."""
    reader, samples = open_reader(directory), Samples()
    samples.take(reader.entries())
    reader.store.close()
    return encoded(samples.rows, routes=samples.routes, exempted=samples.exempted)


def train_fraud(models: Path, x: np.ndarray, *, trees: int, seed: int) -> str:
    columns = tuple(ModelColumn(name, GROUPS[name]) for name in Finaliser(CATALOGUE).names)
    about = {"kind": "fraud", "feature_set": CATALOGUE.digest, "feature_versions": CATALOGUE.versions}
    return save(models, boosted(x, trees=trees, seed=seed), x, seed=seed, columns=columns, about=about)


def train_approval(models: Path, found: Encoded, *, trees: int, seed: int) -> str:
    x = found.examples.X
    columns = tuple(ModelColumn(name, approval_rows.GROUPS[name]) for name in approval_rows.COLUMNS)
    about = {"kind": APPROVAL, "feature_set": "", "feature_versions": {}}
    names = {ENCODING: msgspec.json.encode(found.encoding, order="sorted")}
    booster = boosted(x, trees=trees, seed=seed)
    return save(models, booster, x, seed=seed, columns=columns, about=about, beside=names)


def boosted(x: np.ndarray, *, trees: int, seed: int) -> Any:
    """Trees of LEAVES leaves: labels follow all columns a little, so that there is always something to split on."""
    import lightgbm

    rng = np.random.default_rng(seed)
    filled = np.nan_to_num(x)
    signal = ((filled - filled.mean(0)) / (filled.std(0) + 1e-9)) @ rng.standard_normal(x.shape[1]) * 0.2
    y = (rng.random(len(x)) < 1 / (1 + np.exp(3 - signal))).astype(np.float32)
    settings = {
        "objective": "binary", "num_leaves": LEAVES, "min_data_in_leaf": 5, "max_bin": 63, "learning_rate": 0.02,
        "feature_fraction": 0.5, "verbose": -1, "num_threads": 2, "seed": seed,
    }  # fmt: skip
    return lightgbm.train(settings, lightgbm.Dataset(x, y), trees)


def save(
    models: Path,
    booster: Any,
    x: np.ndarray,
    *,
    seed: int,
    columns: tuple[ModelColumn, ...],
    about: dict[str, Any],
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> str:
    import lightgbm

    trees, calibrator = flat_trees_from(booster.model_to_string()), Platt(slope=1.0, intercept=0.0)
    rows = artefact.golden_rows(x, trees, seed=seed, rows=300)
    margins = np.asarray(booster.predict(rows, raw_score=True, num_threads=1), np.float64)
    manifest = Manifest(
        **about,
        family="lightgbm",
        trainer=f"lightgbm {lightgbm.__version__}",
        columns=columns,
        label="seeded",
        calibrator=calibrator,
        training_set={},
        evaluation={},
    )
    golden = Golden(rows, margins, calibrator.probabilities(margins))
    return artefact.save(models, manifest, trees, golden=golden, beside=beside)
