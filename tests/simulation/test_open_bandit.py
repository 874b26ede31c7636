"""The benchmark on look-alikes of the Open Bandit Dataset, in several layouts; on the real one where it is there."""

import json
import runpy
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "open_bandit"


def look_alike(rng, rows, *, policy, click_rate, items=12):
    """-> columns. BTS shows good items more; clicks depend on item and position."""
    quality = click_rate * (0.4 + 1.2 * np.arange(items) / items)
    liking = np.exp(4.0 * np.arange(items) / items)
    chance = np.full(items, 1.0 / items) if policy == "random" else liking / liking.sum()
    item, position = rng.choice(items, rows, p=chance), rng.integers(1, 4, rows)
    start = np.datetime64("2019-11-24T00:00:00", "us")
    found = {
        "timestamp": start + np.sort(rng.integers(0, 7 * 86_400_000_000, rows)),
        "item_id": item,
        "position": position,
        "click": (rng.random(rows) < quality[item] * (1.3 - 0.1 * position)).astype(int),
        "propensity_score": chance[item],
        "user_feature_0": rng.integers(0, 20, rows).astype(str),
        "user_feature_1": rng.integers(0, 40, rows).astype(str),
        "user-item_affinity_0": rng.random(rows),
    }
    return found, float((chance * quality).sum())


def write(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = duckdb.connect()
    table.register("columns", columns)
    table.execute(f"COPY (SELECT * FROM columns) TO '{path}'")


def run(folder, out, capsys, *more):
    before = sys.argv
    sys.argv = ["open_bandit.py", "--data", str(folder), "--json", str(out), *more]
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "benchmarks" / "open_bandit.py"), run_name="__main__")
    finally:
        sys.argv = before
        sys.path.remove(str(ROOT / "benchmarks"))
    return ended.value.code, json.loads(out.read_text())["results"] if out.exists() else capsys.readouterr().out


@pytest.mark.parametrize("layout", ["{policy}/{campaign}/{campaign}.csv", "{campaign}_{policy}.parquet"])
def test_a_policy_is_valued_from_the_others_log(tmp_path, capsys, layout):
    rng, truth = np.random.default_rng(0), {}
    for policy in ("random", "bts"):
        columns, truth[policy] = look_alike(rng, 12_000, policy=policy, click_rate=0.12)
        write(tmp_path / "data" / layout.format(policy=policy, campaign="men"), columns)
    code, found = run(tmp_path / "data", tmp_path / "out.json", capsys, "--effect", "0.03")
    assert code == 0
    assert set(found) == {"men: bts from random's log", "men: random from bts's log"}
    forward = found["men: bts from random's log"]
    assert forward["accepted"], forward["reasons"]
    assert set(forward["estimates"]) == {"IPW", "SNIPW", "DR", "direct"}
    gap = 1.1 * (truth["bts"] - truth["random"])
    assert forward["low"] < gap < forward["high"]
    assert found["men: random from bts's log"]["effective_rows"] < forward["effective_rows"]


def test_few_clicks_are_refused_with_bounds(tmp_path, capsys):
    rng = np.random.default_rng(2)
    for policy in ("random", "bts"):
        columns, _ = look_alike(rng, 4_000, policy=policy, click_rate=0.004)
        write(tmp_path / "data" / policy / "all.csv", columns)
    code, found = run(tmp_path / "data", tmp_path / "out.json", capsys)
    assert code == 0
    for one in found.values():
        assert not one["accepted"]
        assert any("too few events" in why for why in one["reasons"])
        assert one["value"] is None


def test_one_file_may_name_policy_and_campaign_in_columns(tmp_path, capsys):
    rng, both = np.random.default_rng(3), []
    for policy in ("random", "bts"):
        columns, _ = look_alike(rng, 2_000, policy=policy, click_rate=0.1)
        both.append(columns | {"behavior_policy": np.full(2_000, policy), "campaign": np.full(2_000, "women")})
    write(tmp_path / "data" / "log.parquet", {name: np.concatenate([one[name] for one in both]) for name in both[0]})
    _, found = run(tmp_path / "data", tmp_path / "out.json", capsys)
    assert len(found) == 2


def test_a_folder_without_logs_says_so(tmp_path, capsys):
    code, _ = run(tmp_path, tmp_path / "out.json", capsys)
    assert "no log" in str(code)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/open_bandit")
def test_the_real_logs_are_valued_or_refused(tmp_path, capsys):
    code, found = run(REAL, tmp_path / "out.json", capsys)
    assert code == 0
    assert found
    for one in found.values():
        assert one["accepted"] or one["reasons"]
