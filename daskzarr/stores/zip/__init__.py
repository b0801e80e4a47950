"""A zip file of this machine as a store."""

from daskzarr.stores.zip.store import ZipStore

__all__ = ["ZipStore"]
