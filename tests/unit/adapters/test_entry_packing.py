"""Journals outlive the code that wrote them: what was packed once is unpacked for ever."""

import threading
from hashlib import sha256
from importlib.resources import files

import pytest

from greenlane.adapters.entry_packing import PACK_BYTES_MIN, packed, unpacked

FACTS, PAYLOAD = b"\x95\x01facts", b'{"action":{"intervention":"challenge"},"network":"visa"} ' * 4
OF_FORMAT_4 = (
    "0128b52ffd20ef050200e40200000007950166616374737b22616374696f6e223a7b22696e74657276656e22227d2c22223a2276"
    "697361227d2004fc28be6ebdaf23fe5677cfa3d63a01"
)


def test_an_entry_that_was_packed_under_format_4_is_still_read() -> None:
    assert unpacked(None, bytes.fromhex(OF_FORMAT_4)) == (FACTS, PAYLOAD)


def test_the_dictionary_of_format_4_never_changes() -> None:
    dictionary = files("greenlane.adapters").joinpath("entries.zdict").read_bytes()
    assert sha256(dictionary).hexdigest() == "48445dd18e372651428d983b79b8f4ce8e4cb9422320d45f34bd892e957ef248"


@pytest.mark.parametrize("facts", [None, FACTS])
@pytest.mark.parametrize("length", [0, 1, PACK_BYTES_MIN - 1, PACK_BYTES_MIN, 70_000])
def test_what_is_packed_is_unpacked_whatever_is_left_out(facts: bytes | None, length: int) -> None:
    payload = (PAYLOAD * (1 + length // len(PAYLOAD)))[:length]
    assert unpacked(*packed(facts, payload)) == (facts, payload)


def test_threads_that_pack_at_once_do_not_mix_their_entries() -> None:
    wrong = []

    def work(own: int) -> None:
        for n in range(300):
            payload = b"%d %d " % (own, n) * 50
            wrong.extend([own] if unpacked(*packed(FACTS, payload)) != (FACTS, payload) else [])

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
