"""The verbs for people, without a process each."""

import json
import socket
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from small_shop import attempt, shop_in
from typer.testing import CliRunner

from greenlane import __version__
from greenlane.cli import app, main
from greenlane.cli.learn import warn_of_champion
from greenlane.cli.operate import show_demo
from greenlane.decide import decide
from greenlane.demo.outage import Outage
from greenlane.demo.story import Latency, Retries, Shown
from greenlane.demo.table import Line
from greenlane.errors import InputError
from greenlane.jobs import training
from greenlane.jobs.training_approval import TrainedApproval
from greenlane.learning.approval_fit import ApprovalEvaluation
from greenlane.payments.times import DAY_US


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped directory with five decisions."""
    directory = tmp_path_factory.mktemp("cli")
    system = shop_in(directory)
    for number in range(5):
        decide(attempt(number), lane=system.lane, event_id=f"d{number}", body_hash=bytes(16))
    system.close()
    return directory


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def test_version() -> None:
    assert run("--version") == (0, f"{__version__}\n")


def test_a_file_without_a_directory_is_refused_before_the_work() -> None:
    for flag in ("--json", "--report"):
        result = CliRunner().invoke(app, ["evaluate", "policies", flag, "/nonexistent/out"])
        assert isinstance(result.exception, InputError) and "/nonexistent" in str(result.exception)


def test_an_experiment_is_started_from_a_file_that_exists(data: Path) -> None:
    result = CliRunner().invoke(app, ["experiments", "start", "absent.json", "--data", str(data)])
    assert isinstance(result.exception, InputError) and "no file absent.json" in str(result.exception)


def test_status_tells_what_a_directory_holds(data: Path) -> None:
    code, said = run("status", "--data", str(data), "--json")
    assert said.endswith("}\n")
    found = json.loads(said[said.index("{") :])
    assert (code, found["server_running"], found["days"]) == (0, False, 0)
    assert found["aliases"] == {"fraud/champion": found["models"][0]}
    assert found["entries"] >= 5


def test_replay_counts_what_differs(data: Path) -> None:
    code, said = run("replay", "--data", str(data), "--sample", "3", "--json")
    assert (
        code,
        json.loads(said[said.index("{") :])["decisions"],
        json.loads(said[said.index("{") :])["different"],
    ) == (0, 3, 0)


def test_keys_are_made_listed_and_revoked(data: Path) -> None:
    code, key = run("keys", "create", "--data", str(data), "--scope", "read", "--scope", "decide")
    assert code == 0 and key.startswith("glk_")
    _, listed = run("keys", "list", "--data", str(data))
    (key_id,) = [word for word in listed.split() if word.startswith("key_")]
    assert "read decide" in listed and key.strip() not in listed
    assert run("keys", "revoke", "--data", str(data), key_id)[0] == 0
    assert "key_" not in run("keys", "list", "--data", str(data))[1]


def test_a_table_is_whole_where_the_terminal_is_narrow(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    line = Line("Greenlane", *([(21_400.7, 20_365.6, 22_400.5)] * 5))
    outage = Outage(
        route="a", lasts_s=60.0, payments=180, usual_share=0.5, diverted_s=4.0, diverted_payments=12, hit=9,
        probe_share=0.02, returned_s=None, approvals_lost=1.5, approvals=160.0, slots=[(-30.0, 0.5), (0.0, 0.025)],
    )  # fmt: skip
    retries = Retries(
        declined_first=100, tried_again=50, further_attempts=70, recovered={"retry_now": 25}, forbidden=0,
        steps={"capture": 900},
    )  # fmt: skip
    shown = Shown(
        world="w", seed=1, currency="USD", payments=8000, counted=7000, threshold=0.1, forbidden=3,
        decisions=Latency(1.0, 2.0), next_actions=Latency(3.0, 4.0), interventions={"allow": 1}, lines=[line],
        outage=outage, retries=retries,
    )  # fmt: skip
    show_demo(shown, data, "http://127.0.0.1:1", "glk_x", stays=False)
    said = capsys.readouterr().out
    assert "…" not in said
    assert said.count("21,400.7 [20,365.6, 22,400.5]") == 2 and "214 [204, 224]" in said
    assert "diverted within 4 s, after 12 payments" in said and f"{'█' * 20} " in said
    assert "25 recovered (25 %) with 70 further attempts: 25 by retry_now" in said
    assert "http:" not in said  # nothing listens any more


def test_erasing_says_whether_anybody_was_known(data: Path) -> None:
    words = ("subjects", "erase", "card", "fp_1", "--data", str(data))
    assert [run(*words)[0] for _ in range(2)] == [0, 1]


def test_an_error_of_ours_is_two_lines_and_status_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["status"], ["keys", "list"]):
        monkeypatch.setattr("sys.argv", ["greenlane", *words, "--data", str(tmp_path / "nowhere")])
        assert "hint:" in told(capsys)


def test_what_a_newcomer_gets_wrong_is_told_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["greenlane", *words, "--data", str(tmp_path / "shop")])
        return told(capsys)

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "another --port" in said("serve", "--no-follower", "--port", port)
    assert "65535" in said("serve", "--port", "80000")
    assert "import history" in said("train", "fraud")
    assert "tell of no decline" in said("train", "recovery")
    assert "a day such as" in said("train", "fraud", "--from", "yesterday")


def test_a_missing_train_extra_is_told_before_the_work(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    monkeypatch.setattr("sys.argv", ["greenlane", "train", "fraud", "--data", str(data)])
    assert "pip install" in told(capsys)


def test_a_window_that_a_model_learned_from_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kept:
        training_set: ClassVar = {"to_us": DAY_US}

    monkeypatch.setattr(training, "read_manifest", lambda path: Kept)
    assert training.learned_until(tmp_path, "mdl_1", training.Plan()) == "1970-01-02"
    assert training.learned_until(tmp_path, "mdl_1", training.Plan(from_us=DAY_US)) == ""


def test_a_first_champion_of_which_too_little_is_known_is_announced_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    def warned(verdict: str, alias: str) -> str:
        evaluation = ApprovalEvaluation(9, 0.9, 0.7, 0.3, 0.4, [], [], [], [], [], verdict=verdict)
        warn_of_champion(TrainedApproval("mdl_1", evaluation, {}, alias))
        return capsys.readouterr().err

    assert "mdl_1 is champion, as there was none, though its calibration is undecided" in warned(
        "undecided", "approval/champion"
    )
    assert "not calibrated on held-out time" in warned("not calibrated", "approval/champion")
    assert warned("calibrated", "approval/champion") == warned("undecided", "approval/shadow") == ""


def told(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("verb", ["", "keys", "models", "features", "subjects", "train"])
def test_every_group_teaches_itself(verb: str) -> None:
    _, said = run(*verb.split(), "--help")
    assert "Usage" in said
