"""SFTP keeps the contract through fsspec's own file system (paramiko) and through sshfs (asyncssh)."""

import os
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import fsspec
import pytest

from daskzarr.stores.remote.placing import own_of_thread
from daskzarr.stores.retries import persist
from daskzarr.testing import StoreContract

from .rounds import address
from .writers import check_killed_writers, new_store


class SFTPContract(StoreContract):
    big = 6 * 2**20

    @pytest.fixture
    def store(self):
        place = address("SFTP")
        self.secrets = (place.options["key_filename"],)
        store = new_store(self.client, place)
        yield store
        store.delete_below("")

    def test_killed_writers(self, store):
        check_killed_writers(self.client, address("SFTP"), store)

    def test_links_are_followed(self, store):
        """Where the server's files can be reached: data are often linked from another disk."""
        store.set("true/a", b"1")
        if not os.path.isdir(store.root):
            pytest.skip("the server's files are elsewhere")
        os.symlink(f"{store.root}/true", f"{store.root}/linked")
        os.symlink(f"{store.root}/true/a", f"{store.root}/true/b")
        os.symlink(f"{store.root}/nothing", f"{store.root}/true/c")
        assert (store.get("linked/a"), store.get("true/b"), store.get("true/c")) == (b"1", b"1", None)
        assert set(store.list_dir("").prefixes) == {"true", "linked"}
        assert store.list_dir("linked").keys == ("a", "b")
        store.delete_below("linked")
        assert store.get("true/a") in (None, b"1")

    def test_forty_threads(self, store):
        """More than one connection has channels for."""
        with ThreadPoolExecutor(40) as pool:
            list(pool.map(lambda i: store.set(f"{i % 5}/{i}", b"%d" % i * 1000), range(200)))
            assert list(pool.map(lambda i: store.get(f"{i % 5}/{i}"), range(200))) == [
                b"%d" % i * 1000 for i in range(200)
            ]

    def test_a_lost_connection_is_made_again(self, store):
        """One that is lost while nothing is asked of it costs one failed request at most."""
        store.set("a", b"1")
        for use in (lambda: store.get("a"), lambda: store.set("a", b"1"), lambda: store.list_dir("").keys):
            self.lose_connection(store.fs)
            first, second = persist(use), use()
            assert first == second
        assert (store.get("a"), store.list_dir("").keys) == (b"1", ("a",))


@pytest.mark.skipif(find_spec("paramiko") is None, reason="paramiko is not installed")
class TestParamiko(SFTPContract):
    client = "paramiko"

    @staticmethod
    def lose_connection(fs):
        own_of_thread(fs).client.get_transport().sock.close()


@pytest.mark.skipif(find_spec("sshfs") is None, reason="sshfs is not installed")
class TestSSHFS(SFTPContract):
    client = "asyncssh"

    @staticmethod
    def lose_connection(fs):
        fs.loop.call_soon_threadsafe(fs.client.abort)

    def test_it_has_the_name_where_it_is_installed(self):
        """So options have to be its own, not paramiko's."""
        assert fsspec.get_filesystem_class("sftp") is fsspec.get_filesystem_class("ssh")
        assert fsspec.get_filesystem_class("sftp").__module__ == "sshfs.spec"
