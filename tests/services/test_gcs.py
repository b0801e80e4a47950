"""Google Cloud Storage (an emulator): the contract of a store, and the traps of gcsfs."""

import json
import os
import uuid

import pytest
from fsspec.core import url_to_fs

from daskzarr.stores import FilesystemStore
from daskzarr.testing import StoreContract

line = os.environ.get("DASKZARR_TEST_GCS")
pytestmark = pytest.mark.skipif(not line, reason="needs a server: ci/services")


@pytest.fixture
def place():
    """URL of a folder of this test's own, and the options."""
    url, options = line.split(" ", 1)
    return f"{url}/{uuid.uuid4().hex}/a.zarr", json.loads(options)


class TestGCS(StoreContract):
    @pytest.fixture
    def store(self, place):
        url, options = place
        fs, root = url_to_fs(url, **options)
        store = FilesystemStore(fs, root, url)
        yield store
        store.delete_below("")
