"""A feature vector in few bytes: small integers take one or two, so that every decision can keep what it knew.

Each integer becomes a base-128 varint of `code`: even codes are values (zigzag, doubled), odd codes are marks
(`v - NEVER`, doubled, plus one). Values outside +-2^60 are escaped: code 2049 and eight raw bytes.
"""

import numpy as np
from numba import njit

from greenlane.features.definition import MARK_MAX, NEVER

ESCAPE = np.uint64(2 * 1024 + 1)
BIG = 1 << 60


@njit(cache=True)
def pack_into(ints: np.ndarray, out: np.ndarray) -> int:
    n = 0
    for i in range(ints.shape[0]):
        v = ints[i]
        escaped = False
        if v <= MARK_MAX:
            code = (np.uint64(v - NEVER) << np.uint64(1)) | np.uint64(1)
        elif v >= BIG or v <= -BIG:
            code = ESCAPE
            escaped = True
        else:
            code = np.uint64((v << 1) ^ (v >> 63)) << np.uint64(1)
        while code >= np.uint64(128):
            out[n] = np.uint8(code & np.uint64(127)) | np.uint8(128)
            code >>= np.uint64(7)
            n += 1
        out[n] = np.uint8(code)
        n += 1
        if escaped:
            for shift in range(8):
                out[n] = np.uint8((v >> (8 * shift)) & 255)
                n += 1
    return n


@njit(cache=True)
def unpack_into(packed: np.ndarray, out: np.ndarray) -> int:
    n = 0
    for i in range(out.shape[0]):
        code = np.uint64(0)
        shift = np.uint64(0)
        while packed[n] >= 128:
            code |= np.uint64(packed[n] & np.uint8(127)) << shift
            shift += np.uint64(7)
            n += 1
        code |= np.uint64(packed[n]) << shift
        n += 1
        if code == ESCAPE:
            v = np.int64(0)
            for k in range(8):
                v |= np.int64(packed[n]) << np.int64(8 * k)
                n += 1
            out[i] = v
        elif code & np.uint64(1):
            out[i] = np.int64(code >> np.uint64(1)) + NEVER
        else:
            zigzag = code >> np.uint64(1)
            out[i] = np.int64(zigzag >> np.uint64(1)) ^ -np.int64(zigzag & np.uint64(1))
    return n


def pack(ints: np.ndarray) -> bytes:
    """int64[n] -> bytes.

    >>> len(pack(np.array([0, 3, NEVER, 250_000], dtype=np.int64)))
    6
    """
    out = np.empty(ints.shape[0] * 11, dtype=np.uint8)
    return out[: pack_into(ints, out)].tobytes()


def unpack(packed: bytes, count: int) -> np.ndarray:
    """bytes -> int64[count].

    >>> unpack(pack(np.array([-5, NEVER, 2**62], dtype=np.int64)), 3).tolist() == [-5, NEVER, 2**62]
    True
    """
    out = np.empty(count, dtype=np.int64)
    read = unpack_into(np.frombuffer(packed, dtype=np.uint8), out) if count else 0
    assert read == len(packed), "a packed vector is read to its last byte"
    return out
