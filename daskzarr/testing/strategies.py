"""Hypothesis strategies: arrays, how to cut them, and how to store them."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

ZarrFormat = Literal[2, 3]

DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
"""Every data type that can be stored, by its Zarr v3 name."""

_HASH = 0x9E3779B97F4A7C15  # odd, so that multiplying by it maps the integers of any width one to one


def distinct_values(shape: tuple[int, ...], dtype: npt.DTypeLike = "int32", start: int = 0) -> npt.NDArray[Any]:
    """An array whose every cell has a value of its own, so that a cell in a wrong place shows.

    Parameters
    ----------
    shape
        Its shape.
    dtype
        Any of :data:`DTYPES`.
    start
        Number of the first cell: arrays with other numbers have other values.

    Notes
    -----
    Cells repeat where the dtype has fewer values than the array has cells: 2 for bool, 256 for one byte, 65,536 for
    two; and beyond the integers that floats hold exactly: 2048 for float16, 2^24 for float32.

    Examples
    --------
    >>> distinct_values((2, 3), "uint8")
    array([[  0,  21,  42],
           [ 63,  84, 105]], dtype=uint8)
    """
    dtype = np.dtype(dtype)
    numbers = np.arange(start, start + math.prod(shape), dtype=np.uint64)
    mixed = numbers * np.uint64(_HASH)
    if dtype.kind == "b":
        values: npt.NDArray[Any] = mixed >> np.uint64(63)
    elif dtype.kind in "iu":
        values = mixed.astype(f"u{dtype.itemsize}").view(f"{dtype.kind}{dtype.itemsize}")
    elif dtype.kind == "c":
        half = dtype.itemsize // 2
        values = _floats(numbers, half) - 1j * _floats(numbers + np.uint64(7), half)
    else:
        values = _floats(numbers, dtype.itemsize)
    return values.astype(dtype).reshape(shape)


def _floats(numbers: npt.NDArray[np.uint64], itemsize: int) -> npt.NDArray[Any]:
    """Integers that floats of a size hold exactly, their signs taking turns."""
    limit = {2: 2**11, 4: 2**24, 8: 2**53}[itemsize]
    small = (numbers * np.uint64(_HASH) % np.uint64(limit)).astype(f"f{itemsize}")
    return np.where(numbers % np.uint64(2) == 0, small, -small)


def dtypes() -> st.SearchStrategy[np.dtype[Any]]:
    """Every data type that can be stored, in native byte order."""
    return st.sampled_from(DTYPES).map(np.dtype)


def shapes(*, min_dims: int = 0, max_dims: int = 4, max_side: int = 12) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes; sides of 0 and of 1 are among them."""
    return st.lists(st.integers(0, max_side), min_size=min_dims, max_size=max_dims).map(tuple)


@st.composite
def arrays(
    draw: st.DrawFn,
    *,
    dtype: npt.DTypeLike | None = None,
    shape: tuple[int, ...] | None = None,
    min_dims: int = 0,
    max_dims: int = 4,
    max_side: int = 12,
) -> npt.NDArray[Any]:
    """NumPy arrays of any supported dtype, with a value of its own in every cell that the dtype has values for.

    Parameters
    ----------
    dtype, shape
        Fixed, if given.
    min_dims, max_dims, max_side
        Limits of the shape, if it is not.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(arrays(dtype="int16", min_dims=1), lambda array: array.size > 1)
    array([    0, 31765], dtype=int16)
    """
    chosen = draw(dtypes()) if dtype is None else np.dtype(dtype)
    sides = draw(shapes(min_dims=min_dims, max_dims=max_dims, max_side=max_side)) if shape is None else shape
    return distinct_values(sides, chosen, start=draw(st.integers(0, 2**20)))


