"""DBM databases as stores: the contract, files of zarr-python 2, one writer at a time, writers that were killed."""

import pytest

from daskzarr.stores import open_store
from daskzarr.stores.databases.dbm import DBMStore
from daskzarr.testing import StoreContract


class TestDBM(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return DBMStore(str(tmp_path / "a b%"))

    def again(self, store):
        return open_store(store.url)
