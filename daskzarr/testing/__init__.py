"""What tests of stores and of arrays are made of, for daskzarr's own and for those of other projects.

Names are loaded when first used: only the contract needs pytest, and only the strategies need hypothesis.

>>> from daskzarr.stores import MappingStore
>>> store = RecordingStore(MappingStore({"a": b"123"}))
>>> store.get("a"), store.requests
(b'123', [Request(kind='get', key='a')])
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskzarr.testing.contract import StoreContract
    from daskzarr.testing.faulty_store import FaultyStore
    from daskzarr.testing.recording_store import READS, RecordingStore, Request
    from daskzarr.testing.slow_filesystem import SlowFileSystem
    from daskzarr.testing.strategies import (
        array_settings,
        arrays,
        chunk_shapes,
        codec_settings,
        dask_chunks,
        distinct_values,
    )
    from daskzarr.testing.unreliable_store import Faults, UnreliableStore
    from daskzarr.testing.web_server import WebServer

if "pytest" in sys.modules:  # failed assertions of the contract then show their values
    import pytest

    pytest.register_assert_rewrite("daskzarr.testing.contract")

_PLACES = {
    "READS": "recording_store",
    "Faults": "unreliable_store",
    "FaultyStore": "faulty_store",
    "RecordingStore": "recording_store",
    "Request": "recording_store",
    "SlowFileSystem": "slow_filesystem",
    "StoreContract": "contract",
    "UnreliableStore": "unreliable_store",
    "WebServer": "web_server",
    "array_settings": "strategies",
    "arrays": "strategies",
    "chunk_shapes": "strategies",
    "codec_settings": "strategies",
    "dask_chunks": "strategies",
    "distinct_values": "strategies",
}

__all__ = [
    "READS",
    "Faults",
    "FaultyStore",
    "RecordingStore",
    "Request",
    "SlowFileSystem",
    "StoreContract",
    "UnreliableStore",
    "WebServer",
    "array_settings",
    "arrays",
    "chunk_shapes",
    "codec_settings",
    "dask_chunks",
    "distinct_values",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'daskzarr.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"daskzarr.testing.{_PLACES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return list(__all__)
