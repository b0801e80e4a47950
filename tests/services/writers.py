"""A file system on a server -> what others see of it while a process writes to it, and is killed."""

import json
import random
import signal
import subprocess
import sys
import time
import uuid

from daskzarr.stores import FilesystemStore
from daskzarr.stores.remote.placing import is_partial

OLD, NEW = b"old value" * 1000, bytes(range(256)) * 2**16  # 16 MiB: long enough to be killed in


def native(options):
    """hdfs-native's file system, whatever else has the name ``hdfs://``."""
    from hdfs_native.fsspec import HdfsFileSystem

    return HdfsFileSystem(**options)


def arrow(options):
    """pyarrow's file system, through Java, though hdfs-native has the name ``hdfs://`` where it is installed."""
    from fsspec.implementations.arrow import HadoopFileSystem

    return HadoopFileSystem(**options, user="root")


def webhdfs(options):
    """fsspec's WebHDFS."""
    from fsspec.implementations.webhdfs import WebHDFS

    return WebHDFS(**options)


def paramiko(options):
    """fsspec's SFTP, though sshfs has the name ``sftp://`` where it is installed."""
    from fsspec.implementations.sftp import SFTPFileSystem

    return SFTPFileSystem(**options)


def asyncssh(options):
    """sshfs' file system, which takes options of its own."""
    from sshfs.spec import SSHFileSystem

    login = {name: options[name] for name in ("host", "port", "username")}
    return SSHFileSystem(**login, client_keys=[options["key_filename"]], known_hosts=None)


CLIENTS = {client.__name__: client for client in (native, arrow, webhdfs, paramiko, asyncssh)}


def new_store(client, place):
    """A store in a folder of its own of a place."""
    fs, name = CLIENTS[client](place.options), f"{client}-{uuid.uuid4().hex[:12]}"
    root = "/" + place.url.split("://")[1].partition("/")[2]
    return FilesystemStore(fs, f"{root}/{name}", f"{place.url}/{name}")


def check_killed_writers(client, place, store, times=5):
    """Processes that replace a value and add others are killed: all that can be seen is whole, and can be swept."""
    store.set("old", OLD)
    for _ in range(times):
        command = [sys.executable, __file__, client, json.dumps(place.options), store.root, store.url]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(random.uniform(0.01, 0.2))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        seen = store.list_dir("").keys
        assert "old" in seen
        assert not any(is_partial(name) for name in seen)
        assert bytes(store.get("old")) in (OLD, NEW)
        for name in seen:
            assert name == "old" or store.get(name) == NEW
    for name in list(store.leftovers("")):
        store.delete(name)
    assert list(store.leftovers("")) == []


def write_until_killed(client, options, root, url):
    """Replace one value, and add others."""
    store = FilesystemStore(CLIENTS[client](json.loads(options)), root, url)
    store.get("old")
    print("ready", flush=True)
    while True:
        store.set("old", NEW)
        store.set(uuid.uuid4().hex, NEW)


if __name__ == "__main__":
    write_until_killed(*sys.argv[1:])
