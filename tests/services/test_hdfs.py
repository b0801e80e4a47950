"""HDFS keeps the contract through hdfs-native, and through pyarrow all of it but the replacing in one step."""

import os
from importlib.util import find_spec

import pytest

from daskzarr.stores import CreateStore, creates, open_store
from daskzarr.testing import StoreContract

from .rounds import address
from .writers import check_killed_writers, new_store


class HDFSContract(StoreContract):
    big = 6 * 2**20
    refused = ":"
    test_survey_of_odd_keys = None  # of which one has a ":", which HDFS refuses in names

    @pytest.fixture(autouse=True)
    def names_that_can_be(self, request):
        callspec = getattr(request.node, "callspec", None)
        if callspec is not None and set(self.refused) & set(str(callspec.params.get("key"))):
            pytest.skip(f"there can be no {self.refused} in names")

    @pytest.fixture
    def store(self):
        store = new_store(self.client, address("HDFS"))
        yield store
        store.delete_below("")

    def test_killed_writers(self, store):
        check_killed_writers(self.client, address("HDFS"), store)

    def test_a_name_that_cannot_be_is_an_error(self, store):
        with pytest.raises(OSError, match="a:b"):
            store.set("a:b", b"1")
        assert (store.list_dir(""), list(store.leftovers(""))) == (((), ()), [])


@pytest.mark.skipif(find_spec("hdfs_native") is None, reason="hdfs_native is not installed")
class TestNative(HDFSContract):
    client = "native"

    def test_it_has_the_name_where_it_is_installed(self):
        place = address("HDFS")
        store = open_store(place.url, storage_options=place.options)
        assert type(store.fs).__module__ == "hdfs_native.fsspec"
        assert creates(store)


@pytest.mark.skipif(
    find_spec("pyarrow") is None or "CLASSPATH" not in os.environ, reason="needs pyarrow, and Java's CLASSPATH"
)
class TestArrow(HDFSContract):
    client = "arrow"
    refused = ":\U0001f30a"  # Java is given other bytes for what is beyond the basic plane of Unicode
    without = (CreateStore,)  # its ``move`` removes what is in the way
    test_readers_see_whole_values = None  # for the same reason a value that is replaced is missing for a moment
