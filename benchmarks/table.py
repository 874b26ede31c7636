"""One row per bar, one table, one JSON list: what every benchmark here prints and writes."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct


class Bar(Struct, frozen=True, rename={"passed": "pass"}):
    """A figure, what it stands against in the same run, and whether it passes; `passed` is None without a limit."""

    bar: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    wanted: str = ""
    passed: bool | None = None


def bar(
    name: str,
    value: float,
    unit: str,
    *,
    reference: float | None = None,
    ratio_max: float | None = None,
    ratio_min: float | None = None,
    value_max: float | None = None,
    value_min: float | None = None,
) -> Bar:
    """A row with at most one limit; without any it only informs.

    >>> bar("model call", 20.0, "us", reference=80.0, ratio_max=0.33).passed
    True
    """
    ratio = None if not reference else value / reference
    limits = []
    if ratio is not None and ratio_max is not None:
        limits.append((f"<= {ratio_max:g}x", ratio <= ratio_max))
    if ratio is not None and ratio_min is not None:
        limits.append((f">= {ratio_min:g}x", ratio >= ratio_min))
    if value_max is not None:
        limits.append((f"<= {limit(value_max)} {unit}", value <= value_max))
    if value_min is not None:
        limits.append((f">= {limit(value_min)} {unit}", value >= value_min))
    wanted, passed = limits[0] if limits else ("", None)
    return Bar(name, round(value, 3), unit, _rounded(reference), _rounded(ratio), wanted, passed)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def limit(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 10 else f"{number:g}"


def figure(number: float) -> str:
    return f"{number:,.1f}" if abs(number) >= 10 else f"{number:.3g}"


VERDICT = {True: "pass", False: "FAIL", None: ""}


def shown(bars: list[Bar]) -> str:
    width = max(len(b.bar) for b in bars)
    lines = [f"{'bar':<{width}} {'value':>12} {'unit':<9} {'reference':>12} {'ratio':>8}  wanted"]
    for b in bars:
        reference = "" if b.reference is None else figure(b.reference)
        ratio = "" if b.ratio is None else f"{b.ratio:.2f}x"
        figures = f"{figure(b.value):>12} {b.unit:<9} {reference:>12} {ratio:>8}"
        lines.append(f"{b.bar:<{width}} {figures}  {b.wanted:<14} {VERDICT[b.passed]}".rstrip())
    return "\n".join(lines)


def report(bars: list[Bar], path: Path | None) -> int:
    """Print the table, write the list, answer the exit status: 1 where a bar fails."""
    print(shown(bars))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(bars)) + b"\n")
    return int(any(b.passed is False for b in bars))


def about() -> dict[str, Any]:
    """What a committed result must say: the commit it was made at, and the machine."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    machine = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1_minute": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    return {"commit": commit, "machine": machine}


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
