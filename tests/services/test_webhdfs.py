"""WebHDFS keeps the contract, but for names that the data server of Hadoop 2 reads twice."""

import pytest

from daskzarr.errors import StoreError
from daskzarr.testing import StoreContract

from .rounds import address
from .writers import check_killed_writers, new_store

REFUSED = ":%"


class TestWebHDFS(StoreContract):
    big = 6 * 2**20
    test_survey_of_odd_keys = test_size = None  # of keys with a "%" and a ":"

    @pytest.fixture(autouse=True)
    def names_that_can_be(self, request):
        callspec = getattr(request.node, "callspec", None)
        if callspec is not None and set(REFUSED) & set(str(callspec.params.get("key"))):
            pytest.skip("HDFS refuses ':' in names, and the data server of Hadoop 2 takes '%' for a code")

    @pytest.fixture
    def store(self):
        store = new_store("webhdfs", address("WEBHDFS"))
        yield store
        store.delete_below("")

    def test_killed_writers(self, store):
        check_killed_writers("webhdfs", address("WEBHDFS"), store)

    def test_a_name_that_is_read_otherwise_is_an_error_and_never_missing(self, store):
        store.set("a b", b"other")
        store.set("a%20b", b"value")
        with pytest.raises(StoreError, match="%"):
            store.get("a%20b")
        assert (store.get("a b"), store.get("c%20d")) == (b"other", None)
        with pytest.raises(StoreError, match="a:b"):
            store.set("a:b", b"1")
        assert list(store.leftovers("")) == []
