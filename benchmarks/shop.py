"""A data directory as a busy shop has it: a month of history, two models, one of them in force.

Trees are trained on what history looks like through the live features, with seeded labels: what they believe means
nothing, what they cost is what a real model costs. Made once per machine and version, then copied.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from journal import body
from msgspec.structs import replace

from greenlane.adapters.lightgbm_trainer import flat_trees_from
from greenlane.decisions.control import ControlRecord
from greenlane.features.catalogue import CATALOGUE, GROUPS
from greenlane.features.finalise import Finaliser
from greenlane.features.stream import StreamEngine
from greenlane.models import artefact
from greenlane.models.artefact import Golden, Manifest, ModelColumn
from greenlane.models.calibration import Platt
from greenlane.payments.attempt import ATTEMPT_DECODER, Attempt
from greenlane.payments.outcome import Outcome
from greenlane.payments.times import DAY_US
from greenlane.ports.clock import SystemClock
from greenlane.settings import Settings, write_settings
from greenlane.wiring import Importer, Places, open_reader, open_system

LEAVES = 64
HISTORY_DAYS = 30
FIRST_NEW = 100_000
"""History are the payments of `journal.body` below this number; a benchmark's own start here."""


def shop(directory: Path, *, history: int = 6_000, trees: int = 500, clock: str = "system") -> list[str]:
    """Fill `directory`; the ids of its two models, the first of which is champion."""
    made_of = b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("shop.py")))
    key = hashlib.blake2b(made_of + CATALOGUE.digest.encode(), digest_size=6).hexdigest()
    cached = Path(tempfile.gettempdir()) / f"greenlane_shop_{os.getuid()}_{key}_{history}_{trees}_{clock}"
    if not cached.exists():
        part = Path(tempfile.mkdtemp(dir=cached.parent))
        make(part, history, trees=trees, clock=clock)
        part.rename(cached)
    shutil.copytree(cached, directory, dirs_exist_ok=True)
    return msgspec.json.decode((directory / "bench_models.json").read_bytes())


def make(directory: Path, history: int, *, trees: int, clock: str) -> None:
    print(f"preparing a shop of {history:,} payments and two models of {trees} trees (once)", flush=True)
    write_settings(directory, msgspec.convert({"clock": clock}, Settings))
    import_history(directory, [ATTEMPT_DECODER.decode(body(n)) for n in range(history)])
    rows = matrix(directory)
    ids = [train(Places(directory).models, rows, trees=trees, seed=seed) for seed in (1, 2)]
    system = open_system(directory)
    system.promote(ids[0], event_id="bench", who="bench", why="the benchmark's model")
    system.close()
    (directory / "bench_models.json").write_bytes(msgspec.json.encode(ids))


def import_history(directory: Path, attempts: Sequence[Attempt]) -> None:
    """Authorisations over the last days, one in fifty reported as fraud later; complete for long enough before."""
    start_us = SystemClock().now_us() - HISTORY_DAYS * DAY_US
    step_us = (HISTORY_DAYS * DAY_US - 60_000_000) // len(attempts)
    importer = Importer(directory)
    importer.control(
        ControlRecord("import", "bench", "bench", "history", None, {"complete_from_us": start_us - 400 * DAY_US}),
        source="bench",
        event_id="import",
        ingest_us=start_us,
    )
    for n, attempt in enumerate(attempts):
        for outcome in outcomes_of(attempt, n):
            importer.take(outcome, start_us + n * step_us)
    importer.close()


def outcomes_of(attempt: Attempt, n: int) -> Iterator[Outcome]:
    payment = replace(attempt.payment, metadata={})
    result = "declined" if n % 8 == 0 else "approved"
    yield Outcome(type="authorization", source="bench", event_id=f"auth_{n}", payment=payment, result=result)
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


def train(models: Path, x: np.ndarray, *, trees: int, seed: int) -> str:
    import lightgbm

    rng = np.random.default_rng(seed)
    filled = np.nan_to_num(x)
    signal = ((filled - filled.mean(0)) / (filled.std(0) + 1e-9)) @ rng.standard_normal(x.shape[1]) * 0.2
    y = (rng.random(len(x)) < 1 / (1 + np.exp(3 - signal))).astype(np.float32)
    settings = {
        "objective": "binary", "num_leaves": LEAVES, "min_data_in_leaf": 5, "max_bin": 63, "learning_rate": 0.02,
        "feature_fraction": 0.5, "verbose": -1, "num_threads": 2, "seed": seed,
    }  # fmt: skip
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y), trees)
    return save(models, booster, x, seed=seed)


def save(models: Path, booster: Any, x: np.ndarray, *, seed: int) -> str:
    import lightgbm

    trees, calibrator = flat_trees_from(booster.model_to_string()), Platt(slope=1.0, intercept=0.0)
    rows = artefact.golden_rows(x, trees, seed=seed, rows=300)
    margins = np.asarray(booster.predict(rows, raw_score=True, num_threads=1), np.float64)
    manifest = Manifest(
        kind="fraud",
        family="lightgbm",
        trainer=f"lightgbm {lightgbm.__version__}",
        columns=tuple(ModelColumn(name, GROUPS[name]) for name in Finaliser(CATALOGUE).names),
        feature_set=CATALOGUE.digest,
        feature_versions=CATALOGUE.versions,
        label="seeded",
        calibrator=calibrator,
        training_set={},
        evaluation={},
    )
    return artefact.save(models, manifest, trees, golden=Golden(rows, margins, calibrator.probabilities(margins)))
