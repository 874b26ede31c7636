"""A data directory with sixty days of a small shop's past, in which large amounts at night are often fraud."""

import csv
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from greenlane.jobs.importing import import_history

MAPPING = Path(__file__).parents[1] / "examples" / "handbook" / "mapping.toml"
COLUMNS = ("TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD")


def small_history(folder: Path, *, payments: int = 3000, seed: int = 2, label: str = "fraud_report") -> Path:
    """The directory; the same payments for the same seed. What tells of the fraud is reports, or disputes."""
    draw, day0 = random.Random(seed), datetime(2026, 1, 1, tzinfo=UTC)
    seconds = sorted(draw.randrange(60 * 86_400) for _ in range(payments))
    with (folder / "rows.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for number, second in enumerate(seconds):
            amount, at = round(draw.lognormvariate(3.5, 0.8), 2), day0 + timedelta(seconds=second)
            fraud = draw.random() < (0.45 if amount > 60 and at.hour < 8 else 0.01)
            row = (
                number,
                at.strftime("%Y-%m-%d %H:%M:%S"),
                draw.randrange(200),
                draw.randrange(40),
                amount,
                int(fraud),
            )
            table.writerow(row)
    mapping = folder / "mapping.toml"
    mapping.write_text(MAPPING.read_text().replace('type = "fraud_report"', f'type = "{label}"'))
    import_history(folder / "data", [folder / "rows.csv"], mapping, strict=True, progress=lambda _done, _all: None)
    return folder / "data"
