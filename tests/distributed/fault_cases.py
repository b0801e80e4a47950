"""A seed -> a random write: what is stored before, what is written and in which blocks, and what is to be stored after.

Every cell that is written differs from every other one, and from what was there before, except for a hole of fill in
some cases. Which objects there are, and which cells each holds, is worked out here in another way than in daskzarr.
"""

import itertools
import math
import os
import random
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import dask.array as da
import numpy as np

import daskzarr

# Verbs are loaded when first used: now, once, and not in every process that is forked.
VERBS = {name: getattr(daskzarr, name) for name in daskzarr.__all__}
KINDS = ("new", "append", "region", "overwrite", "store", "replace", "resize")
FORMATS = (3, 3, 2, "n5")
SHIFT = 1_000_000
LINE = 24
THREADS = 4
DOCUMENTS = {3: "zarr.json", 2: ".zarray", "n5": "attributes.json"}


def slowly(block, log, pause, hole):
    """The step before every write: it takes a while, notes that it was done, and puts fill in some cells."""
    first = int(block.flat[0])
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"%*d\n" % (LINE - 1, first))
    os.close(descriptor)
    time.sleep(pause)
    return np.where((block >= hole[0]) & (block < hole[1]), 0, block + SHIFT).astype(block.dtype)


@dataclass(frozen=True)
class State:
    """A stored array at one time: its cells, and how it is stored."""

    values: np.ndarray
    zarr_format: int | str
    settings: dict = field(hash=False)

    @cached_property
    def edges(self):
        """Along each axis, where stored objects begin and the last one ends."""
        units = self.settings.get("shards") or self.settings["chunks"]
        return [
            list(itertools.accumulate(unit, initial=0)) if isinstance(unit, tuple) else [*range(0, n, unit), n]
            for unit, n in zip(units, self.values.shape, strict=True)
        ]

    @property
    def rectilinear(self):
        """Whether objects differ in length along an axis."""
        return any(isinstance(unit, tuple) for unit in self.settings["chunks"])

    def indices(self):
        """Index of every stored object."""
        return itertools.product(*(range(len(edges) - 1) for edges in self.edges))

    def box(self, index):
        """The cells of an object, as slices; None of one that the array does not have."""
        if any(i >= len(edges) - 1 for i, edges in zip(index, self.edges, strict=True)):
            return None
        return tuple(slice(edges[i], edges[i + 1]) for i, edges in zip(index, self.edges, strict=True))

    def key(self, index):
        """Where an object is stored."""
        if self.zarr_format == "n5":
            return "/".join(map(str, index[::-1]))
        lead, separator = ("c/", "/") if self.zarr_format == 3 else ("", self.settings["dimension_separator"])
        return lead + separator.join(map(str, index))

    def index(self, key):
        """The object that is stored at a key; None if none is."""
        return self._indices.get(key)

    @cached_property
    def _indices(self):
        return {self.key(index): index for index in self.indices()}

    @cached_property
    def objects(self):
        """Keys of the objects that have to be there: those that do not hold fill alone."""
        return {self.key(index) for index in self.indices() if self.values[self.box(index)].any()}

    def touched(self, box):
        """Keys of the objects that hold cells of a box."""
        ranges = []
        for edges, part in zip(self.edges, box, strict=True):
            ranges.append([i for i, (a, b) in enumerate(itertools.pairwise(edges)) if a < part.stop and part.start < b])
        return {self.key(index) for index in itertools.product(*ranges)}


@dataclass(frozen=True)
class Target:
    """A stored array before and after; ``old`` is None if there is none before."""

    store: str
    component: str | None
    old: State | None
    new: State

    def folder(self, data):
        """The folder of the array."""
        return Path(data, self.store, self.component or "")

    def document(self, data, state):
        """The file that says what the array is."""
        return self.folder(data) / DOCUMENTS[state.zarr_format]


@dataclass(frozen=True)
class Source:
    """Cells before the slow step, and how they are cut."""

    cells: np.ndarray
    chunks: tuple
    hole: tuple[int, int]

    def blocks(self):
        """First cell of every block, by which the log knows it, and where the block lies."""
        starts = [list(itertools.accumulate(lengths, initial=0)) for lengths in self.chunks]
        for index in itertools.product(*(range(len(lengths)) for lengths in self.chunks)):
            box = tuple(slice(at[i], at[i + 1]) for i, at in zip(index, starts, strict=True))
            yield int(self.cells[box].flat[0]), box


