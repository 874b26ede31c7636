"""A small share of the long proof: the real server, killed twice under load."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_nothing_that_was_promised_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    result = tmp_path / "crash.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "crash.py"), "--kills", "2", "--json", str(result)]
    done = subprocess.run(
        [*command, "--history", "100", "--trees", "5"], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    bars = {bar["bar"]: bar for bar in json.loads(result.read_bytes())["bars"]}
    assert bars["kills"]["value"] == 2
    assert bars["decisions acknowledged (async)"]["value"] > 0
    assert bars["acknowledged under sync"]["value"] > 0
