"""The life of a model without a server: registered, judged, promoted past the gates, rolled back, pruned."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from small_shop import attempt, save_model, shop_in

from greenlane.decide import decide
from greenlane.errors import InputError, ModelRefused, NotFound
from greenlane.jobs.promoting import introduce, promote, rollback, verdicts_of
from greenlane.jobs.registering import listed, measured, open_registry, prune, register, registered_card
from greenlane.learning.gates import failed
from greenlane.models.approval_model import KEPT_MAX
from greenlane.models.approval_rows import MODES
from greenlane.models.artefact import read_manifest
from greenlane.ports.journal import Position
from greenlane.wiring import Places, Reader, open_reader


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Path]:
    system = shop_in(tmp_path)
    decide(attempt(1), lane=system.lane, event_id="d1", body_hash=bytes(16))
    system.close()
    yield tmp_path


def reader(shop: Path) -> Reader:
    return open_reader(shop)


def stored(shop: Path, lean: float) -> str:
    return save_model(Places(shop).models, lean=lean)


def test_a_card_has_lineage_size_and_time(shop: Path) -> None:
    model = stored(shop, 1.0)
    card = register(shop, model, why="to look at")
    assert registered_card(reader(shop), model) == card
    assert card.cost.bytes_on_disk > 1_000 and 0 < card.cost.p50_us <= card.cost.p99_us
    assert card.lineage.parent == reader(shop).live.aliases["fraud/champion"]
    assert card.lineage.feature_set == reader(shop).live.digest and "+" in card.lineage.code


def test_an_artefact_from_elsewhere_is_copied_in_under_its_own_name(shop: Path, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    model = save_model(elsewhere, lean=1.0)
    assert register(shop, str(elsewhere / model), why="brought").id == model
    assert measured(reader(shop), model).id == model
    with pytest.raises(InputError, match="holds no artefact"):
        register(shop, str(elsewhere), why="brought")


def test_the_index_is_made_again_from_the_journal(shop: Path) -> None:
    register(shop, stored(shop, 1.0), why="first")
    promote(shop, stored(shop, 1.0), alias="fraud/shadow", why="to watch")
    before = open_registry(reader(shop))
    models, moves = before.models(), before.moves()
    assert [(m.alias, m.why) for m in moves] == [("fraud/champion", "the first model"), ("fraud/shadow", "to watch")]
    before.close()
    (shop / "registry.sqlite").unlink()
    again = open_registry(reader(shop))
    assert (again.models(), again.moves()) == (models, moves)
    stale = Position(again.upto().generation + 1, again.upto().seq)
    assert again.take([], [], seen=again.upto(), upto=stale, anew=True), "an index of a tail that was lost"
    assert open_registry(reader(shop)).moves() == moves


def test_the_list_names_each_models_stage(shop: Path) -> None:
    first = reader(shop).live.aliases["fraud/champion"]
    second, third, fourth = (stored(shop, lean) for lean in (1.0, 2.0, 3.0))
    promote(shop, second, alias="fraud/champion", why="better", force=True)
    promote(shop, third, alias="fraud/shadow", why="to watch")
    register(shop, third, why="its card")
    stage = {row["model"]: row["stage"] for row in listed(reader(shop))}
    assert stage == {first: "retired", second: "champion", third: "shadow", fourth: "stored"}
    assert listed(reader(shop))[0]["model"] == third, "what is registered comes first"


def test_a_champion_is_not_made_before_it_stood_in_the_shadow(shop: Path) -> None:
    model = stored(shop, 1.0)
    verdicts = verdicts_of(reader(shop), model, "fraud/champion")
    assert failed(verdicts) == ["calibration", "coverage", "errors", "flips", "labels", "money"]
    with pytest.raises(ModelRefused, match="6 of 11 gates failed") as refused:
        promote(shop, model, alias="fraud/champion", why="please")
    assert refused.value.code == "gates_not_passed"
    assert reader(shop).live.aliases["fraud/champion"] != model


def test_force_goes_past_the_gates_and_the_audit_says_so(shop: Path) -> None:
    first, model = reader(shop).live.aliases["fraud/champion"], stored(shop, 1.0)
    promote(shop, model, alias="fraud/champion", why="an attack is on", force=True)
    assert reader(shop).live.aliases["fraud/champion"] == model
    audit = open_registry(reader(shop)).moves(model=model)
    assert [(m.subject, m.before, m.why) for m in audit] == [
        ("gates", first, "forced: an attack is on"),
        ("model", first, "an attack is on"),
    ]


def test_rolling_back_is_one_step_and_asks_no_gate(shop: Path) -> None:
    first, model = reader(shop).live.aliases["fraud/champion"], stored(shop, 1.0)
    promote(shop, model, alias="fraud/champion", why="better", force=True)
    assert rollback(shop, alias="fraud/champion", why="it was not") == first
    assert reader(shop).live.aliases["fraud/champion"] == first
    with pytest.raises(NotFound):
        rollback(shop, alias="approval/champion", why="x")
    with pytest.raises(InputError, match="is no alias"):
        promote(shop, model, alias="fraud/prod", why="x")


def test_the_first_model_is_introduced_as_champion_and_a_later_one_as_shadow(tmp_path: Path) -> None:
    shop_in(tmp_path, lean=None).close()
    assert introduce(tmp_path, stored(tmp_path, 0.0), kind="fraud", why="trained") == "fraud/champion"
    assert introduce(tmp_path, stored(tmp_path, 1.0), kind="fraud", why="trained") == "fraud/shadow"
    assert [m.subject for m in open_registry(reader(tmp_path)).moves()] == ["gates", "model", "model"]
    for row in listed(reader(tmp_path)):
        assert row["card"]["cost"]["p50_us"] > 0.0, "both are registered, with what an answer of theirs takes"
        if row["kind"] == "approval":
            held = KEPT_MAX * len(MODES) * 8
            assert row["card"]["cost"]["memory_bytes"] > held, "what is kept of ways counts, too"


def test_a_damaged_model_fails_its_gate_and_is_not_registered(shop: Path) -> None:
    model = stored(shop, 1.0)
    register(shop, model, why="while it was whole")
    nodes = Places(shop).models / model / "nodes.npy"
    nodes.write_bytes(nodes.read_bytes()[:-1] + b"\x01")
    assert "golden" in failed(verdicts_of(reader(shop), model, "fraud/champion"))
    with pytest.raises(ModelRefused):
        register(shop, model, why="again")


def test_what_decisions_name_is_never_pruned(shop: Path) -> None:
    first = reader(shop).live.aliases["fraud/champion"]
    second, third, fourth = (stored(shop, lean) for lean in (1.0, 2.0, 3.0))
    promote(shop, second, alias="fraud/champion", why="better", force=True)
    promote(shop, third, alias="fraud/shadow", why="to watch")
    gone, kept = prune(shop, keep=0)
    assert gone == [fourth]
    assert kept == {first: "decisions name it", second: "it is fraud/champion", third: "it is fraud/shadow"}
    assert not (Places(shop).models / fourth).exists()
    assert read_manifest(Places(shop).models / first).kind == "fraud"


def test_the_gates_told_as_json_are_read_back_whole(shop: Path) -> None:
    from greenlane.learning.gates import Verdict

    verdicts = verdicts_of(reader(shop), stored(shop, 1.0), "fraud/champion")
    assert msgspec.json.decode(msgspec.json.encode(verdicts), type=tuple[Verdict, ...]) == verdicts