def chunk_shapes(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of stored chunks for an array: from single cells to chunks that hang over its far edges.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(chunk_shapes((5, 0)), lambda chunks: chunks[0] > 5)
    (6, 1)
    """
    return st.tuples(*(st.integers(1, n + 2) for n in shape))


@st.composite
def dask_chunks(
    draw: st.DrawFn, shape: tuple[int, ...], *, multiple_of: tuple[int, ...] | None = None
) -> tuple[tuple[int, ...], ...]:
    """How Dask may cut an array of a shape, regularly or not.

    Parameters
    ----------
    shape
        The array's shape.
    multiple_of
        Shape of stored chunks: every block then covers whole ones, padding at the far edges aside. Default: any cut.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(dask_chunks((5,), multiple_of=(2,)), lambda chunks: len(chunks[0]) > 1)
    ((2, 2, 1),)
    """
    steps = multiple_of or (1,) * len(shape)
    return tuple(draw(_cuts(length, step)) for length, step in zip(shape, steps, strict=True))


@st.composite
def _cuts(draw: st.DrawFn, length: int, step: int) -> tuple[int, ...]:
    """Lengths of the blocks along one axis, cut at some of the multiples of ``step``."""
    inner = list(range(step, length, step))
    every = draw(st.integers(0, 3))  # 0: an irregular cut
    chosen = inner[every - 1 :: every] if every else [edge for edge in inner if draw(st.booleans())]
    edges = [0, *chosen, length]
    return tuple(b - a for a, b in itertools.pairwise(edges))


def codec_settings(zarr_format: ZarrFormat = 3) -> st.SearchStrategy[dict[str, Any]]:
    """Settings of ``create_array`` and ``to_zarr`` that choose the codecs, in the spelling of a format.

    All of them work for every shape and dtype.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(codec_settings(3), lambda settings: settings["order"] == "F")
    {'compressors': 'auto', 'order': 'F'}
    """
    choices = _v2_compressors() if zarr_format == 2 else _v3_compressors()
    return st.fixed_dictionaries({"compressors": choices, "order": st.sampled_from(["C", "F"])})


def _v3_compressors() -> st.SearchStrategy[Any]:
    """None, a name, an object with a configuration, or several of them."""
    one = st.one_of(
        st.sampled_from(["zstd", "gzip", "blosc", "crc32c"]),
        st.builds(
            lambda level, checksum: {"name": "zstd", "configuration": {"level": level, "checksum": checksum}},
            st.integers(-7, 9),
            st.booleans(),
        ),
        st.builds(lambda level: {"name": "gzip", "configuration": {"level": level}}, st.integers(0, 9)),
        st.builds(
            lambda cname, level, shuffle, size: {
                "name": "blosc",
                "configuration": {
                    "cname": cname,
                    "clevel": level,
                    "shuffle": shuffle,
                    "typesize": size,
                    "blocksize": 0,
                },
            },
            st.sampled_from(["lz4", "lz4hc", "blosclz", "zlib", "zstd"]),
            st.integers(0, 9),
            st.sampled_from(["noshuffle", "shuffle", "bitshuffle"]),
            st.sampled_from([1, 2, 4, 8, 16]),
        ),
    )
    return st.one_of(st.just("auto"), st.none(), one, st.lists(one, max_size=3))


def _v2_compressors() -> st.SearchStrategy[Any]:
    """None, or one codec by its numcodecs id."""
    return st.one_of(
        st.just("auto"),
        st.none(),
        st.builds(lambda level: {"id": "zstd", "level": level}, st.integers(-7, 9)),
        st.builds(lambda level: {"id": "gzip", "level": level}, st.integers(0, 9)),
        st.builds(lambda level: {"id": "zlib", "level": level}, st.integers(0, 9)),
        st.builds(lambda level: {"id": "bz2", "level": level}, st.integers(1, 9)),
        st.builds(lambda level: {"id": "lz4", "acceleration": level}, st.integers(1, 9)),
        st.just({"id": "lzma", "preset": 0}),
        st.builds(
            lambda cname, level, shuffle: {"id": "blosc", "cname": cname, "clevel": level, "shuffle": shuffle},
            st.sampled_from(["lz4", "lz4hc", "blosclz", "zlib", "zstd"]),
            st.integers(0, 9),
            st.sampled_from([0, 1, 2]),
        ),
    )


@st.composite
def array_settings(
    draw: st.DrawFn, *, array: npt.NDArray[Any] | None = None, zarr_format: ZarrFormat | None = None
) -> dict[str, Any]:
    """Settings for ``create_array``: everything it needs, and a choice of what else it takes.

    Parameters
    ----------
    array
        Settings that fit this array. Default: an array of any shape and dtype.
    zarr_format
        2 or 3. Default: either.

    Examples
    --------
    >>> from daskzarr import create_array
    >>> from hypothesis import find
    >>> settings = find(array_settings(zarr_format=2), lambda settings: settings["shape"] == (3,))
    >>> create_array({}, **settings).shape
    (3,)
    """
    if array is None:
        array = draw(arrays())
    chosen: ZarrFormat = draw(st.sampled_from((3, 2))) if zarr_format is None else zarr_format
    # A fill value that is one of the array's cells tells what is left out from what is not.
    fills = st.sampled_from(array.reshape(-1)[:3].tolist()) if array.size else st.nothing()
    names = st.one_of(st.none(), st.text(max_size=3))
    options = {
        "fill_value": st.one_of(st.just(0), st.just(1), fills),
        "dimension_names": st.one_of(st.none(), st.tuples(*(names for _ in array.shape))),
        "dimension_separator": st.sampled_from([".", "/", None]),
        "attributes": st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.text(max_size=3)), max_size=2),
    }
    return {
        "shape": array.shape,
        "dtype": array.dtype,
        "chunks": draw(chunk_shapes(array.shape)),
        "zarr_format": chosen,
        **draw(codec_settings(chosen)),
        **draw(st.fixed_dictionaries({}, optional=options)),
    }
