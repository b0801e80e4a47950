"""The verbs to_zarr and plan: a dataset, an array or a tree of xarray, and a place -> all of it stored, by one plan."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dask.delayed import Delayed
from xarray import DataArray, Dataset, DataTree

from daskzarr.begin import begin_each
from daskzarr.begin_tree import NewTree, begin_tree, begin_tree_beside
from daskzarr.create import write_new_group
from daskzarr.errors import DaskZarrError, MetadataError, UnsupportedError, raise_from
from daskzarr.hierarchy.staging import goes_last
from daskzarr.metadata import ZarrFormat
from daskzarr.regions import reads_from
from daskzarr.stores import Location, locate
from daskzarr.write_plan import WritePlan
from daskzarr.xarray.asked import Asked, WrongTypeError, asked
from daskzarr.xarray.cells import reads_from_store
from daskzarr.xarray.opening import normal_place
from daskzarr.xarray.preparing import Work, prepare
from daskzarr.xarray.running import EndGroups, run_ready, say

_UNNAMED, _NAME = "__xarray_dataarray_variable__", "__xarray_dataarray_name__"


def to_zarr(
    obj: Dataset | DataArray | DataTree,
    store: Any = None,
    mode: Literal["w", "w-", "a", "a-", "r+"] | None = None,
    group: str | None = None,
    encoding: Mapping[Any, Any] | None = None,
    *,
    compute: bool = True,
    consolidated: bool | None = None,
    append_dim: Hashable | None = None,
    region: Mapping[Hashable, Any] | Literal["auto"] | None = None,
    safe_chunks: bool = True,
    align_chunks: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    zarr_format: ZarrFormat | None = None,
    write_empty_chunks: bool | None = None,
    chunkmanager_store_kwargs: Mapping[str, Any] | None = None,
    write_inherited_coords: bool = False,
    at: int | None = None,
    duplicates: Literal["allow", "error"] = "allow",
    overwrite_coords: bool | Literal["warn"] = False,
    overwrite_unfinished: bool = False,
    resume: bool | Literal["auto"] = False,
    journal: Any = None,
    token: str | None = None,
    durability: Literal["close", "fsync"] = "close",
    failures: Literal["raise", "collect"] = "raise",
    max_files: int | None = None,
    max_mem: int | str | None = None,
) -> Delayed | None:
    """Store a dataset, an array or a tree of xarray: ``Dataset.to_zarr`` by one plan, in which nothing gets lost.

    All variables are checked before anything is written, and written by one graph: what several are computed from is
    computed once, and each stored object has one task. An append is seen once all of its cells are there.

    Parameters
    ----------
    obj
        A Dataset, DataArray or DataTree.
    store
        Path, URL, ``os.PathLike``, mapping or store.
    mode
        ``"w-"``: a new group, and an error if there is one. ``"w"``: a new group in the place of what is there; where
        folders can be moved, that goes last. ``"a"``: into a group that may be there; variables that are there are
        written over, attributes of the group replaced. ``"a-"``: likewise, but of those that are there only the ones
        that ``append_dim`` makes longer are written. ``"r+"``: cells of variables that are there, nothing else.
        Default: ``"a"`` with ``append_dim``, ``"r+"`` with ``region``, else ``"w-"``.
    group
        Path of the group below the store; groups above it are made. Default: the top.
    encoding
        By variable, how it is stored: ``chunks``, ``shards``, ``compressors``, ``filters``, ``serializer``,
        ``chunk_key_encoding``, ``write_empty_chunks``, ``fill_value`` (Zarr v3), and what CF knows (``dtype``,
        ``_FillValue``, ``scale_factor``, ``units``, ...). Of a tree, by path of the group first. Default: what the
        variable brings along. Chunks are Dask's blocks otherwise.
    compute
        Whether to write now. Default True. Otherwise what is in memory is written, and a delayed value comes back
        whose ``compute()`` writes the rest.
    consolidated
        Whether consolidated metadata are written, at the top of the store. Default None: they are, except with mode
        ``"r+"``. False: those that are there are kept true, and no others made.
    append_dim
        The dimension that becomes longer by what is written.
    region
        Which part of what is there is written: slices by dimension, or ``"auto"`` for all or some of them, found by
        their labels. Variables that give dimensions their labels are left out.
    safe_chunks
        Whether blocks of Dask that cut stored objects are an error. Default True, as in xarray. False is as safe here:
        one task puts together each object that several blocks have cells in.
    align_chunks
        Whether they are rechunked instead. Default False.
    storage_options
        For fsspec, with a URL.
    zarr_format
        3 or 2. Default: that of the group there is, else 3.
    write_empty_chunks
        Whether chunks of nothing but the fill value are stored. Default: as ``encoding`` says, else not.
    chunkmanager_store_kwargs
        Must be empty: Dask writes nothing here by itself.
    write_inherited_coords
        Of a tree, whether groups also store the coordinates of those above them. Default False.
    at
        How long ``append_dim`` is before. With it the same call may be made again and again, as for
        :func:`daskzarr.append`. Default None: whatever it is.
    duplicates
        ``"error"``: labels that are appended must not be there already. Default ``"allow"``, as in xarray.
    overwrite_coords
        Whether an append may give coordinates that it does not make longer other values; ``"warn"``: it may, with a
        warning. Default False: an error.
    overwrite_unfinished
        Whether an unfinished append of something else is given up. Default False: an error.
    resume
        Whether to go on with a write that was killed, as for :func:`daskzarr.to_zarr`; not with mode ``"w"``.
    journal, token, durability, failures, max_files, max_mem
        As for :func:`daskzarr.to_zarr`; limits are for the whole plan.

    Returns
    -------
    None or a delayed value
        As for :func:`daskzarr.to_zarr`.

    Raises
    ------
    LossError
        If cells could not be read again as what they are: times finer than the stored units, not-a-number among whole
        numbers, numbers out of range. Of what Dask computes, a task says so, and an append is not seen.
    MetadataError
        If something does not fit. Nothing is written then.
    NodeExistsError, NodeNotFoundError
        If there is a group where a new one goes, or none where one has to be.
    AppendError, ResumeError, PlanLimitError, StoreError
        As for :func:`daskzarr.append` and :func:`daskzarr.to_zarr`.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from daskzarr.xarray import open_zarr
    >>> ds = xr.Dataset({"a": ("x", np.arange(4))}, coords={"x": [1.5, 2.5, 3.5, 4.5]})
    >>> to_zarr(ds, store := {})
    >>> to_zarr(ds.assign_coords(x=ds.x + 4), store, append_dim="x")
    >>> open_zarr(store)["x"].values
    array([1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5])
    """
    call = _Call.of(locals())
    try:
        write = call.begin()
    except DaskZarrError as error:
        raise_from(error.locate(url=call.top.store.url, node=call.place.path), error)
    if not compute:
        return write
    if write is not None:
        write.compute()
    return None


def plan(obj: Dataset | DataArray | DataTree, store: Any = None, *args: Any, **settings: Any) -> WritePlan:
    """What :func:`to_zarr` would do with the same arguments, in numbers; nothing is written.

    Returns
    -------
    WritePlan
        Of all variables together, as :func:`daskzarr.plan` has it.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> plan(xr.Dataset({"a": ("x", np.arange(4)), "b": ("x", np.arange(4.0))}), {}).objects
    2
    """
    try:
        given = inspect.signature(to_zarr).bind(obj, store, *args, **settings)
    except TypeError as error:
        raise TypeError(f"plan() takes what to_zarr() takes: {error}") from None
    given.apply_defaults()
    call = _Call.of(given.arguments)
    try:
        return call.prepare().plan
    except DaskZarrError as error:
        raise_from(error.locate(url=call.top.store.url, node=call.place.path), error)


@dataclass(frozen=True)
class _Call:
    """One call of the verb: datasets by path, where they go, and what is asked for."""

    datasets: Mapping[str, Dataset]
    top: Location
    place: Location
    asked: Asked
    zarr_format: ZarrFormat | None
    encoding: Mapping[str, Any]
    consolidated: bool
    compute: bool

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> _Call:
        """What the arguments of the verb, by name, say."""
        obj, store = given["obj"], normal_place(given["store"])
        if store is None:
            raise WrongTypeError(
                "store is None; say where to write: a path, a URL, a mapping or a store", field="store"
            )
        if given["chunkmanager_store_kwargs"]:
            raise UnsupportedError(
                "chunkmanager_store_kwargs= are for dask.array.store, which writes nothing here",
                field="chunkmanager_store_kwargs",
            )
        if given["zarr_format"] not in (None, 2, 3) or isinstance(given["zarr_format"], bool):
            raise MetadataError(f"zarr_format is {given['zarr_format']!r}; xarray's are 2 and 3", field="zarr_format")
        if isinstance(obj, DataTree):
            given = {**given, "mode": "w-" if given["mode"] is None else given["mode"]}
        asks = asked({**given, "encoding": {}} if isinstance(obj, DataTree) else given)
        datasets, encoding = _datasets(obj, given, asks)
        top = locate(store, None, given["storage_options"])
        path = (given["group"] or "").strip("/")
        keeps = given["consolidated"] is not False and asks.mode != "r+"
        return cls(
            datasets,
            top,
            top / path if path else top,
            asks,
            given["zarr_format"],
            encoding,
            keeps and getattr(store, "supports_consolidated_metadata", True),
            given["compute"],
        )

    def prepare(self) -> Work:
        """All that is to be written, checked, and within the limits."""
        work = prepare(self.datasets, self.place, self.asked, self.zarr_format, self.encoding)
        options = self.asked.options
        if options.max_files is not None or options.max_mem is not None:
            work.plan.check(max_files=options.max_files, max_mem=options.mem_limit)
        return work

    def begin(self) -> Delayed:
        """Write documents, and what is in memory; the rest is left to be written."""
        work = self.prepare()
        if not work.fresh:
            return self._begin_there(work)
        top = Location(work.place.store, self.top.path) if self.consolidated else None
        targets = work.targets
        groups = {path: node.metadata for path, node in work.nodes.items()}
        tree = NewTree(work.place, groups, tuple(target.prepared for target in targets), top)
        overwrites = self.asked.overwrites
        if overwrites and goes_last(work.place, reads_itself=self._reads_itself(work), compute=self.compute):
            writes, ending = begin_tree_beside(tree)
            return run_ready([(write, None) for write in writes], targets, ending)
        return run_ready(begin_tree(tree, overwrite=overwrites), targets)

    def _reads_itself(self, work: Work) -> bool:
        """Whether anything is still to be read from the store that is written."""
        if any(reads_from_store(each, self.top) for each in self.datasets.values()):
            return True
        return any(reads_from(arr, work.place) for target in work.targets for arr, _ in target.prepared.parts)

    def _begin_there(self, work: Work) -> Delayed:
        """The same in groups that are there, or were begun."""
        top = Location(work.place.store, self.top.path) if self.consolidated else None
        changed = []
        for node in work.nodes.values():
            if node.group is None:
                write_new_group(node.place, node.metadata, overwrite=False)
            elif dict(node.group.metadata.attributes) != dict(node.metadata.attributes):
                changed.append((node.place, node.metadata.attributes, node.metadata.zarr_format))
        begun = begin_each([target.prepared for target in work.targets])
        if work.grows:
            endings = tuple(ending for _, ending in begun if ending is not None)
            end = EndGroups(endings, tuple(changed), top)
            return run_ready([(write, None) for write, _ in begun], work.targets, end)
        say(changed, top)
        return run_ready(begun, work.targets)


def _datasets(obj: Any, given: Mapping[str, Any], asks: Asked) -> tuple[dict[str, Dataset], Mapping[str, Any]]:
    """The datasets to write, by path, and the encoding of each."""
    if isinstance(obj, Dataset):
        return {"": obj}, {"": asks.encoding}
    if isinstance(obj, DataArray):
        return {"": _as_dataset(obj)}, {"": asks.encoding}
    if not isinstance(obj, DataTree):
        raise WrongTypeError(f"a {type(obj).__name__} is no Dataset, DataArray or DataTree", field="obj")
    if given["group"] is not None:
        raise UnsupportedError("a tree goes to the top of a store; give its place as the store", field="group")
    if asks.append_dim is not None:
        raise UnsupportedError("append_dim= is for a dataset; append to each group of the tree", field="append_dim")
    encoding = given["encoding"] or {}
    unknown = set(encoding) - set(obj.groups)
    if unknown:
        raise MetadataError(f"unexpected encoding group name(s) provided: {sorted(unknown)}", field="encoding")
    found, settings = {}, {}
    for path, node in obj.subtree_with_keys:
        key = "" if node is obj else path
        found[key] = node.to_dataset(inherit=given["write_inherited_coords"] or node is obj)
        settings[key] = encoding.get(node.path) or {}
    return found, settings


def _as_dataset(array: DataArray) -> Dataset:
    """A data array as a dataset: under its name, or one that says that it has none, or one that is taken."""
    if array.name is None:
        return array.to_dataset(name=_UNNAMED)
    if array.name not in array.coords and array.name not in array.dims:
        return array.to_dataset()
    found = array.to_dataset(name=_UNNAMED)
    found.attrs[_NAME] = array.name
    return found
