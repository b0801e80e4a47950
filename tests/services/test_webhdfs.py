"""WebHDFS keeps the contract, but for names that the data server of Hadoop 2 reads twice."""

import pytest

from daskzarr.errors import StoreError, UnsupportedError
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

    def test_names_that_are_refused(self, store):
        """Read otherwise by the data server, "a%20b" would have the other's value, and "c%20d" be missing."""
        store.set("a b", b"other")
        for use in (lambda: store.set("a%20b", b"value"), lambda: store.get("a%20b"), lambda: store.get("c%20d")):
            with pytest.raises(UnsupportedError, match="%"):
                use()
        with pytest.raises(StoreError, match="a:b"):
            store.set("a:b", b"1")
        assert (store.get("a b"), store.list_dir("").keys, list(store.leftovers(""))) == (b"other", ("a b",), [])
