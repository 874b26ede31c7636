import random

from greenlane.journal.fingerprints import FingerprintSet


def test_it_never_forgets_one_by_one_or_packed() -> None:
    chance = random.Random(5)
    names = [chance.randbytes(16) for _ in range(20_000)] + [bytes(16), b"\1" + bytes(15)]
    seen = FingerprintSet()
    for name in names[:5000]:
        seen.add(name)
    seen.add_packed(b"".join(names[5000:15000]))
    seen.update(names[15000:])
    seen.update(names[:3])
    assert all(name in seen for name in names)
    assert len(seen) == len(names) - 1, "0 stands where nothing does, so it shares the place of 1"
    assert not any(chance.randbytes(16) in seen for _ in range(20_000))


def test_it_stays_within_its_stated_size() -> None:
    seen = FingerprintSet()
    seen.add_packed(random.Random(6).randbytes(16 * 300_000))
    slots = sum(len(table) for table in seen._tables)
    assert 8 * slots / 300_000 <= 22
