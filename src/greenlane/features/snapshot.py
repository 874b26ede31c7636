"""The stream engine's state as one file: written whole or not at all, loaded on an exact match or not at all.

    line 1   format, position, the feature set's digest, sizes, and the hash of all that follows (canonical JSON)
    then     arena, dropped keys, spilled records, table: raw little-endian words

Where a snapshot does not load, the caller folds the journal again; nothing is lost but time.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from greenlane.features import kernels as k
from greenlane.features.definition import FeatureSet
from greenlane.features.stream import StreamEngine
from greenlane.ports.journal import Position
from greenlane.ports.spill import SpillStore

FORMAT: Final = "greenlane features 1"
UNBOUNDED: Final = 2**62
"""Capacity of an engine that has none but inherits dropped keys."""


class Header(Struct, forbid_unknown_fields=True):
    format: str
    position: Position
    features: str
    """Digest of the feature set."""
    first_complete_us: int
    words: dict[str, int]
    """Length of each part."""
    hash: str


def save(engine: StreamEngine, path: Path, position: Position) -> None:
    """Everything `engine` knows after the entry at `position`; on return it is on disk under `path`."""
    parts = dict(sorted(parts_of(engine)))
    digest = hashlib.blake2b(digest_size=16)
    for words in parts.values():
        digest.update(words.data.cast("B"))
    header = Header(
        format=FORMAT,
        position=position,
        features=engine.features.digest,
        first_complete_us=int(engine.memory.state.arena[k.FIRST_COMPLETE]),
        words={name: words.size for name, words in parts.items()},
        hash=digest.hexdigest(),
    )
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as file:
        file.write(msgspec.json.encode(header, order="sorted") + b"\n")
        for words in parts.values():
            file.write(words.data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def load(
    features: FeatureSet, path: Path, *, capacity_records: int | None = None, spill: SpillStore | None = None
) -> tuple[StreamEngine, Position] | None:
    """The engine as it was saved and its position; None where the file is absent, damaged, or of another definition."""
    try:
        with path.open("rb") as file:
            header = msgspec.json.decode(file.readline(), type=Header)
            if header.format != FORMAT or header.features != features.digest:
                return None
            body = np.frombuffer(file.read(), np.int64)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    if hashlib.blake2b(body.data.cast("B"), digest_size=16).hexdigest() != header.hash:
        return None
    ends = np.cumsum(list(header.words.values()))
    parts = dict(zip(header.words, np.split(body, ends[:-1]), strict=True))
    if capacity_records is None and parts["dropped"].size:
        capacity_records = UNBOUNDED
    started_us = None if header.first_complete_us == k.UNKNOWN else header.first_complete_us
    engine = StreamEngine(features, first_complete_us=started_us, capacity_records=capacity_records, spill=spill)
    restore(engine, parts)
    return engine, header.position


def parts_of(engine: StreamEngine) -> Iterator[tuple[str, k.Ints]]:
    arena, table = engine.memory.state
    yield from (("table", table.reshape(-1)), ("arena", arena[: arena[k.TOP]]))
    capacity = engine.capacity
    yield "dropped", np.array(list(capacity.dropped.items()) if capacity else [], np.int64).reshape(-1)
    blobs = (blob for _, _, blob, _ in (capacity.spill.items() if capacity and capacity.spill else ()))
    sized = [np.concatenate([[len(blob) // 8], np.frombuffer(blob, np.int64)]) for blob in blobs]
    yield "spilled", np.concatenate([np.empty(0, np.int64), *sized])


def restore(engine: StreamEngine, parts: dict[str, k.Ints]) -> None:
    memory, capacity = engine.memory, engine.capacity
    memory.state = k.State(parts["arena"].copy(), parts["table"].reshape(-1, 2).copy())
    if capacity:
        capacity.dropped = {int(word): int(until) for word, until in parts["dropped"].reshape(-1, 2)}
        if capacity.spill:
            capacity.spill.clear()
    words, at = parts["spilled"], 0
    while at < words.size:
        packed = words[at + 1 : at + 1 + words[at]]
        if capacity and capacity.spill:
            capacity.put_away(packed)
        else:
            memory.unpack(packed, memory.now_us)
        at += 1 + int(words[at])
