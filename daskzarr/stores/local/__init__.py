"""A directory of this machine as a store."""

from daskzarr.stores.local.store import LocalStore

__all__ = ["LocalStore"]
