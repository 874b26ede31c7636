"""Experiments over a directory: what the arms did, from where the follower last kept it or from the beginning."""

from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from greenlane.client import Client
from greenlane.decide import believed_from
from greenlane.decisions.control import control_of
from greenlane.decisions.live import CHAMPION
from greenlane.decisions.packing import unpack
from greenlane.decisions.record import DecisionRecord, record_of
from greenlane.errors import GreenlaneError, NotFound
from greenlane.experiments.page import page
from greenlane.experiments.readout import Readout, fold, readout
from greenlane.experiments.tally import Tallies
from greenlane.features.definition import FeatureSet
from greenlane.features.finalise import Finaliser
from greenlane.jobs.asking import server_client
from greenlane.journal.sequencer import folded
from greenlane.models.fraud_model import FraudModel
from greenlane.policy.arms import Experiment
from greenlane.policy.running import Running
from greenlane.ports.clock import SystemClock
from greenlane.ports.journal import Position, name_of
from greenlane.replay import width_of
from greenlane.settings import write_whole
from greenlane.wiring import Places, Progress, Reader, holds, is_running, load_model, open_reader

__all__ = ["Experiment", "Readout", "page", "readout_of"]


class Reference:
    """P(fraud) by the model that was champion when the experiment began: the same yardstick for every arm."""

    def __init__(self, reader: Reader):
        self.reader = reader
        self.bound: dict[tuple[str, str], tuple[FraudModel, Finaliser] | str] = {}
        """By model and features; or why it cannot be loaded any more."""
        self.began_with: dict[str, str] = {}

    def __call__(self, experiment: str, record: DecisionRecord) -> int | str | None:
        if experiment not in self.began_with:
            self.began_with[experiment] = self.champion(experiment)
        wanted = self.began_with[experiment]
        if not wanted:
            return "no model was champion when it began"
        if record.model == wanted or not record.known:
            return record.fraud_probability_e9
        features = self.reader.live.known_features[self.reader.releases.versions(record.release).features]
        key = wanted, features.digest
        if key not in self.bound:
            self.bound[key] = self.loaded(wanted, features)
        if isinstance(found := self.bound[key], str):
            return found
        model, finaliser = found
        return believed_from(unpack(record.known, width_of(features)), finaliser, model).fraud_probability_e9

    def loaded(self, model_id: str, features: FeatureSet) -> tuple[FraudModel, Finaliser] | str:
        finaliser = Finaliser(features)
        try:
            return load_model(self.reader.places, model_id).bind(finaliser.names), finaliser
        except (GreenlaneError, OSError) as error:  # gone, or damaged
            return f"{model_id}, champion when it began, cannot be read ({error.__class__.__name__})"

    def champion(self, experiment: str) -> str:
        """The alias as it stood at the experiment's first start."""
        named = ""
        for entry in self.reader.store.controls():
            record = control_of(entry)
            if record.subject == "model" and record.id == CHAMPION:
                named = str(record.after or "")
            started = isinstance(record.after, dict) and record.after.get("state") == "running"
            if record.subject == "experiment" and record.id == experiment and started:
                break
        return named


def tallies_of(reader: Reader) -> Tallies:
    """An empty fold over this directory."""

    def first(payment_id: str) -> DecisionRecord | None:
        entries = (row.entry for row in reader.store.named(name_of("payment", payment_id)))
        return next((record_of(e) for e in entries if e.kind == "decision" and e.payload), None)

    return Tallies(
        lambda merchant_id: reader.book.economics(merchant_id),
        first=first,
        reference=Reference(reader),
        salt=reader.salt,
    )


def kept_tallies(reader: Reader, upto: Position | None = None) -> tuple[Tallies, int]:
    """As the follower kept them, or empty; and the seq they stand at. `upto`: folded up to there."""
    tallies, after_seq = tallies_of(reader), 0
    path = tallies_path(reader.places)
    try:
        generation, seq, dumped = msgspec.msgpack.decode(path.read_bytes(), type=tuple[int, int, bytes])
        if (upto is None or seq <= upto.seq) and holds(reader.store, generation, seq):
            tallies.restore(dumped)
            after_seq = seq
    except (OSError, msgspec.MsgspecError, ValueError):
        tallies = tallies_of(reader)  # nothing kept, not ours or of another build: folded again
    if upto is not None:
        for entry in reader.entries(after_seq=after_seq):
            if entry.seq > upto.seq:
                break
            fold(tallies, entry)
    return tallies, after_seq


def save_tallies(tallies: Tallies, places: Places, position: Position) -> None:
    path = tallies_path(places)
    path.parent.mkdir(exist_ok=True)
    write_whole(path, msgspec.msgpack.encode((position.generation, position.seq, tallies.dump())))


def tallies_path(places: Places) -> Path:
    return places.snapshots / "experiments"


def readout_of(directory: Path, name: str, *, progress: Progress = lambda _done, _of: None) -> Readout:
    """What the experiment shows by the last durable entry; NotFound where it never started."""
    reader = open_reader(directory)
    with closing(reader.store):
        tallies, after_seq = kept_tallies(reader)
        at_us = 0
        for entry in reader.entries(after_seq=after_seq, progress=progress):
            fold(tallies, entry)
            at_us = entry.ingest_us
        if name not in tallies.of:
            hint = f"known: {', '.join(tallies.of) or 'none yet'}"
            raise NotFound(f"no experiment {name} was ever started", param="id", hint=hint)
        simulated = reader.settings.clock == "simulated"
        now_us, beside = at_us if simulated else max(at_us, SystemClock().now_us()), len(tallies.of) - 1
        return readout(tallies.of[name], now_us=now_us, lateness=tallies.lateness, beside=beside)


def known_experiments(directory: Path) -> list[Experiment]:
    """Of a directory, whether or not a server runs on it."""
    with closing(open_reader(directory).store) as store:
        return list(folded(Running(), store.controls()).known.values())


def created(directory: Path, body: bytes) -> str:
    """A draft on the running server, from what a file says; its id."""
    told = _admin(directory).call("POST", "/v1/experiments", msgspec.Raw(body), dict[str, Any])
    return str(told["experiment"]["id"])


def moved(directory: Path, name: str, step: str, why: str, *, arm: str | None = None) -> dict[str, Any]:
    """start, pause, resume or stop, on the running server. Raises Refused, Unreachable or NotFound."""
    body = {"why": why} if arm is None else {"why": why, "arm": arm}
    return _admin(directory).call("POST", f"/v1/experiments/{quote(name, safe='')}/{step}", body, dict[str, Any])


def _admin(directory: Path) -> Client:
    reader = open_reader(directory)
    if not is_running(reader.places):
        raise NotFound(f"no server runs on {directory}", hint=f"greenlane serve --data {directory}")
    return server_client(reader.places)
