"""One dataset, and the group it goes to -> the prepared write of each variable."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from xarray import Dataset, Variable, conventions

from daskzarr.appending import Growth, prepare_append
from daskzarr.errors import DaskZarrError, MetadataError, NodeExistsError, NodeNotFoundError, raise_from
from daskzarr.hierarchy import StoredArray, StoredGroup
from daskzarr.metadata import ChunkGrid, GroupMetadata, ZarrFormat
from daskzarr.prepare import Prepared, WriteOptions, prepare_regions
from daskzarr.prepare_new import prepare_fresh, prepare_metadata
from daskzarr.regions import check_array, check_store
from daskzarr.stores import Location
from daskzarr.warning import warn
from daskzarr.xarray.asked import Asked, UnknownNameError
from daskzarr.xarray.cells import dask_array, in_reach, reads_array, scheduler_of
from daskzarr.xarray.conventions import dimensions_of
from daskzarr.xarray.encoding import checked_attributes, encode, stored_as
from daskzarr.xarray.existing import (
    Known,
    appended_at,
    check_duplicates,
    encoded_as,
    is_same,
    known_variables,
    laid_out,
)
from daskzarr.xarray.losses import checked
from daskzarr.xarray.names import check_names, stored_name
from daskzarr.xarray.regions import check_blocks, found_region
from daskzarr.xarray.times_and_text import check_times, uncut


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
class Node:
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
        check_names(dataset, self.zarr_format)
        arrays = {} if self.group is None else self.group.arrays()
        region: dict[Hashable, slice] = {}
        if asked.region is not None:
            if self.group is None:
                raise NodeNotFoundError(
                    "there is no group that could have a region", url=self.place.store.url, node=self.place.path
                )
            region = found_region(dataset, arrays, asked)
            dataset = dataset.drop_vars(dataset.indexes)
        variables, attributes = conventions.encode_dataset_coordinates(dataset)
        if asked.mode == "w-" and self.group is not None:
            self._check_begun(arrays, variables, attributes)
        known = known_variables(arrays, list(variables)) if asked.mode != "w-" else {}
        uncut = {name for name, each in variables.items() if each.chunks is None and not each._in_memory}
        variables = {
            name: in_reach(each, known[name].plain.encoding if name in known else encoding.get(name, each.encoding))
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
        array, ready = dask_array(stored.variable, stored.metadata.chunk_grid.chunk_shape)
        if not ready and aligned:
            self._check_blocks(name, array, (0,) * array.ndim, array.shape, stored.metadata.chunk_grid)
        with scheduler_of(ready):
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

    def _check_blocks(
        self, name: Hashable, array: da.Array, start: Sequence[int], shape: Sequence[int], grid: ChunkGrid
    ) -> None:
        """Blocks have whole stored objects, if the call wants that."""
        if self.asked.safe_chunks and not self.asked.align_chunks:
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
        cells, ready = dask_array(encoded, array.metadata.chunk_grid.chunk_shape)
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
        if not ready and aligned:
            self._check_blocks(name, cells, start, shape, array.metadata.chunk_grid)
        with scheduler_of(ready):
            check_store(cells, array.location)
        place = Location(self.place.store, array.location.path)
        if axis is None and reads_array(variable, place):
            raise NodeExistsError(
                f"variable {name!r} is computed from the very cells it would go to, and some may be written before "
                "they are read; load it first, or write it elsewhere",
                url=place.store.url,
                node=place.path,
            )
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
            warn(f"{what}; mode='a-' leaves it as it is stored", UserWarning)
            return
        raise MetadataError(
            f"{what}; leave it as it is stored with mode='a-', or pass overwrite_coords=True",
            url=array.location.store.url,
            node=array.location.path,
            field="append_dim",
        )
