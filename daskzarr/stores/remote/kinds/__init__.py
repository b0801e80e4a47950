"""Reading and listing on fsspec's file systems: what each kind needs so that an answer is right and costs little."""

from daskzarr.stores.remote.kinds.access import Access, access
from daskzarr.stores.remote.kinds.answer import Answer, Entry, Parts, part
from daskzarr.stores.remote.kinds.caches import forget
from daskzarr.stores.remote.kinds.failures import names_no_key, raise_told

__all__ = ["Access", "Answer", "Entry", "Parts", "access", "forget", "names_no_key", "part", "raise_told"]
