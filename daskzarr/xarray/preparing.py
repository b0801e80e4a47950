"""Datasets, and the group they go to -> the prepared write of each variable, with nothing written yet."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import dask
import dask.array as da
import numpy as np
from xarray import Dataset, Variable, conventions

from daskzarr.appending import Growth, prepare_append
from daskzarr.block_grid import grow_blocks
from daskzarr.errors import DaskZarrError, MetadataError, NodeExistsError, NodeNotFoundError, ResumeError, raise_from
from daskzarr.hierarchy import StoredArray, StoredGroup, open_group
from daskzarr.hierarchy.documents import ancestors, find_documents
from daskzarr.hierarchy.node import node_of
from daskzarr.hierarchy.notes import notes_of
from daskzarr.hierarchy.placing import DOCUMENT_NAMES
from daskzarr.hierarchy.staging import recover
from daskzarr.metadata import GroupMetadata, ZarrFormat, v3
from daskzarr.prepare import Prepared, WriteOptions, home_of, prepare_regions
from daskzarr.prepare_new import prepare_fresh, prepare_metadata
from daskzarr.regions import check_array, check_store
from daskzarr.stores import Location, durable
from daskzarr.write_plan import WritePlan, together
from daskzarr.xarray.asked import Asked, UnknownNameError, WrongTypeError
from daskzarr.xarray.conventions import dimensions_of
from daskzarr.xarray.encoding import Stored, checked_attributes, encode, stored_as
from daskzarr.xarray.existing import (
    Known,
    appended_at,
    check_blocks,
    check_duplicates,
    encoded_as,
    found_region,
    is_same,
    known_variables,
    laid_out,
    stored_name,
)
from daskzarr.xarray.losses import check_times, checked, uncut

_LOADED = 2**26
_PARTS = 16
_LEAST = 2**20


@dataclass(frozen=True)
class Target:
    """A variable that is to be written; one whose cells are in memory is ``ready``: it is written from here."""

    prepared: Prepared
    ready: bool


@dataclass(frozen=True)
class NodeWork:
    """What one dataset makes of its group: ``group`` is what is there, ``metadata`` what a new one is to say.

    ``done`` if an array has all that is to be appended to it.
    """

    place: Location
    group: StoredGroup | None
    metadata: GroupMetadata
    targets: tuple[Target, ...]
    grows: bool = False
    done: bool = False


@dataclass(frozen=True)
class Work:
    """All that one call is to write; ``fresh`` if nothing is to be there before."""

    place: Location
    nodes: Mapping[str, NodeWork]
    fresh: bool

    @property
    def targets(self) -> list[Target]:
        """All variables."""
        return [target for node in self.nodes.values() for target in node.targets]

    @property
    def grows(self) -> bool:
        """Whether arrays that are there become longer."""
        return any(node.grows for node in self.nodes.values())

    @property
    def plan(self) -> WritePlan:
        """What is left to do, in numbers."""
        return together(target.prepared.plan for target in self.targets)


def prepare(
    datasets: Mapping[str, Dataset],
    place: Location,
    asked: Asked,
    zarr_format: ZarrFormat | None,
    encoding: Mapping[str, Any],
) -> Work:
    """What is to be written: all is checked, and nothing is written but what an earlier, killed call left to be ended.

    Parameters
    ----------
    datasets
        By path from the place.
    place
        Of the group.
    asked
        What the call asks for.
    zarr_format
        Of a new group. Default None: that of the one that is there, else 3.
    encoding
        Settings by variable, by path of the dataset.
    """
    place = Location(durable(place.store, asked.options.durability), place.path)
    home = notes_of(place)
    recover(place, home)
    there = None if asked.overwrites else _group_at(place, zarr_format)
    if there is None and asked.mode == "r+":
        raise NodeNotFoundError(
            "there is no group here, and mode='r+' makes none", url=place.store.url, node=place.path
        )
    if there is not None and asked.mode == "w-" and not asked.options.resume:
        raise NodeExistsError(
            "there is a group here already; mode='w' puts the new one in its place, mode='a' adds to it, and "
            "resume='auto' goes on with a write that was killed",
            url=place.store.url,
            node=place.path,
        )
    fresh = there is None
    home = home_of(place, asked.options)
    above = _format_above(place) if fresh and zarr_format is None else None
    nodes = {}
    for path, dataset in datasets.items():
        at = place / path if path else place
        group = there if path == "" else None if fresh else _group_at(at, zarr_format)
        like = group or there
        number = zarr_format or above or 3 if like is None else like.metadata.zarr_format
        node = _Node(at, group, asked, number, fresh, None if home is None else home / path if path else home)
        nodes[path] = node.work(dataset, encoding.get(path) or {})
    work = Work(place, nodes, fresh)
    done = any(node.done for node in nodes.values())
    if asked.options.resume is True and not done and not any(each.prepared.resumed for each in work.targets):
        raise ResumeError(
            'there is no write to take up again here; pass resume="auto" to begin one',
            url=place.store.url,
            node=place.path,
        )
    return work


def _group_at(place: Location, zarr_format: ZarrFormat | None) -> StoredGroup | None:
    """The group at a place, None if there is none."""
    try:
        return open_group(place, consolidated=False, zarr_format=zarr_format)
    except NodeNotFoundError:
        return None


def _format_above(place: Location) -> ZarrFormat | None:
    """The format of the group next above a place: a group of another one below it could not be listed there."""
    for above in reversed(list(ancestors(place))):
        documents = find_documents(above, attributes=False)
        if documents is not None:
            return node_of(above, documents).metadata.zarr_format
    return None


@dataclass(frozen=True)
class _Node:
    """Where one dataset goes."""

    place: Location
    group: StoredGroup | None
    asked: Asked
    zarr_format: ZarrFormat
    fresh: bool
    home: Location | None

    def work(self, dataset: Dataset, encoding: Mapping[Hashable, Mapping[str, Any]]) -> NodeWork:
        """What is to be written of the dataset."""
        asked = self.asked
        _check_names(dataset, self.zarr_format)
        arrays = {} if self.group is None else self.group.arrays()
        region: dict[Hashable, slice] = {}
        if asked.region is not None:
            if self.group is None:
                raise NodeNotFoundError(
                    "there is no group that could have a region", url=self.place.store.url, node=self.place.path
                )
            region = found_region(dataset, self.group, arrays, asked)
            dataset = dataset.drop_vars(dataset.indexes)
        variables, attributes = conventions.encode_dataset_coordinates(dataset)
        if asked.mode == "w-" and self.group is not None:
            self._check_begun(arrays, variables, attributes)
        known = known_variables(arrays, list(variables)) if asked.mode != "w-" else {}
        uncut = {name for name, each in variables.items() if each.chunks is None and not each._in_memory}
        variables = {
            name: _in_reach(each, known[name].plain.encoding if name in known else encoding.get(name, each.encoding))
            for name, each in variables.items()
        }
        self._check(variables, known, arrays, encoding)
        at = appended_at(arrays, asked, variables) if asked.append_dim is not None and self.group is not None else {}
        if at and asked.duplicates == "error":
            check_duplicates(dataset, known, asked.append_dim, min(at.values()))
        targets = []
        for name, variable in variables.items():
            if name in known:
                target = self._existing(
                    name, variable, known[name], region, at, is_coord=name in dataset.coords, aligned=name not in uncut
                )
            else:
                variable.encoding = dict(encoding.get(name, variable.encoding))
                target = self._new(name, variable, strict=name in encoding, aligned=name not in uncut)
            targets += [] if target is None else [target]
        kept = self.group is not None and asked.mode == "r+"
        said = self.group.metadata.attributes if kept and self.group is not None else checked_attributes(attributes)
        metadata = GroupMetadata(attributes=dict(said), zarr_format=self.zarr_format)
        written = {target.prepared.place.path for target in targets}
        done = any((self.place / stored_name(name)).path not in written for name in known if stored_name(name) in at)
        return NodeWork(self.place, self.group, metadata, tuple(targets), grows=bool(at), done=done)

    def _check_begun(
        self, arrays: Mapping[str, StoredArray], variables: Mapping[Hashable, Variable], attributes: Mapping[Any, Any]
    ) -> None:
        """A new group that is there already is one that the same call began: there is nothing else in it."""
        strange = sorted(set(arrays) - {stored_name(name) for name in variables})
        if strange or (self.group is not None and dict(self.group.attrs) != checked_attributes(attributes)):
            what = f"has {strange[0]!r}, which is not to be written" if strange else "has other attributes"
            raise NodeExistsError(
                f"there is a group here already, and it {what}: it is not one that this call began. mode='w' puts the "
                "new one in its place, and mode='a' adds to it",
                url=self.place.store.url,
                node=self.place.path,
            )

    def _check(
        self,
        variables: Mapping[Hashable, Variable],
        known: Mapping[Hashable, Known],
        arrays: Mapping[str, StoredArray],
        encoding: Mapping[Hashable, Any],
    ) -> None:
        """What can be said of the variables by their names alone."""
        if self.asked.mode == "r+" and (new := [name for name in variables if name not in known]):
            raise MetadataError(
                f"dataset contains non-pre-existing variables {new!r}, and mode='r+' adds none; pass mode='a'",
                field="mode",
            )
        for name in encoding:
            if self.asked.adds and stored_name(name) in arrays:
                raise MetadataError(f"variable {name!r} already exists, but encoding was provided", field="encoding")
            if name not in variables:
                raise UnknownNameError(f"there is encoding for {name!r}, and no such variable", field="encoding")

    def _options(self, name: Hashable, write_empty_chunks: bool | None) -> WriteOptions:
        """How one variable is written."""
        options, asked = self.asked.options, self.asked.write_empty_chunks
        if asked is not None and write_empty_chunks is not None and asked != write_empty_chunks:
            raise MetadataError(
                f'variable {name!r}: differing "write_empty_chunks" values in encoding ({write_empty_chunks}) and '
                f"parameters ({asked})",
                node=str(name),
                field="write_empty_chunks",
            )
        token = None if options.token is None else f"{options.token}: {self.place.path}/{name}"
        resume: Any = "auto" if options.resume else False
        return replace(options, write_empty_chunks=bool(asked or write_empty_chunks), token=token, resume=resume)

    def _new(self, name: Hashable, variable: Variable, *, strict: bool, aligned: bool) -> Target:
        """The write of a variable that is not there; if its blocks are the user's, they are to be ``aligned``."""
        wanted = variable.encoding.get("dtype")
        packed = "scale_factor" in variable.encoding or "add_offset" in variable.encoding
        if wanted is not None and wanted not in ("S1", str) and np.dtype(wanted).kind in "biufUS":
            variable = checked(variable, name, variable.encoding, np.dtype(wanted), new=True)
            variable = uncut(variable, name, np.dtype(wanted))
        elif wanted is None and variable.dtype.kind == "f" and not packed:
            variable = checked(variable, name, variable.encoding, variable.dtype, new=True)
        encoded = encode(variable, name, self.zarr_format)
        check_times(variable, encoded, name)
        stored = stored_as(encoded, name, self.zarr_format, strict=strict)
        place, options = self.place / stored_name(name), self._options(name, stored.write_empty_chunks)
        array, ready = _dask_array(stored.variable, stored.metadata.chunk_grid.chunk_shape)
        if not ready and aligned:
            self._check_blocks(name, array, (0,) * array.ndim, stored)
        with _scheduler(ready):
            check_array(array)
            check_store(array, place)
        if self.fresh:
            home = None if self.home is None else self.home / stored_name(name)
            return Target(prepare_fresh(array, place, stored.metadata, options, home).checked(), ready)
        try:
            prepared = prepare_metadata(array, place, stored.metadata, options, False)
        except DaskZarrError as error:
            raise_from(error.locate(url=place.store.url, node=place.path), error)
        return Target(prepared.checked(), ready)

    def _check_blocks(self, name: Hashable, array: da.Array, start: tuple[int, ...], stored: Stored) -> None:
        """Blocks have whole stored objects, if the call wants that."""
        if self.asked.safe_chunks and not self.asked.align_chunks:
            grid, shape = stored.metadata.chunk_grid, stored.metadata.shape
            check_blocks(name, array.chunks, start, shape, grid, parts=self.asked.mode != "r+")

    def _existing(
        self,
        name: Hashable,
        variable: Variable,
        known: Known,
        region: Mapping[Hashable, slice],
        at: Mapping[str, int],
        *,
        is_coord: bool,
        aligned: bool,
    ) -> Target | None:
        """The write of a variable that is there: a part of it, all of it, or more of it; None if nothing is to be."""
        asked, array = self.asked, known.array
        dims = dimensions_of(array)
        appends = asked.append_dim is not None and asked.append_dim in dims
        if asked.mode == "a-" and asked.append_dim is not None and not appends:
            return None
        encoded = laid_out(name, encoded_as(known, name, variable, self.zarr_format), known, region, asked.append_dim)
        cells, ready = _dask_array(encoded, array.metadata.chunk_grid.chunk_shape)
        options = self._options(name, None)
        if asked.append_dim is not None and not appends and is_coord and asked.overwrite_coords is not True:
            if is_same(encoded, array):
                return None
            self._say_that_it_changes(name, array)
        box = tuple(slice(*region.get(dim, slice(None)).indices(n)) for dim, n in zip(dims, array.shape, strict=True))
        start = [part.start for part in box]
        axis = dims.index(str(asked.append_dim)) if appends else None
        if axis is not None:
            start[axis] = at[stored_name(name)]
        shape = list(array.shape)
        if axis is not None:
            shape[axis] = start[axis] + cells.shape[axis]
        if not ready and aligned and asked.safe_chunks and not asked.align_chunks:
            grid = array.metadata.chunk_grid
            check_blocks(name, cells.chunks, start, shape, grid, parts=asked.mode != "r+")
        with _scheduler(ready):
            check_store(cells, array.location)
        place = Location(self.place.store, array.location.path)
        try:
            if axis is None:
                found: Prepared | None = prepare_regions(
                    StoredArray(place, array.metadata), [(cells, box)], options, verb="to_zarr"
                )
            else:
                growth = Growth(axis, start[axis], asked.overwrite_unfinished, array.metadata.zarr_format, tuple(start))
                found = prepare_append(cells, place, growth, options)
        except DaskZarrError as error:
            raise_from(error.locate(url=place.store.url, node=place.path), error)
        return None if found is None else Target(found.checked(), ready)

    def _say_that_it_changes(self, name: Hashable, array: StoredArray) -> None:
        """A coordinate that the append does not make longer has other values than those that are stored."""
        what = (
            f"coordinate {name!r} has other values than the stored one, and an append along {self.asked.append_dim!r} "
            "in mode 'a' overwrites it for all that is there"
        )
        if self.asked.overwrite_coords == "warn":
            warnings.warn(f"{what}; mode='a-' leaves it as it is stored", UserWarning, stacklevel=6)
            return
        raise MetadataError(
            f"{what}; leave it as it is stored with mode='a-', or pass overwrite_coords=True",
            url=array.location.store.url,
            node=array.location.path,
            field="append_dim",
        )


