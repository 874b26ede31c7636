"""The verbs for people, without a process each."""

import json
from pathlib import Path

import pytest
from small_shop import attempt, shop_in
from typer.testing import CliRunner

from greenlane import __version__
from greenlane.cli import app, main
from greenlane.decide import decide


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
    assert run("version") == (0, f"{__version__}\n")


def test_status_tells_what_a_directory_holds(data: Path) -> None:
    code, said = run("status", "--data", str(data), "--json")
    found = json.loads(said)
    assert (code, found["server_running"], found["days"]) == (0, False, 0)
    assert found["aliases"] == {"fraud/champion": found["models"][0]}
    assert found["entries"] >= 5


def test_replay_counts_what_differs(data: Path) -> None:
    code, said = run("replay", "--data", str(data), "--sample", "3", "--json")
    assert (code, json.loads(said)["decisions"], json.loads(said)["different"]) == (0, 3, 0)


def test_keys_are_made_listed_and_revoked(data: Path) -> None:
    code, key = run("keys", "create", "--data", str(data), "--scope", "read", "--scope", "decide")
    assert code == 0 and key.startswith("glk_")
    _, listed = run("keys", "list", "--data", str(data))
    (key_id,) = [word for word in listed.split() if word.startswith("key_")]
    assert "read decide" in listed and key.strip() not in listed
    assert run("keys", "revoke", "--data", str(data), key_id)[0] == 0
    assert "key_" not in run("keys", "list", "--data", str(data))[1]


def test_erasing_says_whether_anybody_was_known(data: Path) -> None:
    words = ("subjects", "erase", "card", "fp_1", "--data", str(data))
    assert [run(*words)[0] for _ in range(2)] == [0, 1]


def test_an_error_of_ours_is_two_lines_and_status_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["greenlane", "status", "--data", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "hint:" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["", "keys", "models", "features", "subjects", "train"])
def test_every_group_teaches_itself(verb: str) -> None:
    _, said = run(*verb.split(), "--help")
    assert "Usage" in said
