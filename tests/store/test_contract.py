"""Every store keeps the one contract."""

import threading
import uuid
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

from daskzarr.stores import FilesystemStore, LocalStore, MappingStore, ReadIntoStore, Store, locate, open_store
from daskzarr.testing import FaultyStore, RecordingStore, StoreContract, WebServer


@pytest.fixture
def memory_root():
    """A folder of fsspec's memory file system that no other test uses."""
    root = f"/contract-{uuid.uuid4().hex}"
    yield root
    fs = fsspec.filesystem("memory")
    for path in fs.find(root):
        fs.rm_file(path)


class TestDict(StoreContract):
    @pytest.fixture
    def store(self):
        return MappingStore({})


class TestDictOfOtherBuffers(StoreContract):
    @pytest.fixture
    def store(self):
        return MappingStore(KeepsByteArrays())


class KeepsByteArrays(dict):
    """A mapping whose values are buffers, but not bytes."""

    def __setitem__(self, key, value):
        super().__setitem__(key, bytearray(value))


class TestZarrPythonMemory(StoreContract):
    @pytest.fixture
    def store(self):
        import zarr

        return locate(zarr.storage.MemoryStore()).store


class TestFSMapWithExceptionsOfItsOwn(StoreContract):
    @pytest.fixture
    def store(self, memory_root):
        mapping = fsspec.get_mapper("memory:/" + memory_root, missing_exceptions=(FileNotFoundError, PermissionError))
        store = open_store(mapping)
        assert store.missing == (FileNotFoundError, PermissionError)
        return store


class TestFSMapOfLocalFiles(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        store = open_store(fsspec.get_mapper(str(tmp_path / "folder")))
        assert isinstance(store, LocalStore)
        return store


class TestLocal(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        store = LocalStore(str(tmp_path / "not" / "there" / "yet"))
        assert isinstance(store, ReadIntoStore)
        return store


class TestLocalWithoutUnnamedFiles(StoreContract):
    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        monkeypatch.setattr("daskzarr.stores.local.store.UNNAMED", 0)
        return LocalStore(str(tmp_path))


class TestMemoryFilesystem(StoreContract):
    @pytest.fixture
    def store(self, memory_root):
        return open_store("memory:/" + memory_root)


class TestMemoryFilesystemTop(StoreContract):
    """A store without a root folder."""

    @pytest.fixture
    def store(self, memory_root):
        from fsspec.implementations.dirfs import DirFileSystem

        return FilesystemStore(DirFileSystem(memory_root, fsspec.filesystem("memory")), "", "dir://top")


class TestChainedDir(StoreContract):
    @pytest.fixture
    def store(self, memory_root):
        return open_store("dir::memory:/" + memory_root)


class TestSimpleCache(StoreContract):
    protocols = (Store,)
    test_threads_that_read_the_same = None  # fsspec shows a file that another thread is still filling

    @pytest.fixture
    def store(self, memory_root, tmp_path):
        self.origin = open_store("memory:/" + memory_root)
        options = {"simplecache": {"cache_storage": str(tmp_path)}}
        return open_store("simplecache::memory:/" + memory_root, storage_options=options)

    def seed(self, store, values):
        for key, value in values.items():
            self.origin.set(key, value)


class TestWebServer(StoreContract):
    protocols = (Store,)

    @pytest.fixture
    def store(self):
        self.values = {}
        with WebServer(self.values) as server:
            yield open_store(server.url + "/data")

    def seed(self, store, values):
        self.values.update({f"data/{key}": value for key, value in values.items()})


class TestHttpServerOfPython(StoreContract):
    """The server of the standard library, which knows no ranges."""

    protocols = (Store,)
    big = 4 * 2**20  # each part comes with the whole

    @pytest.fixture
    def store(self, tmp_path):
        self.origin = LocalStore(str(tmp_path))
        server = PatientServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path)))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield open_store(f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
        thread.join()
        server.server_close()

    def seed(self, store, values):
        for key, value in values.items():
            self.origin.set(key, value)


class PatientServer(ThreadingHTTPServer):
    request_queue_size = 256  # many connections come at once

    def handle_error(self, request, client_address):
        pass


class QuietHandler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def list_directory(self, path):
        self.send_error(404)  # a page that lists a folder is no value

    def log_message(self, format, *args):
        pass


class TestRecordingDict(StoreContract):
    @pytest.fixture
    def store(self):
        store = RecordingStore(MappingStore({}))
        assert not isinstance(store, ReadIntoStore)
        return store


class TestRecordingLocal(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        store = RecordingStore(LocalStore(str(tmp_path)))
        assert isinstance(store, ReadIntoStore)
        return store


class TestFaultyWithoutFaults(StoreContract):
    @pytest.fixture
    def store(self):
        return FaultyStore(MappingStore({}), {})
