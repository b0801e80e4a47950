"""The verb open_element: the place of an element of AnnData -> a dask array."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import dask
import dask.array as da
import numpy as np

from daskzarr.anndata.compressed import StoredMatrix, open_matrix, read_lengths
from daskzarr.anndata.cutting import cut_rows
from daskzarr.anndata.encodings import check_array, read_matrix
from daskzarr.anndata.rows import BLOCKS, Blocks, Layout, empty_block, read_rows
from daskzarr.array_handle import Missing
from daskzarr.errors import DaskZarrError, MetadataError, raise_from
from daskzarr.graph.generation import generation_of
from daskzarr.graph.runs import read_runs
from daskzarr.hierarchy import StoredArray, StoredGroup, open_group, read_node
from daskzarr.metadata import ZarrFormat
from daskzarr.read import from_zarr
from daskzarr.stores import locate


def open_element(
    url: Any,
    component: str | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    chunks: Any = None,
    blocks: Blocks = "matrix",
    missing: Missing = "fill",
    consolidated: bool | None = None,
    zarr_format: ZarrFormat | None = None,
) -> da.Array:
    """Open a dense or sparse element of AnnData as a dask array.

    Parameters
    ----------
    url
        Path, URL, mapping or store of the AnnData object, or a group or array that is opened.
    component
        Path of the element: ``"X"``, ``"layers/counts"``, ``"obsm/X_pca"``, ``"raw/X"``, ``"obs/kind/codes"``.
    storage_options, zarr_format
        As for :func:`daskzarr.from_zarr`.
    chunks
        Of a dense element, as for :func:`daskzarr.from_zarr`. A sparse one can be cut only along the axis it is
        compressed along: rows of CSR, columns of CSC. Their number, or lengths, or a pair such as ``(1000, -1)``.
        Default None, and ``"auto"``: as many as are near, but not above, Dask's ``array.chunk-size`` when dense, as
        that is how Dask counts them, and blocks can be made dense; at least 32 blocks, where these are not below
        8 MiB so counted, or 1 MiB as stored.
    blocks
        What the blocks of a sparse element are: ``"matrix"`` (default), ``scipy.sparse.csr_matrix`` or
        ``csc_matrix``, as AnnData has them; ``"array"``, ``csr_array`` or ``csc_array``; ``"dense"``, NumPy arrays.
    missing
        As for :func:`daskzarr.from_zarr`.
    consolidated
        True: the documents are taken from the consolidated metadata of the group at ``url``, by one request. Default
        None, and False: each is read.

    Returns
    -------
    dask.array.Array
        One task a block. That of a sparse block reads the stored chunks that its rows have entries in.

    Raises
    ------
    NodeNotFoundError
        If there is no such element, or an array of a sparse one is not there.
    UnsupportedError
        If it is encoded as something that is no array, which the error names; if SciPy is needed and not there.
    MetadataError
        If the attributes, or the lengths of the arrays, are not those of a matrix.
    CodecError
        If ``indptr`` is damaged. That an entry is in no column is found by the task that reads it.

    Notes
    -----
    ``indptr`` of a sparse element is read and checked here, once: 8 bytes a row, mostly. What is kept are the numbers
    of entries of the rows, in as few bytes as they need, two a row mostly; each task carries those of its own.

    Examples
    --------
    >>> import dask.array as da, numpy as np
    >>> from daskzarr import create_group, to_zarr
    >>> about = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [3, 4]}
    >>> group = create_group(store := {}, "X", attributes=about)
    >>> for name, cells in {"data": [7, 8, 9], "indices": [1, 3, 0], "indptr": [0, 2, 2, 3]}.items():
    ...     to_zarr(da.from_array(np.array(cells)), store, f"X/{name}")
    >>> open_element(store, "X", blocks="dense").compute()
    array([[0, 7, 0, 8],
           [0, 0, 0, 0],
           [9, 0, 0, 0]])
    """
    if blocks not in BLOCKS:
        raise MetadataError(f"blocks is {blocks!r}; it can be {', '.join(map(repr, BLOCKS))}", field="blocks")
    if missing not in ("fill", "error"):
        raise MetadataError(f"missing is {missing!r}; it can be 'fill' or 'error'", field="missing")
    node = _node(url, component, storage_options, consolidated, zarr_format)
    try:
        if isinstance(node, StoredArray):
            check_array(node.metadata.attributes)
            return from_zarr(node, chunks=chunks, missing=missing)
        matrix = open_matrix(node, read_matrix(node.metadata.attributes), missing)
        return _array(matrix, chunks, blocks)
    except DaskZarrError as error:
        raise_from(error.locate(url=node.location.store.url, node=node.location.path), error)


def _node(
    url: Any, component: str | None, options: Any, consolidated: bool | None, zarr_format: ZarrFormat | None
) -> StoredArray | StoredGroup:
    """The node of the element."""
    if consolidated not in (None, True, False):
        raise MetadataError(f"consolidated is {consolidated!r}; it can be None, True or False", field="consolidated")
    if consolidated:
        url = open_group(url, storage_options=options, zarr_format=zarr_format, consolidated=True)
    if isinstance(url, StoredArray) and not component:
        return url
    if isinstance(url, StoredGroup):
        return url[component or ""]
    return read_node(locate(url, component, options), zarr_format)


def _array(matrix: StoredMatrix, chunks: Any, blocks: Blocks) -> da.Array:
    """The dask array of a matrix."""
    layout = Layout(matrix.format, matrix.width, blocks)
    meta = empty_block(layout, matrix.data.dtype)
    rows = cut_rows(matrix, chunks)
    lengths = read_lengths(matrix)
    parts = np.split(lengths, np.cumsum(rows[:-1], dtype=np.int64))
    edges = list(accumulate((int(part.sum(dtype=np.int64)) for part in parts), initial=0))
    handles = matrix.data, matrix.indices
    generations = [generation_of(handle.store.url, handle.path) for handle in handles]
    token = dask.base.tokenize(handles, generations, lengths, rows, layout, matrix.shape)
    return read_runs(
        f"daskzarr-read-{token}",
        read_rows,
        handles,
        edges,
        parts,
        layout,
        axis=matrix.major,
        chunks=(rows, (matrix.width,)) if matrix.major == 0 else ((matrix.width,), rows),
        meta=meta,
    )