def _check_names(dataset: Dataset, zarr_format: ZarrFormat) -> None:
    """Names of arrays and of axes are text, and an array's is one name of a node."""
    taken: dict[str, Hashable] = {}
    for name, variable in dataset.variables.items():
        if name is not None and not isinstance(name, str):
            raise WrongTypeError(f"{name!r} is the name of a variable; a name is a string or None", field="name")
        if name == "":
            raise MetadataError("a variable has the name '', and the string must be length 1 or greater", field="name")
        stored = stored_name(name)
        reserved = stored in DOCUMENT_NAMES[zarr_format] or (zarr_format == 3 and v3.is_reserved(stored))
        if "/" in stored or "\\" in stored or stored in (".", "..") or reserved:
            raise MetadataError(
                f"{name!r} cannot be the name of a variable: an array of that name would not be found in its group",
                field="name",
            )
        if stored in taken:
            raise MetadataError(f"{name!r} and {taken[stored]!r} are both stored as {stored!r}", field="name")
        taken[stored] = name
        if not all(isinstance(dim, str) for dim in variable.dims):
            raise WrongTypeError(
                f"variable {name!r} has the dimensions {variable.dims!r}, and their names are stored as text; "
                "rename() them",
                field="dimension_names",
            )


def _in_reach(variable: Variable, encoding: Mapping[str, Any]) -> Variable:
    """The variable with its cells in memory, or as a dask array: what is still in a file is read by blocks.

    These are of whole objects of the array that is to be written, as its ``encoding`` has them.
    """
    variable = variable.copy(deep=False)
    if variable.chunks is not None or variable._in_memory:
        return variable
    if variable.nbytes <= _LOADED:
        return variable.load()
    objects = encoding.get("shards") or encoding.get("chunks")
    if not isinstance(objects, tuple) or len(objects) != variable.ndim or not all(isinstance(n, int) for n in objects):
        return variable.chunk("auto")
    blocks = grow_blocks(variable.shape, objects, _LOADED // variable.dtype.itemsize)
    return variable.chunk(dict(zip(variable.dims, blocks, strict=True)))


def _dask_array(encoded: Variable, objects: tuple[int, ...]) -> tuple[da.Array, bool]:
    """The cells as a dask array, and whether they are in memory: then blocks are some of whole stored objects."""
    if isinstance(encoded.data, da.Array):
        return encoded.data, False
    cells = np.asarray(encoded.data)
    limit = max(_LEAST, cells.nbytes // _PARTS) // max(cells.dtype.itemsize, 1)
    blocks = grow_blocks(cells.shape, objects, limit, trailing_first=True) if cells.nbytes > _LEAST else cells.shape
    return da.from_array(cells, chunks=blocks), True


def _scheduler(ready: bool) -> Any:
    """The scheduler that a variable is written by: what is in memory needs no cluster."""
    return dask.config.set({"scheduler": "threads"} if ready else {})
