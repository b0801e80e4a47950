"""Elements of AnnData in Zarr v2 and v3: dense and sparse ones read as dask arrays. ``open_element`` is the verb."""

from daskzarr.anndata.reading import open_element

__all__ = ["open_element"]
