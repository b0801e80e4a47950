"""Stores that are reached over a network, or through fsspec."""

from daskzarr.stores.remote.filesystem import FilesystemStore

__all__ = ["FilesystemStore"]
