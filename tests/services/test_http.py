"""HTTP and HTTPS (nginx): the contract of a store that can be read."""

import json
import os
import shutil
import uuid

import pytest

from daskzarr.stores import (
    CreateStore,
    ListableStore,
    LocalStore,
    SiblingStore,
    SurveyStore,
    SweepStore,
    WritableStore,
    open_store,
)
from daskzarr.testing import StoreContract

lines = {name: os.environ.get(f"DASKZARR_TEST_{name}") for name in ("HTTP", "HTTPS")}
top = os.environ.get("DASKZARR_TEST_HTTP_FOLDER")
pytestmark = pytest.mark.skipif(not lines["HTTP"] or not top, reason="needs a server: ci/services")


class TestHTTP(StoreContract):
    # nginx' pages leave out what begins with a dot
    without = (WritableStore, CreateStore, SweepStore, SiblingStore, ListableStore, SurveyStore)

    @pytest.fixture(params=[name for name, line in lines.items() if line])
    def store(self, request):
        folder = uuid.uuid4().hex
        self.files = LocalStore(f"{top}/{folder}")
        url, options = lines[request.param].split(" ", 1)
        os.mkdir(self.files.root)
        yield open_store(f"{url}/{folder}", storage_options=json.loads(options))
        shutil.rmtree(self.files.root)

    def seed(self, store, values):
        for key, value in values.items():
            self.files.set(key, value)

    def test_pages_are_listings(self, store):
        names = ["b", "\u00fcn\u00efc\u00f6d\u00e9", "d [1]*?", "a&b;c", "50%", "a%20b", "a+b", "a#b", "~", "n:a@b"]
        names.append('it\'s "<so>"')
        values = {f"a/{name}": name.encode() for name in names} | {f"a/{name}.f/x/y": b"1" for name in names}
        self.seed(store, values | {"ab/c": b"12"})
        assert store.list_dir("a") == (tuple(sorted(names)), tuple(sorted(f"{name}.f" for name in names)))
        assert store.list_dir("").prefixes == ("a", "ab")
        assert dict(store.survey("a")).keys() == values.keys()
        for missing in ("x", "a/b", "a/x/y"):
            assert store.list_dir(missing) == ((), ())
            assert list(store.survey(missing)) == []