@dataclass(frozen=True)
class Part:
    """One source written to one target, from cell ``start`` on; ``more`` is added to every cell."""

    source: int
    target: int
    start: tuple[int, ...]
    more: int = 0


@dataclass(frozen=True)
class Case:
    """One random write."""

    seed: int
    kind: str
    runner: str
    targets: list[Target]
    sources: list[Source]
    parts: list[Part]
    settings: dict
    axis: int = 0
    at: list[int] = field(default_factory=list)
    together: bool = False  # several sources are regions of one array
    prepared_by: str = "daskzarr"

    def __str__(self):
        what = [f"seed {self.seed}: {self.kind} by {self.runner}"]
        for target in self.targets:
            place = target.store + (f"/{target.component}" if target.component else "")
            before = "nothing" if target.old is None else _described(target.old)
            what.append(f"{place}: {before} -> {_described(target.new)}")
        what += [f"from {part.start} blocks {self.sources[part.source].chunks}" for part in self.parts]
        return "; ".join(what)

    @property
    def count(self):
        """Blocks that go through the slow step."""
        return sum(math.prod(map(len, source.chunks)) for source in self.sources)

    @property
    def objects(self):
        """Stored objects that are written, or may be."""
        if not self.parts:
            return sum(len(list(target.old.indices())) for target in self.targets)
        return sum(len(keys) for keys in self.needs_by_target().values())

    @property
    def pause(self):
        """Seconds the slow step takes: all of a write take some tenths of a second, if nothing else does."""
        return min(max(0.3 * THREADS / max(self.count, 1), 0.002), 0.04)

    def needs(self):
        """First cell of every block -> the stored objects that have cells of it, as pairs of target and key."""
        found = {}
        for part in self.parts:
            state = self.targets[part.target].new
            for first, box in self.sources[part.source].blocks():
                moved = [slice(s.start + n, s.stop + n) for s, n in zip(box, part.start, strict=True)]
                keys = {(part.target, key) for key in state.touched(moved)}
                found.setdefault(first, set()).update(keys)
        return found

    def needs_by_target(self):
        """Number of target -> keys of the objects that are written."""
        found = {}
        for target, key in set().union(*self.needs().values()):
            found.setdefault(target, set()).add(key)
        return found


def _described(state):
    """What a state is, in a few words."""
    settings = {name: value for name, value in state.settings.items() if value is not None}
    return f"{state.values.shape} {state.values.dtype} {state.zarr_format} {settings}"


# ---- from a seed


