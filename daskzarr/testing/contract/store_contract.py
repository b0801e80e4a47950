"""The whole contract of a store as one class of tests to inherit."""

from __future__ import annotations

from daskzarr.testing.contract.abilities import Abilities
from daskzarr.testing.contract.batches import Batches
from daskzarr.testing.contract.concurrency import Concurrency
from daskzarr.testing.contract.creating import Creating
from daskzarr.testing.contract.deleting import Deleting
from daskzarr.testing.contract.filling import Filling
from daskzarr.testing.contract.identity import Identity
from daskzarr.testing.contract.listing import Listing
from daskzarr.testing.contract.parts import Parts
from daskzarr.testing.contract.processes import Processes
from daskzarr.testing.contract.reading import Reading
from daskzarr.testing.contract.siblings import Siblings
from daskzarr.testing.contract.writing import Writing


class StoreContract(
    Identity,
    Reading,
    Parts,
    Batches,
    Filling,
    Writing,
    Deleting,
    Creating,
    Listing,
    Abilities,
    Siblings,
    Concurrency,
    Processes,
):
    """Tests of a store. Inherit them under a name that pytest collects, and give a fixture ``store``.

    The store has to be empty when a test begins, and no other test's. What is tested follows from the protocols
    (:mod:`daskzarr.stores.protocol`) that the store keeps: one that can only be read needs a :meth:`seed` of its own.
    Tests of what the store cannot do, or is not to be tested for, are skipped.

    Attributes
    ----------
    protocols
        What is tested, of what the store offers. Default: all. Cut it down for a store that has methods it cannot
        serve everywhere: ``(Store,)`` proves reading alone.
    without
        The same the other way round: protocols that the store seems to keep, and does not. A web server's has
        ``(ListableStore, SurveyStore)`` here.
    big
        Size in bytes of the largest value tried. Default 32 MiB.
    many
        How many keys are asked for at once, at most. Default 1000; fewer are for a store where each takes long.
    secrets
        Texts that must not be seen anywhere: passwords and keys the store was opened with. A fixture may set it.

    Examples
    --------
    >>> import pytest
    >>> from daskzarr.stores import MappingStore
    >>> class TestMyStore(StoreContract):
    ...     @pytest.fixture
    ...     def store(self):
    ...         return MappingStore({})
    """
