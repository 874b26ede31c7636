"""The routing benchmark on a log whose truth is known: it finds what is to be gained, and where nothing is, nothing."""

import json
import sys

import numpy as np
import pytest

pytest.importorskip("lightgbm", reason="the success model needs the train extra")

import psp_like
import psp_routing

ATTEMPTS, DAYS, MARGIN = 24_000, 40, 0.05


def day(number):
    return psp_like.FIRST_DAY.astype(np.int64) + number * psp_like.DAY_US


def files(log, folder, *, until, later_from, suffix="parquet"):
    at_us = log.columns["at_us"]
    log.where(at_us < day(until)).write(folder / f"train.{suffix}")
    log.where(at_us >= day(later_from)).write(folder / f"test.{suffix}")
    psp_like.write_fees(folder / "fees.csv")
    return folder / f"train.{suffix}", folder / f"test.{suffix}", folder / "fees.csv"


def routed(folder, *, interaction, seed):
    like = psp_like.simulate(attempts=ATTEMPTS, days=DAYS, seed=seed, interaction=interaction)
    train, test, fees = files(like, folder, until=26, later_from=26)
    log = psp_routing.read_log(train, test)
    return like, log, psp_routing.routing(log, psp_routing.read_fees(fees, log.psps), margin=MARGIN)


def truth_of(like, log, found, name):
    """The true worth of what a policy did: both logs have the same rows."""
    psp = log.psp[found.rows] if name == "logged" else found.actions[name]
    sent_to = np.array([psp_like.PSPS.index(known) for known in log.psps])[psp]
    return like.true_net(found.rows, sent_to, margin=MARGIN)


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    return routed(tmp_path_factory.mktemp("calm"), interaction=0.0, seed=0)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return routed(tmp_path_factory.mktemp("rich"), interaction=2.0, seed=2)


@pytest.mark.parametrize("world", ["calm", "rich"])
@pytest.mark.parametrize("name", ["logged", "cheapest", "greenlane"])
def test_what_a_policy_is_said_to_earn_is_what_it_earns(world, name, request):
    like, log, found = request.getfixturevalue(world)
    truth = truth_of(like, log, found, name)
    for one in found.values[name].values():
        assert abs(one.value - truth) < 3.0 * one.se


def test_where_nothing_is_to_be_gained_the_router_is_the_cheapest_provider(calm):
    *_, found = calm
    paired = found.paired["greenlane_minus_cheapest"]
    assert found.gain_min == np.inf
    assert (found.actions["greenlane"] == found.actions["cheapest"]).all()
    assert (paired.value, paired.low) == (0.0, 0.0)
    assert found.paired["greenlane_minus_logged"].low > 0.0
    agreements = {"IPW against DR", "SNIPW against DR", "direct against DR"}  # these fail by chance, one log in ten
    assert all(check.passed for check in found.verdict.checks if check.name not in agreements)


def test_where_another_provider_is_better_for_some_they_are_sent_there(rich):
    like, log, found = rich
    gained = truth_of(like, log, found, "greenlane") - truth_of(like, log, found, "cheapest")
    paired = found.paired["greenlane_minus_cheapest"]
    assert gained > 0.3
    assert paired.low < gained < paired.high
    assert paired.low > 0.0
    fits = (log.card[found.rows] == 1) & (log.amount[found.rows] > 250.0)
    moved = found.actions["greenlane"] == log.psps.index("Aspen")
    assert moved[fits].mean() > 0.9 > 0.2 > moved[~fits].mean()


def test_success_is_foretold_and_calibrated(rich):
    *_, found = rich
    assert found.success["auc"] > 0.66
    assert found.success["log_loss"] < found.success["log_loss_of_the_base_rate"]
    assert found.success["mean_said"] == pytest.approx(found.success["mean_seen"], abs=0.02)


def test_payments_are_put_together_from_their_attempts(calm):
    like, log, _ = calm
    assert (log.at_us == like.columns["at_us"]).all()
    assert ((psp_routing.past_of(log).attempt == 0) == like.first).mean() > 0.99