def case_of(seed, kind=None, runner=None):
    """The case of a seed; some of it can be chosen."""
    rng = random.Random(f"case {seed}")
    kind = kind or KINDS[seed % len(KINDS)]
    drawn = "workers" if seed % 7 == (seed // 7) % 7 else "threads"
    runner = runner or ("threads" if kind == "resize" else drawn)
    ndim = rng.choice((1, 2, 2, 3))
    zarr_format = rng.choice(FORMATS)
    dtype = rng.choice(("f8", "i4"))
    component = rng.choice((None, None, "array", "some/array"))
    make = {"append": _append, "region": _region, "store": _store, "resize": _resize}.get(kind, _whole)
    found = make(rng, kind, ndim, zarr_format, dtype, component)
    settings = {"durability": rng.choice(("close",) * 7 + ("fsync",))}
    prepared_by = rng.choice(("daskzarr", "daskzarr", "no journal", "zarr"))
    return Case(seed=seed, kind=kind, runner=runner, settings=settings, prepared_by=prepared_by, **found)


def _whole(rng, kind, ndim, zarr_format, dtype, component):
    """A new array, or one in the place of an old one, maybe made of that."""
    shape, settings = _stored(rng, ndim, zarr_format)
    cells = _cells(shape, dtype)
    old = None
    if kind == "overwrite":
        old = State(cells, zarr_format, settings if rng.random() < 0.5 else _settings(rng, shape, zarr_format))
    elif kind == "replace":
        former = rng.choice(FORMATS)
        size, kept = _stored(rng, rng.choice((1, 2)), former)
        old = State(_cells(size, "i4"), former, kept)
    elif zarr_format == 3 and settings["shards"] is None and rng.random() < 0.25:
        settings = {
            **settings,
            "chunks": tuple(_cut(rng, n, unit, "odd") for n, unit in zip(shape, settings["chunks"], strict=True)),
        }
    source = _source(rng, cells, _units(settings))
    target = Target("a.zarr", component, old, State(_slow(source), zarr_format, settings))
    return {"targets": [target], "sources": [source], "parts": [Part(0, 0, (0,) * ndim)]}


def _region(rng, kind, ndim, zarr_format, dtype, component):
    """Part of an array that is there."""
    shape, settings = _stored(rng, ndim, zarr_format)
    box = [sorted(rng.sample(range(n + 1), 2)) for n in shape]
    if rng.random() < 0.3:
        axis = rng.randrange(ndim)
        box[axis] = [0, shape[axis]]
    start, stop = zip(*box, strict=True)
    source = _source(rng, _cells([b - a for a, b in box], dtype, SHIFT // 10), _units(settings))
    old = _cells(shape, dtype)
    new = old.copy()
    new[tuple(map(slice, start, stop))] = _slow(source)
    target = Target("a.zarr", component, State(old, zarr_format, settings), State(new, zarr_format, settings))
    return {"targets": [target], "sources": [source], "parts": [Part(0, 0, start)]}


def _append(rng, kind, ndim, zarr_format, dtype, component):
    """More cells at the end of an axis."""
    shape, settings = _stored(rng, ndim, zarr_format)
    axis = rng.randrange(ndim)
    at = rng.randrange(shape[axis])
    lengths = (*shape[:axis], shape[axis] - at, *shape[axis + 1 :])
    source = _source(rng, _cells(lengths, dtype, SHIFT // 10), _units(settings))
    target, start = _grown(shape, axis, at, source, 0, zarr_format, settings, dtype, "a.zarr", component)
    return {"targets": [target], "sources": [source], "parts": [Part(0, 0, start)], "axis": axis, "at": [at]}


def _grown(shape, axis, at, source, more, zarr_format, settings, dtype, store, component):
    """An array before and after an append of a source."""
    old = _cells((*shape[:axis], at, *shape[axis + 1 :]), dtype)
    new = np.concatenate([old, _slow(source) + np.array(more, dtype)], axis=axis)
    target = Target(store, component, State(old, zarr_format, settings), State(new, zarr_format, settings))
    return target, (0,) * axis + (at,) + (0,) * (len(shape) - axis - 1)


def _store(rng, kind, ndim, zarr_format, dtype, component):
    """Several arrays of one source, appended to or written, or several regions of one array."""
    shape, settings = _stored(rng, ndim, zarr_format)
    how = rng.choice(("arrays", "append", "regions"))
    if how == "regions":
        return _regions(rng, shape, settings, zarr_format, dtype, component)
    others = _settings(rng, shape, zarr_format)
    axis, at = rng.randrange(ndim), []
    if how == "append":
        at = [rng.randrange(shape[axis])]
        shape = (*shape[:axis], shape[axis] - at[0], *shape[axis + 1 :])
        at.append(rng.choice((at[0], rng.randrange(30))))
    source = _source(rng, _cells(shape, dtype, SHIFT // 10), _units(settings))
    targets, parts = [], []
    for number, kept in enumerate((settings, others)):
        name, more = "ab"[number], number * SHIFT
        if at:
            full = (*shape[:axis], 0, *shape[axis + 1 :])
            target, start = _grown(full, axis, at[number], source, more, zarr_format, kept, dtype, "s.zarr", name)
        else:
            new = _slow(source) + np.array(more, dtype)
            target = Target("s.zarr", name, State(new * 0, zarr_format, kept), State(new, zarr_format, kept))
            start = (0,) * ndim
        targets.append(target)
        parts.append(Part(0, number, start, more))
    return {"targets": targets, "sources": [source], "parts": parts, "axis": axis, "at": at}


def _regions(rng, shape, settings, zarr_format, dtype, component):
    """Two regions of one array, which may have cells of one object, written by one call."""
    old = _cells(shape, dtype)
    new, sources, parts = old.copy(), [], []
    cut = rng.randrange(1, shape[0]) if shape[0] > 1 else 1
    for number, (a, b) in enumerate(((0, cut), (cut, shape[0]))):
        if a == b:
            continue
        cells = _cells((b - a, *shape[1:]), dtype, (number + 1) * SHIFT // 10)
        sources.append(_source(rng, cells, _units(settings)))
        new[a:b] = _slow(sources[-1])
        parts.append(Part(number, 0, (a,) + (0,) * (len(shape) - 1)))
    target = Target("a.zarr", component, State(old, zarr_format, settings), State(new, zarr_format, settings))
    return {"targets": [target], "sources": sources, "parts": parts, "together": True}


def _resize(rng, kind, ndim, zarr_format, dtype, component):
    """An array that becomes smaller."""
    shape, settings = _stored(rng, ndim, zarr_format)
    smaller = tuple(rng.choice((n, rng.randrange(1, n + 1))) for n in shape)
    old = _cells(shape, dtype)
    new = old[tuple(map(slice, smaller))].copy()
    target = Target("a.zarr", component, State(old, zarr_format, settings), State(new, zarr_format, settings))
    return {"targets": [target], "sources": [], "parts": []}


def _cells(shape, dtype, first=1):
    """Cells that are all different, none of them fill."""
    return np.arange(first, first + math.prod(shape), dtype=dtype).reshape(shape)


def _slow(source):
    """What the slow step makes of a source."""
    low, high = source.hole
    cells = source.cells
    return np.where((cells >= low) & (cells < high), 0, cells + SHIFT).astype(cells.dtype)


def _stored(rng, ndim, zarr_format):
    """Shape and settings of an array of some dozens of stored objects."""
    units = [rng.randint(*{1: (4, 30), 2: (2, 9), 3: (2, 5)}[ndim]) for _ in range(ndim)]
    counts = [rng.randint(*{1: (20, 120), 2: (4, 11), 3: (2, 5)}[ndim]) for _ in range(ndim)]
    shape = tuple(
        max(unit * count - rng.choice((0, rng.randrange(unit))), 2) for unit, count in zip(units, counts, strict=True)
    )
    return shape, _with_units(rng, units, zarr_format)


def _settings(rng, shape, zarr_format):
    """Settings for an array of a shape."""
    parts = {1: (10, 100), 2: (3, 10), 3: (2, 5)}[len(shape)]
    return _with_units(rng, [max(n // rng.randint(*parts), 1) for n in shape], zarr_format)


def _with_units(rng, units, zarr_format):
    """Settings with stored objects of about these lengths."""
    settings = {"chunks": tuple(units), "shards": None, "compressors": rng.choice((None, "zstd", "gzip"))}
    if zarr_format == 3 and rng.random() < 0.5:
        inner = [max(unit // rng.randint(1, 4), 1) for unit in units]
        settings["shards"] = tuple(i * max(unit // i, 1) for i, unit in zip(inner, units, strict=True))
        settings["chunks"] = tuple(inner)
    if zarr_format == 2:
        settings["dimension_separator"] = rng.choice("./")
    if zarr_format == "n5" and settings["compressors"] == "zstd":
        settings["compressors"] = "gzip"
    return settings


def _units(settings):
    """Length of a stored object along each axis, about."""
    return [max(u) if isinstance(u, tuple) else u for u in settings["shards"] or settings["chunks"]]


def _source(rng, cells, units):
    """A source cut at random: like the stored objects, or not."""
    style = rng.choice(("like", "larger", "regular", "odd", "one bad", "mixed"))
    while True:
        chunks = tuple(
            _cut(rng, n, unit, rng.choice(("like", "regular", "odd", "one bad")) if style == "mixed" else style)
            for n, unit in zip(cells.shape, units, strict=True)
        )
        if math.prod(map(len, chunks)) <= 160:
            break
        units = [2 * unit for unit in units]
    low = int(cells.flat[0]) + rng.randrange(cells.size)
    return Source(cells, chunks, (low, low + rng.choice((0, 0, 0, cells.size // 3))))


def _cut(rng, length, unit, style):
    """Lengths of the blocks of one axis."""
    if style in ("like", "larger"):
        size = unit * (1 if style == "like" else rng.randint(2, 3))
    else:
        size = rng.randint(max(unit // 2, 1), 3 * unit)
    if style == "odd":
        lengths = []
        while length:
            lengths.append(rng.randint(1, min(2 * size, length)))
            length -= lengths[-1]
        return tuple(lengths)
    lengths = [size] * (length // size) + ([length % size] if length % size else [])
    if style == "one bad" and len(lengths) > 1:
        lengths = [unit] * (length // unit) + ([length % unit] if length % unit else [])
        at = rng.randrange(len(lengths) - 1) if len(lengths) > 1 else 0
        if len(lengths) > 1 and lengths[at] > 1:
            moved = rng.randrange(1, lengths[at])
            lengths[at] -= moved
            lengths[at + 1] += moved
    return tuple(lengths)


# ---- what is run


def prepare(case, data):
    """Store what is there before the write."""
    for target in case.targets:
        root, state = Path(data, target.store), target.old
        if state is None:
            continue
        if target.component is not None and state.zarr_format != "n5" and not root.exists():
            daskzarr.create_group(root, zarr_format=state.zarr_format)
            if case.seed % 4:
                daskzarr.consolidate(root)
        if case.prepared_by == "zarr" and state.zarr_format != "n5" and state.settings["shards"] is None:
            _prepare_with_zarr(target, root)
            continue
        lengths = (tuple(b - a for a, b in itertools.pairwise(edges)) for edges in state.edges)
        blocks = da.from_array(state.values, chunks=tuple(axis or (0,) for axis in lengths))
        journal = None if case.prepared_by == "daskzarr" else False
        options = dict(state.settings, zarr_format=state.zarr_format, journal=journal)
        daskzarr.to_zarr(blocks, root, target.component, **options)


def _prepare_with_zarr(target, root):
    """The same with zarr-python."""
    import zarr

    state = target.old
    options = {"chunks": state.settings["chunks"], "fill_value": 0, "zarr_format": state.zarr_format}
    if state.zarr_format == 2:
        separator = state.settings["dimension_separator"]
        options["chunk_key_encoding"] = {"name": "v2", "separator": separator}
    array = zarr.create_array(
        root, name=target.component, shape=state.values.shape, dtype=state.values.dtype, **options
    )
    array[...] = state.values


def perform(case, data, log):
    """The call that is made, killed, and made again, to the letter."""
    slow = []
    for source, part in zip(case.sources, case.parts, strict=False):
        if case.kind == "overwrite":
            target = case.targets[part.target]
            x = daskzarr.from_zarr(Path(data, target.store), target.component, chunks=source.chunks)
        else:
            x = da.from_array(source.cells, chunks=source.chunks)
        x = x.map_blocks(slowly, log=str(log), pause=case.pause, hole=source.hole, dtype=x.dtype)
        slow.append(x)
    arrays = [slow[part.source] + part.more if part.more else slow[part.source] for part in case.parts]
    arrays = [x.astype(case.targets[part.target].new.values.dtype) for x, part in zip(arrays, case.parts, strict=True)]
    target = case.targets[0]
    place = Path(data, target.store), target.component
    options = {"resume": "auto", **case.settings}
    if case.kind in ("new", "overwrite", "replace"):
        mode = "w-" if case.kind == "new" else "w"
        new = dict(target.new.settings, zarr_format=target.new.zarr_format)
        daskzarr.to_zarr(arrays[0], *place, mode=mode, **new, **options)
    elif case.kind == "region":
        daskzarr.to_zarr(arrays[0], *place, mode="r+", region=_slices(case.parts[0], arrays[0]), **options)
    elif case.kind == "append":
        daskzarr.append(arrays[0], *place, axis=case.axis, at=case.at[0], **options)
    elif case.kind == "store":
        places = [daskzarr.open_array(Path(data, t.store), t.component) for t in case.targets]
        if case.together:
            regions = [_slices(part, x) for part, x in zip(case.parts, arrays, strict=True)]
            daskzarr.store(arrays, places * len(arrays), regions=regions, **options)
        elif case.at:
            daskzarr.store(arrays, places, append=case.axis, at=case.at, **options)
        else:
            daskzarr.store(arrays, places, **options)
    else:
        daskzarr.resize(*place, shape=target.new.values.shape)


def _slices(part, array):
    """The region that a part is."""
    return tuple(slice(a, a + n) for a, n in zip(part.start, array.shape, strict=True))
