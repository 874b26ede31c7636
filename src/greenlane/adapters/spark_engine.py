"""The SQL engine on Spark: the same steps as on DuckDB in their portable form, printed in Spark's dialect.

Spark plans a common table again at every place that names it, so each step that is named more than once is written to
a scratch directory and read from there; so are the vectors of each aggregation, after which its steps are deleted.
"""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from greenlane.adapters.duckdb_engine import DAY_TYPES, HELD, TOLD_TYPES, Tell, entry_of
from greenlane.errors import SettingsError
from greenlane.features.definition import FeatureSet
from greenlane.features.kernels import Ints
from greenlane.features.sql import relations

Told = Callable[[int, int], None]
Floats = NDArray[np.float64]
Score = Callable[[Ints], tuple[Floats, Floats]]
"""Vectors with their inputs, int64[n, k], to margins and probabilities."""
SETTINGS: Final = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.ansi.enabled": "true",  # a sum beyond 64 bits is an error, as in DuckDB, and never wraps
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.windowExec.buffer.in.memory.threshold": "100000",  # of a hot key; 4,096 rows would be the default
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


@contextmanager
def spark_session(
    *, cores: int = 2, memory_mb_max: int = 4096, partitions: int = 8, scratch: Path | None = None
) -> Iterator[Any]:
    """A session of this machine, on loopback only. `partitions`: of every shuffle."""
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        raise SettingsError(
            "Spark needs Java, and there is none here", hint="install Java 17, or take the other engine"
        )
    try:
        from pyspark.sql import SparkSession
    except ModuleNotFoundError:
        raise SettingsError(
            "pyspark is not installed", hint="pip install 'greenlane[spark]', or take the other engine"
        ) from None
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = SparkSession.builder.master(f"local[{cores}]").appName("greenlane")
    settings = SETTINGS | {
        "spark.driver.memory": f"{memory_mb_max}m",
        "spark.sql.shuffle.partitions": str(partitions),
    }
    if scratch is not None:
        settings |= {"spark.local.dir": str(scratch), "spark.sql.warehouse.dir": str(scratch / "warehouse")}
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()


def session_peak_mb(session: Any) -> int:
    """The most memory that the session's Java process ever held."""
    status = Path(f"/proc/{session.sparkContext._gateway.proc.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024


def session_processor_s(session: Any) -> float:
    """What the session's Java process has worked so far, all of its threads."""
    worked = Path(f"/proc/{session.sparkContext._gateway.proc.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, worked[11:13])) / os.sysconf("SC_CLK_TCK")


class SparkEngine:
    """Feature queries over entries in Parquet files, answered into Parquet files."""

    def __init__(self, session: Any, scratch: Path):
        self._session, self._scratch = session, scratch

    def load_days(self, paths: Sequence[Path]) -> None:
        """`entries` are those of the day files that have facts."""
        journal = self._session.read.parquet(*map(str, paths))
        journal.createOrReplaceTempView("journal")
        held = journal.select(*HELD)
        held.createOrReplaceTempView("recorded")
        held.where("payment_id IS NOT NULL").createOrReplaceTempView("entries")

    def first_ingest_us(self) -> int:
        return int(self._session.sql("SELECT COALESCE(MIN(ingest_us), 0) FROM recorded").first()[0])

    def write_at(
        self,
        features: FeatureSet,
        first_complete_us: int,
        *,
        condition: str,
        out: Path,
        progress: Told = lambda _done, _all: None,
    ) -> None:
        """The vectors at the entries that meet a condition over their columns, as Parquet files in directory `out`.

        One row per entry in order: `seq`, then one BIGINT per column.
        """
        self._session.sql(f"SELECT seq FROM entries WHERE {condition}").createOrReplaceTempView("queries")
        steps = list(relations(features, first_complete_us, portable=True))
        named = Counter(table for _, step in steps for table in read_by(step))
        for done, (name, step) in enumerate(steps):
            found = self._session.sql(step.sql(dialect="spark"))
            if name == "answer":
                found.write.mode("overwrite").parquet(str(out))
            elif name.startswith("vectors_") or named[name] > 1:
                self._keep(name, found)
            else:
                found.createOrReplaceTempView(name)
            if name.startswith("vectors_"):
                self._forget(name.removeprefix("vectors"))
            progress(done + 1, len(steps))
        self._forget("")

    def write_rows(self, query: str, tell: Tell, out: Path) -> None:
        """Answers a query over `journal`, the day files, and `told`, what `tell` says of each entry with facts.

        `tell` goes to the workers, which need Greenlane installed.
        """
        entries = self._session.sql(f"SELECT {', '.join(DAY_TYPES)} FROM journal WHERE payment_id IS NOT NULL")
        kinds = ", ".join(f"{name} {kind}" for name, kind in TOLD_TYPES.items())
        self._keep("told", entries.mapInArrow(partial(told_batches, tell), kinds))
        self._session.sql(query).write.mode("overwrite").parquet(str(out))
        self._forget("")

    def _keep(self, name: str, found: Any) -> None:
        path = str(self._scratch / name)
        found.write.mode("overwrite").parquet(path)
        self._session.read.parquet(path).createOrReplaceTempView(name)

    def _forget(self, suffix: str) -> None:
        """The steps of one aggregation but for its vectors; all that is left."""
        for path in self._scratch.glob(f"*{suffix}"):
            if not suffix or (path.name.endswith(suffix) and not path.name.startswith("vectors_")):
                shutil.rmtree(path)


def scores_of(
    session: Any, vectors: Sequence[Path], rows: Sequence[Path], own: Sequence[str], score: Score
) -> tuple[Ints, Floats, Floats]:
    """(seqs rising, margins, probabilities) of a backfill's rows, by the workers, each for its part.

    A vector is `own`, columns of the rows, then those of the vectors but `seq`.
    """
    read = session.read.parquet
    told, known = read(*map(str, rows)).select("seq", *own), read(*map(str, vectors))
    known = known.toDF("seq", *(f"v{place}" for place in range(1, len(known.columns))))  # a dot would mean a field
    both = told.join(known, on="seq")
    kinds = "seq BIGINT, margin DOUBLE, probability DOUBLE"
    found = both.mapInArrow(partial(scored_batches, score), kinds).toArrow().sort_by("seq")
    seqs, margins, probabilities = (column.to_numpy() for column in found.columns)
    return seqs, margins, probabilities


def scored_batches(score: Score, batches: Iterable[Any]) -> Iterator[Any]:
    """On a worker."""
    import pyarrow

    for batch in batches:
        seqs, *columns = (column.to_numpy() for column in batch.columns)
        margins, probabilities = score(np.stack(columns, axis=1))
        yield pyarrow.RecordBatch.from_pydict({"seq": seqs, "margin": margins, "probability": probabilities})


def told_batches(tell: Tell, batches: Iterable[Any]) -> Iterator[Any]:
    """On a worker."""
    import pyarrow

    for batch in batches:
        entries = [entry_of(row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]
        yield pyarrow.RecordBatch.from_pydict(tell(entries))


def read_by(step: exp.Expr) -> Iterator[str]:
    """The relations that a step names, once per place."""
    return (table.name for table in step.find_all(exp.Table))
