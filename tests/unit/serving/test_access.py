import os
from pathlib import Path

import pytest

from greenlane.errors import InputError, SettingsError
from greenlane.serving import access
from greenlane.serving.access import KeyFile, StoredKey


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    told = [100.0]
    monkeypatch.setattr(access.time, "monotonic", lambda: told[0])
    return told


def status(keys: KeyFile, key: str, scope: access.Grant) -> int:
    try:
        keys.allow(f"Bearer {key}", scope)
    except InputError as error:
        return error.status
    return 200


def test_a_key_may_do_what_its_scopes_say_and_admin_everything(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    reader, admin = keys.create(("read",), created=""), keys.create(("admin",), created="")
    assert [status(keys, reader, scope) for scope in ("read", "decide", "admin")] == [200, 403, 403]
    assert [status(keys, admin, scope) for scope in ("read", "decide", "admin")] == [200, 200, 200]
    assert status(keys, "glk_guessed", "read") == 401


def test_keys_are_rotated_while_the_server_runs(tmp_path: Path, now: list[float]) -> None:
    serving, cli = KeyFile(tmp_path / "keys.json"), KeyFile(tmp_path / "keys.json")
    old = cli.create(("read",), created="")
    assert status(serving, old, "read") == 200
    fresh = cli.create(("read",), created="")
    now[0] += access.RELOAD_S
    assert (status(serving, fresh, "read"), status(serving, old, "read")) == (200, 200)
    cli.revoke(cli.stored()[0].id)
    now[0] += access.RELOAD_S
    assert (status(serving, fresh, "read"), status(serving, old, "read")) == (200, 401)


def test_keys_are_stored_hashed_and_for_their_owner_only(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create(("decide",), created="")
    assert key.encode() not in keys.path.read_bytes() and key[4:].encode() not in keys.path.read_bytes()
    assert keys.path.stat().st_mode & 0o077 == 0


def test_a_local_key_is_not_in_the_key_file(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    local = keys.local("admin")
    assert status(keys, local, "admin") == 200
    assert not keys.path.exists()


@pytest.mark.parametrize("scopes", [(), ("root",), ("read", "write")])
def test_an_unknown_scope_is_refused(tmp_path: Path, scopes: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as refusal:
        KeyFile(tmp_path / "keys.json").create(scopes, created="")
    assert "decide" in (refusal.value.hint or "")


def test_revoking_a_key_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="key_nobody"):
        KeyFile(tmp_path / "keys.json").revoke("key_nobody")


def test_a_damaged_key_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(SettingsError, match="cannot be read"):
        KeyFile(tmp_path / "keys.json").stored()


def test_a_key_file_damaged_under_a_running_server_keeps_the_keys_it_knew(tmp_path: Path, now: list[float]) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create(("read",), created="")
    assert status(keys, key, "read") == 200
    keys.path.write_text("{")
    now[0] += access.RELOAD_S
    for _ in range(2):
        assert status(keys, key, "read") == 200


def test_a_key_that_is_revoked_while_another_thread_looks_it_up_is_not_remembered(
    tmp_path: Path, now: list[float]
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create(("read",), created="")

    class Slow(dict[str, StoredKey]):
        def get(self, digest: str, default: StoredKey | None = None) -> StoredKey | None:  # type: ignore[override] # enough of it
            found = super().get(digest, default)
            keys.revoke(keys.stored()[0].id)
            os.utime(keys.path, (1, 1))
            now[0] += access.RELOAD_S
            keys.refresh()
            return found

    keys.refresh()
    keys.known = Slow(keys.known)
    assert status(keys, key, "read") == 200, "it was good when it was asked for"
    assert status(keys, key, "read") == 401


def test_a_key_that_was_heard_may_still_do_no_more_than_its_scopes(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.create(("decide", "read"), created="")
    asked = [status(keys, key, scope) for scope in ("decide", "read", "admin", "report", "decide")]
    assert asked == [200, 200, 403, 403, 200]
