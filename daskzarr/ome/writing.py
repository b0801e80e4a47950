"""The verb write_multiscales: a dask array -> an image of OME-Zarr with all its levels, by one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import dask.array as da
import numpy as np

from daskzarr.errors import DaskZarrError, MetadataError, UnsupportedError, raise_from, short
from daskzarr.graph.write import Write
from daskzarr.metadata.json_text import json_attributes
from daskzarr.ome.axes import Axis, by_axis, new_axes
from daskzarr.ome.beginning import Target, overwrite_image, write_image
from daskzarr.ome.documents import FORMAT_OF, HOME, Dataset, Description, Version, write_description
from daskzarr.ome.fields import read_number, wrong
from daskzarr.ome.levels import Cut, make_levels
from daskzarr.ome.pyramid import Step, chunks_at, plan_levels, shards_at
from daskzarr.ome.shrinking import Method, check_method
from daskzarr.ome.transforms import level_transform
from daskzarr.prepare import WriteOptions
from daskzarr.regions import check_array, check_store
from daskzarr.settings import ArraySettings, FillValue
from daskzarr.stores import Location, durable, locate


def write_multiscales(
    image: da.Array,
    url: Any,
    component: str | None = None,
    *,
    axes: Sequence[Any],
    scale: Any = None,
    translation: Any = None,
    units: Any = None,
    levels: int | None = None,
    factors: Any = 2,
    method: Method = "mean",
    chunks: Sequence[int] | int | None = None,
    shards: Sequence[int] | int | None = None,
    version: Version = "0.5",
    name: str | None = None,
    ome: Mapping[str, Any] | None = None,
    mode: Literal["w-", "w"] = "w-",
    compute: bool = True,
    storage_options: Mapping[str, Any] | None = None,
    compressors: Any = "auto",
    fill_value: Any = FillValue.DEFAULT,
    write_empty_chunks: bool = False,
    resume: bool | Literal["auto"] = False,
    journal: Literal[False] | None = None,
    token: str | None = None,
    durability: Literal["close", "fsync"] = "close",
) -> Write | None:
    """Store an image and its coarser levels as OME-Zarr. One graph does it all, and computes each block once.

    Every level is made of the one above it, in memory: nothing that was written is read again. The group is a plain
    one until all levels are complete; the last task makes it an image.

    Parameters
    ----------
    image
        The finest level.
    url, component, storage_options
        Where the group of the image goes, as for :func:`daskzarr.to_zarr`. Levels are the arrays ``0``, ``1``, ...
    axes
        An axis for each of the image: a name, an :class:`Axis`, or a mapping of name, type and unit. Names may be one
        text, such as ``"tczyx"``. ``t`` is of time, ``c`` a channel, ``z``, ``y`` and ``x`` are of space.
    scale
        Length of a cell of the image along each axis, or a mapping by axis. Default 1.
    translation
        Where the middle of its first cell is, in the same way. Default 0.
    units
        Units of the axes, in the same way. Default: what ``axes`` say.
    levels
        How many, with the image itself. Default: until no axis of space is longer than 256 cells.
    factors
        How many cells of the level above a cell is made of, along each axis of space: a number, or a mapping by
        axis. A list has such a one for each level but the first. Default 2. An axis has no factor longer than itself.
    method
        What a cell is of those it is made of. ``"mean"`` (default): integers are rounded, halves to even, and never
        overflow; one NaN makes a NaN. ``"nearest"``: the first, for labels. ``"mode"``: the commonest, of several the
        least; for labels too, and slower. At the far end of an axis a cell may be made of fewer: then it is what the
        method makes of those.
    chunks
        Shape of stored chunks, or of inner chunks, at all levels; shorter where a level is. Default: of the blocks.
    shards
        Shape of stored objects that hold many chunks each, at all levels. Default None: none. Only 0.5 has them.
    version
        ``"0.5"`` (default), in Zarr v3, or ``"0.4"``, in Zarr v2.
    name
        Of the image. Default: the last part of ``component``, if there is one.
    ome
        More of NGFF's attributes: ``omero``, ``image-label``.
    mode
        ``"w-"`` (default): it is an error if there is a node. ``"w"``: the image takes the place of what is there,
        label images too. That goes once the new one is complete, where the store can move things, as local
        directories can, or the image is read from there; else it goes first. Such a write cannot be gone on with.
    compute
        Whether to write now. Default True. Otherwise a delayed value comes back; the documents of group and levels are
        there then, but the group is no image before ``compute()`` of that is done.
    compressors, fill_value, write_empty_chunks, durability
        As for :func:`daskzarr.to_zarr`.
    resume
        Whether to go on with a write that was killed, as for :func:`daskzarr.to_zarr`; only with ``mode="w-"``.
    journal, token
        As for :func:`daskzarr.store`.

    Returns
    -------
    None or a delayed value
        As for :func:`daskzarr.to_zarr`.

    Raises
    ------
    MetadataError, UnsupportedError
        If something cannot be.
    NodeExistsError
        If there is a node already.
    ResumeError
        If the write cannot be taken up again. Nothing is written then, nor after the others.
    StoreError
        If the store fails.

    Notes
    -----
    NGFF 0.4 and 0.5, "multiscales metadata". Scales are those of the image times the factors. With ``"mean"`` and
    ``"mode"``, a cell stands for those it is made of, and lies in their middle: translations grow by half of what the
    scale grew. With ``"nearest"``, cells are those of the image, and stay where they are.

    Examples
    --------
    >>> import dask.array as da
    >>> from daskzarr.ome import open_multiscales
    >>> image = da.arange(64, chunks=16).reshape(8, 8)
    >>> write_multiscales(image, store := {}, axes="yx", units={"y": "micrometer"}, levels=3)
    >>> open_multiscales(store).levels[2].array.compute()
    array([[13, 17],
           [45, 49]])
    """
    options = WriteOptions.among(locals())
    settings = ArraySettings(compressors=compressors, fill_value=fill_value)
    if not isinstance(version, str) or version not in FORMAT_OF:
        raise MetadataError(f"version is {short(version)}; it can be '0.5' or '0.4'", field="version")
    if not isinstance(mode, str) or mode not in ("w-", "w"):
        raise MetadataError(f"mode is {short(mode)}; it can be 'w-' or 'w'", field="mode")
    if not isinstance(compute, bool):
        raise wrong("compute", compute, "True or False")
    if mode == "w" and options.resume:
        raise UnsupportedError("resume= goes with mode='w-' only; no journal is kept with mode='w'", field="resume")
    check_array(image)
    check_method(method, image.dtype)
    found = new_axes(axes, units, image.ndim)
    steps = plan_levels(image.shape, found, levels, factors)
    location = locate(url, component, storage_options)
    if name is None and component:
        name = location.path.rpartition("/")[2]
    attributes = _attributes(found, steps, (scale, translation), method, version, name, ome)
    try:
        check_store(image, location)
        place = Location(durable(location.store, options.durability), location.path)
        usual = _settings(settings, found, version)
        cuts = _cuts(image, steps, chunks, shards)
        arrays = make_levels(image, steps, cuts, method)
        level_settings = [replace(usual, chunks=cut.chunks, shards=cut.shards) for cut in cuts]
        parts = list(zip(arrays, level_settings, _options(options, steps, method), strict=True))
        target = Target(place, version, attributes)
        write = overwrite_image(target, parts, image, compute=compute) if mode == "w" else write_image(target, parts)
    except DaskZarrError as error:
        raise_from(error.locate(url=location.store.url, node=location.path), error)
    if not compute:
        return write
    write.compute()
    return None


def _attributes(
    axes: Sequence[Axis],
    steps: Sequence[Step],
    coordinates: tuple[Any, Any],
    method: Method,
    version: Version,
    name: str | None,
    more: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What the group says once it is an image."""
    scale = _numbers(coordinates[0], axes, "scale", 1.0)
    translation = _numbers(coordinates[1], axes, "translation", 0.0)
    if min(scale) <= 0:
        raise wrong("scale", coordinates[0], "numbers above 0")
    if name is not None and not isinstance(name, str):
        raise wrong("name", name, "text")
    rest = json_attributes(more or {})
    for taken in {"multiscales", "version", HOME} & rest.keys():
        raise MetadataError(f"ome has {taken!r}, which is written by this call", field="ome")
    centred = method != "nearest"
    datasets = [
        Dataset(str(n), level_transform(scale, translation, step.total, centred=centred))
        for n, step in enumerate(steps)
    ]
    words = {"mean": "the mean", "nearest": "the first", "mode": "the commonest"}[method]
    told = {
        "description": f"each cell is {words} of cells of the level above",
        "method": "daskzarr.ome.write_multiscales",
        "args": [list(step.factors) for step in steps[1:]],
    }
    return write_description(Description(name, version, tuple(axes), tuple(datasets), method, told), rest)


