"""A directory's journal in, an approval champion out."""

from pathlib import Path

import pytest

from greenlane.adapters.onnx_net import open_net
from greenlane.decisions.live import APPROVAL_CHAMPION
from greenlane.errors import SettingsError
from greenlane.jobs.simulating import simulate
from greenlane.jobs.training import Plan
from greenlane.jobs.training_approval import approval_figures, train_approval
from greenlane.models.approval_model import load_approval
from greenlane.simulation.world import World
from greenlane.wiring import open_reader


def test_a_history_nobody_decided_here_makes_a_champion_that_loads(tmp_path: Path) -> None:
    directory, told = tmp_path / "data", []
    simulate(World.load("europe"), 1, 1_500, directory, lambda _done, _of: None)
    with pytest.raises(SettingsError, match="holds a history already"):
        simulate(World.load("europe"), 1, 10, directory, lambda _done, _of: None)
    found = train_approval(directory, Plan(), progress=lambda done, of: told.append((done, of)))
    reader = open_reader(directory)
    assert reader.live.aliases[APPROVAL_CHAMPION] == found.model_id
    champion = load_approval(reader.places.models / found.model_id, open_net=open_net)
    assert {code.country for code in champion.encoding.routes.values()} == {"DE", "NL", "ES", "GB"}
    assert found.evaluation.attempts > 200
    assert found.training_set["rows"] > 1_200
    assert told[-1][0] == told[-1][1]
    assert dict(approval_figures(found.evaluation))["attempts"] == str(found.evaluation.attempts)
    page = reader.places.report(found.model_id).read_text()
    assert page.count("<svg") == 2 and "declined money, observed/expected" in page and "acq_rhine" in page
    truth = found.evaluation.truth
    assert truth is not None and truth.log_loss < found.evaluation.log_loss
    assert 0.02 < truth.rms_log_ratio < 0.5 and 0.1 < truth.captured < 1.0
