"""OME-Zarr images (NGFF 0.4 in Zarr v2, 0.5 in Zarr v3): pyramids read as dask arrays, and written by one graph.

``open_multiscales`` and ``write_multiscales`` are the verbs, ``list_labels`` names the label images of an image.
"""

from daskzarr.ome.axes import Axis
from daskzarr.ome.reading import Level, Multiscales, list_labels, open_multiscales
from daskzarr.ome.writing import write_multiscales

__all__ = ["Axis", "Level", "Multiscales", "list_labels", "open_multiscales", "write_multiscales"]