def _numbers(given: Any, axes: Sequence[Axis], field: str, default: float) -> list[float]:
    """A number for each axis."""
    if given is None:
        return [default] * len(axes)
    values = by_axis(given, [axis.name for axis in axes], field, default)
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    return [read_number(value, f"{field}[{i}]") for i, value in enumerate(plain)]


def _settings(settings: ArraySettings, axes: Sequence[Axis], version: Version) -> ArraySettings:
    """The settings that are those of all levels."""
    names = tuple(axis.name for axis in axes)
    return replace(settings, dimension_names=names, dimension_separator="/" if version == "0.4" else None)


def _cuts(image: da.Array, steps: Sequence[Step], chunks: Any, shards: Any) -> list[Cut]:
    """Chunks and shards of each level."""
    ndim = image.ndim
    usual = tuple(max(int(max(lengths)), 1) for lengths in image.chunks)
    chunk = usual if chunks is None else _lengths(chunks, ndim, "chunks")
    shard = chunk if shards is None else _lengths(shards, ndim, "shards")
    if any(whole % part for whole, part in zip(shard, chunk, strict=True)):
        raise MetadataError(f"shards={shard} are no multiples of chunks={chunk} along every axis", field="shards")
    times = [whole // part for whole, part in zip(shard, chunk, strict=True)]
    found = []
    for step in steps:
        inner = chunks_at(step.shape, chunk)
        found.append(Cut(inner, None if shards is None else shards_at(step.shape, inner, times)))
    return found


def _lengths(given: Any, ndim: int, field: str) -> tuple[int, ...]:
    """A length for each axis."""
    values = (given,) * ndim if isinstance(given, (int, np.integer)) else given
    whole = isinstance(values, (tuple, list)) and all(
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) and 0 < n < 2**63 for n in values
    )
    if not whole or len(values) != ndim:
        raise wrong(field, given, f"{ndim} lengths of at least 1")
    return tuple(map(int, values))


def _options(options: WriteOptions, steps: Sequence[Step], method: Method) -> list[WriteOptions]:
    """The options of each level. The write was begun if its finest level was; a token tells how others were made."""
    made = [f"{method} {step.factors}" for step in steps]
    rest = [
        replace(
            options,
            resume="auto" if options.resume else False,
            token=None if options.token is None else f"{options.token}: {', '.join(made[1 : n + 1])}",
        )
        for n in range(1, len(steps))
    ]
    return [options, *rest]
