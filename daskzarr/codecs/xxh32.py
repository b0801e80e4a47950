"""Rows of bytes -> their XXH32 checksums, many rows at a time (xxHash fast digest algorithm, XXH32)."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

_PRIMES = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1
_P1, _P2, _P3, _P4, _P5 = (np.array([prime], np.uint32) for prime in _PRIMES)
_STRIPE = 16
_PART = 2**14  # stripes of all rows together that are prepared at a time
_MANY = 16  # rows


def xxh32(rows: npt.NDArray[np.uint8], seed: int) -> Words:
    """The checksum of each row of a two-dimensional array.

    >>> rows = np.frombuffer(b"abc", np.uint8).reshape(1, 3)
    >>> hex(xxh32(rows, seed=0)[0])
    '0x32d153ff'
    """
    count, length = rows.shape
    start = np.array([seed], np.uint32)
    whole = length - length % _STRIPE
    state = _stripes(rows[:, :whole], start) if whole else np.repeat(start + _P5, count)
    return _finish(_tail(state + np.uint32(length & 0xFFFFFFFF), rows[:, whole:]))


def _rotate(words: Words, bits: int) -> Words:
    """The words' bits, moved to the left in a circle."""
    return words << np.uint32(bits) | words >> np.uint32(32 - bits)


def _stripes(rows: npt.NDArray[np.uint8], start: Words) -> Words:
    """Each row's four lanes, taken through all stripes, as one word.

    A stripe depends on the one before, so they cannot be done at once; but lanes can, those of all rows.
    """
    count, length = rows.shape
    lanes = np.tile(np.concatenate([start + _P1 + _P2, start + _P2, start, start - _P1]), count)
    run = _run_few if count < _MANY else _run_many
    step = max(_PART // count, 1) * _STRIPE
    for offset in range(0, length, step):
        words = np.ascontiguousarray(rows[:, offset : offset + step]).view("<u4").astype(np.uint32) * _P2
        lanes = run(lanes, words.reshape(count, -1, 4).swapaxes(0, 1).reshape(-1, 4 * count))
    a, b, c, d = lanes.reshape(count, 4).T
    return cast(Words, _rotate(a, 1) + _rotate(b, 7) + _rotate(c, 12) + _rotate(d, 18))


def _run_many(lanes: Words, stripes: Words) -> Words:
    """The lanes after the stripes, in five operations on all of them for each stripe."""
    thirteen, nineteen = np.full_like(lanes, 13), np.full_like(lanes, 19)
    prime, right = np.full_like(lanes, _P1), np.empty_like(lanes)
    for stripe in stripes:
        np.add(lanes, stripe, out=lanes)
        np.right_shift(lanes, nineteen, out=right)
        np.left_shift(lanes, thirteen, out=lanes)
        np.bitwise_or(lanes, right, out=lanes)
        np.multiply(lanes, prime, out=lanes)
    return lanes


def _run_few(lanes: Words, stripes: Words) -> Words:
    """The same in one long integer, several times as fast where there are few lanes.

    Each lane has 64 bits in it: no sum or product of 32 bits reaches the next.
    """
    size, prime, unpack = 8 * len(lanes), _PRIMES[0], int.from_bytes
    low = unpack(b"\xff\xff\xff\xff\0\0\0\0" * len(lanes), "little")
    state = unpack(lanes.astype("<u8").tobytes(), "little")
    for stripe in stripes.astype("<u8").view(f"V{size}")[:, 0].tolist():
        moved = (state + unpack(stripe, "little") & low) << 13
        state = ((moved ^ moved >> 32) & low) * prime
    return np.frombuffer((state & low).to_bytes(size, "little"), "<u8").astype(np.uint32)


def _tail(state: Words, rows: npt.NDArray[np.uint8]) -> Words:
    """What is left over behind the stripes: words of four bytes, then single bytes."""
    whole = rows.shape[1] // 4 * 4
    for word in np.ascontiguousarray(rows[:, :whole]).view("<u4").astype(np.uint32).T:
        state = _rotate(state + word * _P3, 17) * _P4
    for byte in rows[:, whole:].astype(np.uint32).T:
        state = _rotate(state + byte * _P5, 11) * _P1
    return state


def _finish(state: Words) -> Words:
    """Spread each bit over the whole word."""
    state = (state ^ state >> np.uint32(15)) * _P2
    state = (state ^ state >> np.uint32(13)) * _P3
    return state ^ state >> np.uint32(16)