def test_nothing_known_of_an_attempt_depends_on_it_or_on_later_ones(calm):
    _, log, _ = calm
    half = len(log) // 2
    changed = np.arange(len(log)) >= half
    other = psp_routing.Log(
        **{
            **vars(log),
            "success": np.where(changed, 1 - log.success, log.success),
            "psp": np.where(changed, (log.psp + 1) % len(log.psps), log.psp),
        }
    )
    known, other_known = (vars(psp_routing.past_of(one)) for one in (log, other))
    for name in known.keys() - {"payer"}:
        assert np.array_equal(known[name][: half + 1], other_known[name][: half + 1], equal_nan=True)


def test_any_split_is_taken_with_gaps_unseen_providers_and_csv(tmp_path, monkeypatch, capsys):
    like = psp_like.simulate(attempts=8_000, days=20, seed=3)
    early = like.columns["at_us"] < day(12)
    like.columns["PSP"] = np.where(early & (like.columns["PSP"] == "Maple"), "Birch", like.columns["PSP"])
    train, test, fees = files(like, tmp_path, until=12, later_from=15, suffix="csv")
    out = tmp_path / "out.json"
    arguments = ["--train", train, "--test", test, "--fees", fees, "--json", out]
    monkeypatch.setattr(sys, "argv", ["psp_routing.py", *map(str, arguments)])
    psp_routing.main()
    found = json.loads(out.read_text())
    for name in ("greenlane", "logged", "cheapest"):
        net = found[name]["net_per_first_attempt"]
        assert net["low"] <= net["estimate"] <= net["high"]
        assert net["ess"] > 100
    assert {"auc", "log_loss"} <= set(found["success_model"])
    assert set(found["routers"]) == {"max_success", "max_margin_less_fee", "cheapest"}
    for router in found["routers"].values():
        assert router["against_the_log"]["low"] < router["against_the_log"]["high"]
        assert router["gate"]["accepted"] or router["gate"]["reasons"]
        assert router["ess"] > 100
    unseen = like.first & ~early & (like.columns["PSP"] == "Maple") & (like.columns["at_us"] >= day(15))
    assert found["left_out"] == pytest.approx(unseen.sum(), abs=3)
    assert "gate, greenlane against the log" in capsys.readouterr().out


def test_other_names_and_types_are_the_same_log(tmp_path):
    import duckdb

    like = psp_like.simulate(attempts=500, days=4, seed=5)
    train, test, told = files(like, tmp_path, until=2, later_from=2)
    said = tmp_path / "said.csv"
    duckdb.execute(f"""COPY (SELECT CAST(ts AS VARCHAR) AS tmsp, country, CAST(amount AS VARCHAR) AS "Amount",
        success = 1 AS success, PSP AS psp, three_ds = 1 AS "3D_secured", card FROM '{train}') TO '{said}'""")
    known, other = psp_routing.read_log(train, test), psp_routing.read_log(said, test)
    assert all(np.array_equal(one, vars(other)[name]) for name, one in vars(known).items())
    fees = tmp_path / "other.csv"
    fees.write_text("Name,Success fee,Failure fee\n" + "".join(
        f"{name.upper()},{success} EUR,{failure} EUR\n" for name, (success, failure) in psp_like.FEES.items()
    ))  # fmt: skip
    assert np.array_equal(psp_routing.read_fees(fees, known.psps), psp_routing.read_fees(told, known.psps))
    with pytest.raises(SystemExit, match="no column fee_failure"):
        psp_routing.read_fees(said, known.psps)


def test_a_provider_without_fees_is_named(tmp_path):
    like = psp_like.simulate(attempts=2_000, days=10, seed=4)
    train, test, fees = files(like, tmp_path, until=7, later_from=7)
    fees.write_text("psp,fee_success,fee_failure\nBirch,3,1\n")
    log = psp_routing.read_log(train, test)
    with pytest.raises(SystemExit, match="Aspen, Cedar, Maple"):
        psp_routing.routing(log, psp_routing.read_fees(fees, log.psps), margin=MARGIN)


def test_a_workbook_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(SystemExit, match="save it as CSV or Parquet"):
        psp_routing.read_log(tmp_path / "PSP_Jan_Feb_2019.xlsx", tmp_path / "later.xlsx")
