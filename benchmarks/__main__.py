"""Every bar, one benchmark after the other, each in a process of its own.

    python -m benchmarks [--json out/bench.json] [--quick] [NAME ...]

Prints one table and writes it with commit and machine; exit status 1 where a bar fails.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # each benchmark also runs as a script beside its neighbours

from table import Bar, about, shown  # noqa: E402 - found through the line above

NAMES = ("models", "features", "training_set", "journal", "monitors", "decision", "swap")


QUICK = {
    "models": ("--turns", "100"),
    "features": ("--turns", "200"),
    "training_set": ("--rows", "10000", "--rounds", "1"),
    "journal": ("--seconds", "1", "--import-entries", "10000"),
    "decision": ("--turns", "100", "--seconds", "1"),
}
"""Whether everything runs; such figures are no figures."""


def bars_of(name: str, *, quick: bool) -> list[Bar]:
    """Run one benchmark; a crash, unlike a failed bar, ends everything."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "bars.json"
        command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(path), *(QUICK[name] if quick else ())]
        status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
        if not path.exists():
            raise SystemExit(f"benchmarks/{name}.py ended with status {status} and without figures")
        return msgspec.json.decode(path.read_bytes(), type=list[Bar])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, default=Path("out/bench.json"))
    parser.add_argument("--quick", action="store_true", help="see whether everything runs; the figures mean nothing")
    given = parser.parse_args()
    result, bars = about(), list[Bar]()
    for name in given.names:
        print(f"\n{name}", flush=True)
        found = bars_of(name, quick=given.quick)
        print(shown(found), flush=True)
        bars += found
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_bytes(msgspec.json.format(msgspec.json.encode({**result, "bars": bars})) + b"\n")
    failed = [b.bar for b in bars if b.passed is False]
    limits = sum(b.passed is not None for b in bars)
    print(f"\n{limits - len(failed)} of {limits} bars pass; {given.json}")
    for name in failed:
        print(f"  FAIL {name}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
