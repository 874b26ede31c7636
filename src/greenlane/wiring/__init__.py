"""The composition root: a data directory in, a ready system out. The only room that joins ports to adapters.

DIR/
  greenlane.toml   settings           journal.sqlite  entries           days/       closed days, Parquet
  keys.json        API keys, hashed   journal.names   its index         snapshots/  feature state
  server.json      while one runs     subjects.sqlite people's map      models/     artefacts, by hash
  journal.tail     what waits for its commit          spill.sqlite    cold state

A snapshot is two files of one position: the features' state, and how everything stands that the policy counts.
"""

from greenlane.wiring.importer import Importer
from greenlane.wiring.kept import (
    Progress,
    all_entries,
    complete_from,
    current_engine,
    day_entries,
    day_table,
    holds,
    kept_engine,
    save_snapshot,
    standing_at,
)
from greenlane.wiring.places import Places, day_path, is_running, lock_follower, model_path, write_server_file
from greenlane.wiring.process import SERVER_PID, alarm_lines, freeze_memory, run_http
from greenlane.wiring.readers import Reader, open_reader
from greenlane.wiring.retiring import HORIZON_DAYS, beyond_horizon, erase_subject, retire_old_days
from greenlane.wiring.system import System, load_model, open_system
from greenlane.wiring.versions import engine_version, runtime_fingerprint

__all__ = [
    "HORIZON_DAYS",
    "SERVER_PID",
    "Importer",
    "Places",
    "Progress",
    "Reader",
    "System",
    "alarm_lines",
    "all_entries",
    "beyond_horizon",
    "complete_from",
    "current_engine",
    "day_entries",
    "day_path",
    "day_table",
    "engine_version",
    "erase_subject",
    "freeze_memory",
    "holds",
    "is_running",
    "kept_engine",
    "load_model",
    "lock_follower",
    "model_path",
    "open_reader",
    "open_system",
    "retire_old_days",
    "run_http",
    "runtime_fingerprint",
    "save_snapshot",
    "standing_at",
    "write_server_file",
]
