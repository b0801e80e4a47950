"""Arrays and groups in a store: found, browsed, put in their place. Knows documents and keys, and no chunk."""

from daskzarr.hierarchy.documents import store_error, writable
from daskzarr.hierarchy.node import StoredArray, StoredGroup
from daskzarr.hierarchy.opening import expect_array, open_array, open_group, open_node, read_node
from daskzarr.hierarchy.placing import place_node

__all__ = [
    "StoredArray",
    "StoredGroup",
    "expect_array",
    "open_array",
    "open_group",
    "open_node",
    "place_node",
    "read_node",
    "store_error",
    "writable",
]
