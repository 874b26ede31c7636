"""Trains the dictionary that journal entries are packed with, on decisions and outcomes of three worlds.

    python benchmarks/entry_dictionary.py OUT

What entries are full of does not depend on whose they are: names of fields, shapes of vectors, words of the policy. The
dictionary is part of the journal's format (`adapters/entries.zdict`): a new one is another file and another format.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import zstandard

from greenlane.adapters.entry_packing import PACK_BYTES_MIN, plain
from greenlane.ports.journal import ENCODER
from greenlane.wiring import open_reader

WORLDS = ("europe", "us", "subscriptions")
PAYMENTS, SEED = 1_500, 11
SIZE = 8_192


def entries_of(world: str, directory: Path) -> list[bytes]:
    command = [sys.executable, "-m", "greenlane", "simulate", "live", "--world", world, "--seed", str(SEED)]
    subprocess.run([*command, "--payments", str(PAYMENTS), "--data", str(directory)], check=True)
    reader = open_reader(directory)
    found = [
        plain(None if entry.facts is None else ENCODER.encode(entry.facts), entry.payload)
        for entry in reader.entries()
        if len(entry.payload) >= PACK_BYTES_MIN
    ]
    reader.store.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as work:
        samples = [sample for world in WORLDS for sample in entries_of(world, Path(work, world))]
    random.Random(SEED).shuffle(samples)
    dictionary = zstandard.train_dictionary(SIZE, samples)
    out.write_bytes(dictionary.as_bytes())
    print(f"{len(samples):,} entries, {len(dictionary.as_bytes()):,} bytes")


if __name__ == "__main__":
    main()
