"""What is live and what was released, as folds of control entries."""

from itertools import count

import pytest
from msgspec.structs import replace

from greenlane.decisions.answer import Versions
from greenlane.decisions.control import RECORD_ENCODER, ControlRecord, control_of
from greenlane.decisions.live import CHAMPION, Live, alias_change, features_change, policy_change, rollback_change
from greenlane.decisions.releases import Releases, digest_of
from greenlane.errors import JournalError, NotFound
from greenlane.features.catalogue import CATALOGUE
from greenlane.policy.parameters import Policy
from greenlane.ports.journal import Entry

seqs = count(1)
VERSIONS = Versions(engine="0.1.0", runtime="r", models={"fraud": "mdl_1"}, features="f", policy="p")


def entry(record: ControlRecord) -> Entry:
    return Entry(next(seqs), 1, 0, "control", "cli", "1", 0, 0, 1, b"", None, RECORD_ENCODER.encode(record))


def moved(live: Live, model: str) -> None:
    live.apply(entry(alias_change(live, CHAMPION, model, who="anna", why="better")))


def test_an_alias_names_its_last_model_and_the_moves_are_kept() -> None:
    live = Live()
    for model in ("mdl_1", "mdl_2"):
        moved(live, model)
    assert live.aliases == {CHAMPION: "mdl_2"}
    assert [(record.before, record.after) for _, record in live.moves] == [(None, "mdl_1"), ("mdl_1", "mdl_2")]


def test_rolling_back_goes_to_the_model_before_and_there_again() -> None:
    live = Live()
    for model in ("mdl_1", "mdl_2"):
        moved(live, model)
    for expected in ("mdl_1", "mdl_2"):
        live.apply(entry(rollback_change(live, CHAMPION, who="anna", why="worse")))
        assert live.aliases[CHAMPION] == expected


def test_what_never_moved_cannot_be_rolled_back() -> None:
    live = Live()
    moved(live, "mdl_1")
    with pytest.raises(NotFound):
        rollback_change(live, CHAMPION, who="anna", why="worse")


def test_features_and_policies_come_back_as_they_were_declared() -> None:
    live, policy = Live(), Policy(perspective="psp")
    assert live.digest == ""
    live.apply(entry(features_change(CATALOGUE, None, who="engine", why="first")))
    live.apply(entry(policy_change(policy, who="engine", why="first")))
    assert live.features == CATALOGUE and live.digest == CATALOGUE.digest
    assert live.policies == {policy.version: policy}
    assert live.policies[policy.version].version == policy.version


def test_a_release_is_found_by_its_digest_and_an_unknown_one_is_an_error() -> None:
    releases = Releases()
    releases.apply(entry(Releases.change(VERSIONS)))
    assert releases.versions(digest_of(VERSIONS)) == VERSIONS
    with pytest.raises(JournalError):
        releases.versions(digest_of(replace(VERSIONS, policy="other")))


def test_entries_of_other_kinds_and_subjects_change_nothing() -> None:
    live, releases = Live(), Releases()
    other = entry(ControlRecord("note", "1", "anna", "", None, {}))
    for one in (other, Entry(1, 1, 0, "decision", "api", "1", 0, 0, 1, b"", None, b"not a control")):
        live.apply(one)
        releases.apply(one)
    assert (live.aliases, live.features, releases.known) == ({}, None, {})
    assert control_of(other).id == "1"
