"""Reading and listing on fsspec's file systems: what each kind needs so that an answer is right and costs little."""

from daskzarr.stores.remote.kinds.access import Access, access
from daskzarr.stores.remote.kinds.answer import Answer, Entry, Parts, part
from daskzarr.stores.remote.kinds.caches import forget
from daskzarr.stores.remote.kinds.failures import chain_hint, names_no_key, raise_told, raise_unopened

__all__ = [
    "Access",
    "Answer",
    "Entry",
    "Parts",
    "access",
    "chain_hint",
    "forget",
    "names_no_key",
    "part",
    "raise_told",
    "raise_unopened",
]
