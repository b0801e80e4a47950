"""Writing on fsspec's file systems: what each of them needs so that a file is there whole or not at all."""

from daskzarr.stores.remote.placing.hidden import is_partial
from daskzarr.stores.remote.placing.own import own_of_thread
from daskzarr.stores.remote.placing.verbs import (
    can_place_new,
    leaves_partials,
    place,
    place_new,
    remove,
)

__all__ = [
    "can_place_new",
    "is_partial",
    "leaves_partials",
    "own_of_thread",
    "place",
    "place_new",
    "remove",
]
