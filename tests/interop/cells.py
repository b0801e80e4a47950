"""Test data of every dtype: cells of which each is another, and the check that two arrays are the same, bit by bit."""

import itertools
import math

import ml_dtypes
import numpy as np

TEXTS = ["", "a", "bcd", "é", "日本", "🦆", "nul\0nul", " space ", "ß" * 40]


def distinct(shape, dtype):
    """Cells of which each is another, where the dtype has so many; special ones among them."""
    count = math.prod(shape)
    return _cells(count, np.dtype(dtype), 0).reshape(shape)


def texts(shape):
    """Text of any length, as objects."""
    return _objects(shape, (f"{text}{n or ''}" for n in itertools.count() for text in TEXTS))


def byte_strings(shape):
    """Bytes of any length, as objects."""
    return _objects(shape, (bytes([n % 256]) * (n % 5) + b"\0" * (n // 5 % 2) for n in itertools.count()))


def items(shape):
    """What JSON can hold, as objects."""
    ones = ([None, True, n, n + 0.5, f"é{n}", [n, None], {"k": n}] for n in itertools.count())
    return _objects(shape, itertools.chain.from_iterable(ones))


def ragged(shape, dtype):
    """Arrays of all lengths, as objects."""
    return _objects(shape, (np.arange(10 * n, 10 * n + n % 4).astype(dtype) for n in itertools.count()))


def _objects(shape, source):
    """The first things of a source, in an array of objects."""
    cells = np.empty(math.prod(shape), object)
    for i, item in enumerate(itertools.islice(source, len(cells))):
        cells[i] = item
    return cells.reshape(shape)


def _cells(count, dtype, start):
    """So many cells of a dtype, which differ from those of another start."""
    if dtype.names:
        cells = np.zeros(count, dtype)
        for i, name in enumerate(dtype.names):
            base, shape = dtype[name].subdtype or (dtype[name], ())
            parts = _cells(count * math.prod(shape), base, start + 100 * (i + 1))
            cells[name] = parts.reshape((count, *shape))
        return cells
    numbers = np.arange(start + 1, start + count + 1)
    if dtype.kind == "b":
        return np.bitwise_count(numbers) % 2 == 1  # Thue and Morse's: no part of it comes three times in a row
    if dtype.kind == "S":
        return np.array([_bytes(n, dtype.itemsize) for n in numbers], dtype)
    if dtype.kind == "U":
        return np.array([f"{'é🦆x'[n % 3]}{n}"[: dtype.itemsize // 4] for n in numbers], dtype)
    if dtype.kind == "V" and hasattr(ml_dtypes, dtype.name):
        return _small(numbers, dtype)
    if dtype.kind == "V":
        return np.frombuffer(b"".join(_bytes(n, dtype.itemsize) for n in numbers), dtype).copy()
    if dtype.kind in "mM":
        cells = (numbers * 1_000_003 - 17).astype("i8")
        cells[2::7] = -(2**63) if start == 0 else cells[2::7]
        return cells.view(dtype.newbyteorder("=")).astype(dtype)
    if dtype.kind == "c":
        cells = (numbers - 1j * numbers).astype(dtype.newbyteorder("="))
        _put_specials(cells.view(f"f{dtype.itemsize // 2}"))
    else:
        high = 0 if dtype.kind == "f" else 1 << (8 * dtype.itemsize - 2)
        cells = (numbers + high).astype(dtype.newbyteorder("="))
        if dtype.kind == "f":
            _put_specials(cells)
    return cells.astype(dtype)


def _bytes(number, length):
    """Bytes of which none is 0 at the end."""
    return bytes((number * 37 + i * 11) % 255 + 1 for i in range(length))


def _small(numbers, dtype):
    """Cells of a dtype of ml_dtypes, all of its bits in use."""
    if dtype.itemsize > 1:
        cells = numbers.astype("f4").astype(dtype)
        _put_specials(cells)
        return cells
    bits = {"2": 2, "4": 4, "6": 6}.get(dtype.name.lstrip("uintfloa")[0], 8)
    if dtype.name.startswith("int"):
        values = numbers % (1 << bits) - (1 << (bits - 1))
        return values.astype("i1").astype(dtype)
    return (numbers % (1 << bits)).astype("u1").view(dtype)


def _put_specials(parts):
    """Infinities, -0.0, a denormal and NaNs with payloads in the place of some numbers."""
    if len(parts) > 9:
        words = parts.view(f"u{parts.dtype.itemsize}")
        infinity = words.dtype.type(np.array(np.inf, parts.dtype).view(words.dtype))
        parts[1:4] = [np.inf, -np.inf, -0.0]
        words[4] = 1  # a denormal
        words[5:8] = [infinity + 1, infinity | infinity >> 1 | 2, ~words.dtype.type(0)]  # NaNs with payloads


def native(dtype):
    """The dtype in native byte order, fields too."""
    dtype = np.dtype(dtype)
    return dtype if hasattr(ml_dtypes, dtype.name) else dtype.newbyteorder("=")


def same(found, expected):
    """The same shape, type and bits, in whatever byte order."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert native(found.dtype) == native(expected.dtype), (found.dtype, expected.dtype)
    if expected.dtype == object:
        for ours, theirs in zip(found.flat, expected.flat, strict=True):
            assert _same_object(ours, theirs), (ours, theirs)
        return
    ours, theirs = found.astype(native(found.dtype)), expected.astype(native(expected.dtype))
    if ours.tobytes() != theirs.tobytes():
        differ = [i for i in np.ndindex(ours.shape) if ours[i].tobytes() != theirs[i].tobytes()]
        shown = ", ".join(f"{i}: {ours[i]!r} for {theirs[i]!r}" for i in differ[:4])
        raise AssertionError(f"{len(differ)} of {ours.size} cells differ: {shown}")


def _same_object(ours, theirs):
    """The same kind of thing and the same value; arrays bit by bit."""
    if isinstance(theirs, np.ndarray):
        same(ours, theirs)
        return True
    return type(ours) is type(theirs) and (ours == theirs)
