"""A kind of store -> a place of its own in it, what lies there by another client, and a round of writes and reads."""

import contextlib
import dbm
import json
import os
import pickle
import sqlite3
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import fsspec
import numpy as np
import pytest

import daskzarr
from daskzarr.testing import distinct_values

LENGTH = 36
VALUES = distinct_values((41, 31), "i4", 1)  # of which the last five rows are appended
REGION = (slice(3, 25), slice(5, 20))
OTHERS = distinct_values((22, 15), "i4", 10_000)
WIDE = distinct_values((30, 20), "f8", 20_000)
EXPECTED = VALUES.copy()
EXPECTED[REGION] = OTHERS
FORMS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2, "chunks": (10, 8)},
    "v3 sharded": {"zarr_format": 3, "chunks": (5, 4), "shards": (20, 16)},
    "n5": {"zarr_format": "n5", "chunks": (10, 8)},
}
ZARR = ("v2", "v3 sharded")
DATABASE = "daskzarr-rounds"


@dataclass(frozen=True)
class Place:
    """What a user passes to name a place: a URL with its options, or an object."""

    url: Any
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of store.

    ``at`` names a new place in a folder, or on a server. ``contents`` reads all keys and values of a place by a client
    that is not daskzarr's. ``processes``: what other processes than the one that made it may do. ``zarr``: the forms
    that zarr-python reads at the very place.
    """

    name: str
    at: Callable[[Place, str], Place]
    contents: Callable[[Place], dict[str, bytes]]
    server: str = ""
    modules: tuple[str, ...] = ()
    processes: str = "write"
    zarr: tuple[str, ...] = ()

    def place(self, folder):
        """A new place of this kind."""
        return self.at(address(self.server) if self.server else Place(str(folder)), unique())

    def require(self):
        """Skip what needs a server that was not started, or a package that is not installed."""
        if self.server:
            address(self.server)
        for module in self.modules:
            if find_spec(module) is None:
                pytest.skip(f"{module} is not installed")


def address(server):
    """The place a server offers; without it the test is skipped."""
    line = os.environ.get(f"DASKZARR_TEST_{server}")
    if not line:
        pytest.skip(f"needs a server: ci/services {server.lower()}")
    return as_place(line)


def as_place(line):
    """A place from its URL and options as a server's script prints them."""
    url, _, options = line.partition(" ")
    return Place(url, json.loads(options))


def unique():
    """A name that no other test uses."""
    return f"rounds-{uuid.uuid4().hex[:12]}"


# ---- places


def folder(base, name):
    """A folder at a path or URL."""
    return Place(f"{base.url.rstrip('/')}/{name}", base.options)


def by_fsspec(base, name):
    """The same, by fsspec's file system for the URL: obstore may be preferred to it otherwise."""
    return Place(f"fsspec::{base.url}/{name}", base.options)


def in_file(form):
    """A file in a folder."""
    return lambda base, name: Place(form.format(f"{base.url}/{name}"))


def in_memory_of_obstore(base, name):
    """A client of obstore itself."""
    from obstore.store import MemoryStore

    return Place(MemoryStore())


def under_prefix(base, name):
    """Keys of a database of Redis that begin alike."""
    return Place(f"{base.url}?prefix={name}")


def in_collection(base, name):
    """A collection of MongoDB."""
    return Place(f"{base.url.replace('/?', f'/{DATABASE}?')}&collection={name}")


def by_paramiko(base, name):
    """A folder on an SFTP server, as fsspec reaches it where no other package takes the URL over."""
    from fsspec.implementations.sftp import SFTPFileSystem

    fs = SFTPFileSystem(**base.options)
    return Place(fs.get_mapper(f"{fs._strip_protocol(base.url)}/{name}"))


def by_sshfs(base, name):
    """A folder on an SFTP server, as the package sshfs reaches it."""
    kept = {key: base.options[key] for key in ("host", "port", "username")}
    own = {"client_keys": [base.options["key_filename"]], "known_hosts": None}
    return Place(f"{base.url}/{name}", kept | own)


def by_pyarrow(base, name):
    """A folder of HDFS, as pyarrow reaches it, through Java."""
    from fsspec.implementations.arrow import HadoopFileSystem

    fs = HadoopFileSystem(**base.options, user=os.environ.get("USER", "root"))
    return Place(fs.get_mapper(f"/daskzarr/{name}"))


class FolderMapping(MutableMapping):
    """A mapping that keeps its values in files: like those people wrap around a database of theirs."""

    def __init__(self, folder):
        self.folder = folder

    def __getitem__(self, key):
        try:
            return (Path(self.folder) / key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyError(key) from None

    def __setitem__(self, key, value):
        path = Path(self.folder) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{uuid.uuid4().hex}")
        unfinished.write_bytes(value)
        unfinished.replace(path)

    def __delitem__(self, key):
        try:
            (Path(self.folder) / key).unlink()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __iter__(self):
        return iter(folder_contents(self.folder))

    def __len__(self):
        return len(folder_contents(self.folder))


# ---- what lies in a place, by another client


def folder_contents(folder):
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def fsspec_contents(place):
    """All files below a URL."""
    url = place.url.removeprefix("fsspec::")
    fs, root = fsspec.core.url_to_fs(url, **place.options or {}, skip_instance_cache=True)
    return {path[len(root.rstrip("/")) + 1 :]: fs.cat_file(path) for path in fs.find(root)}


def sftp_contents(place):
    """All files below the folder that SFTP leads to: it is on this machine."""
    return folder_contents(place.url.root)


def pyarrow_contents(place):
    """All files below a folder of HDFS, by another client."""
    return fsspec_contents(Place(f"{address('HDFS').url}/{place.url.root.rpartition('/')[2]}", address("HDFS").options))


def zip_contents(place):
    """All entries of a zip file; the last of a name counts."""
    with zipfile.ZipFile(place.url) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def sqlite_contents(place):
    """All rows of the table."""
    with contextlib.closing(sqlite3.connect(place.url.removeprefix("sqlite:///"))) as connection:
        return {key: bytes(value) for key, value in connection.execute("SELECT k, v FROM zarr")}


def lmdb_contents(place):
    """All entries, by a process of its own: LMDB is opened once in a process."""
    program = (
        "import lmdb, pickle, sys; env = lmdb.open(sys.argv[1], readonly=True, subdir=True); "
        "sys.stdout.buffer.write(pickle.dumps({k.decode(): v for k, v in env.begin().cursor()}))"
    )
    command = [sys.executable, "-c", program, place.url.removeprefix("lmdb://")]
    return pickle.loads(subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout)


def dbm_contents(place):
    """All entries, of a database that is finished."""
    with dbm.open(place.url.removeprefix("dbm://"), "r") as database:
        return {key.decode(): database[key] for key in database.keys()}  # noqa: SIM118


def obstore_contents(place):
    """All objects that a client of obstore lists."""
    import obstore

    return {each["path"]: bytes(place.url.get(each["path"]).bytes()) for each in obstore.list(place.url).collect()}


def redis_contents(place):
    """All keys that begin with the prefix."""
    import redis

    url, _, prefix = place.url.partition("?prefix=")
    with redis.Redis.from_url(url) as client:
        return {key.decode()[len(prefix) + 1 :]: client.get(key) for key in client.scan_iter(f"{prefix}:*", count=1000)}


def mongodb_contents(place):
    """All documents of the collection: none of these values is in parts."""
    import pymongo

    url, _, collection = place.url.partition("&collection=")
    with pymongo.MongoClient(url) as client:
        return {each["_id"]: each["value"] for each in client[DATABASE][collection].find()}


def listed(*kinds):
    """Kinds by name."""
    return {kind.name: kind for kind in kinds}


KINDS = listed(
    Kind("local", folder, lambda place: folder_contents(place.url), zarr=ZARR),
    Kind("dict", lambda base, name: Place({}), lambda place: dict(place.url), processes="nothing"),
    Kind(
        "mapping",
        lambda base, name: Place(FolderMapping(f"{base.url}/{name}")),
        lambda place: folder_contents(place.url.folder),
    ),
    Kind("memory", lambda base, name: Place(f"memory://{name}"), fsspec_contents, processes="nothing", zarr=ZARR),
    Kind("zip", in_file("{}.zip"), zip_contents, processes="read"),
    Kind("sqlite", in_file("sqlite:///{}.db"), sqlite_contents),
    Kind("lmdb", in_file("lmdb://{}.lmdb"), lmdb_contents, modules=("lmdb",)),
    Kind("dbm", in_file("dbm://{}"), dbm_contents, processes="read"),
    Kind("obstore", in_memory_of_obstore, obstore_contents, modules=("obstore",), processes="nothing"),
    Kind("redis", under_prefix, redis_contents, "REDIS", ("redis",)),
    Kind("mongodb", in_collection, mongodb_contents, "MONGODB", ("pymongo",)),
    Kind("s3", folder, fsspec_contents, "S3", ("s3fs",), zarr=ZARR),
    Kind("s3 by s3fs", by_fsspec, fsspec_contents, "S3", ("s3fs",)),
    Kind("s3_moto", folder, fsspec_contents, "S3_MOTO", ("s3fs",), zarr=ZARR),
    # zarr-python asks for the end of a shard by a range that Azure does not know.
    Kind("azure", folder, fsspec_contents, "AZURE", ("adlfs",), zarr=("v2",)),
    Kind("azure by adlfs", by_fsspec, fsspec_contents, "AZURE", ("adlfs",)),
    Kind("gcs", folder, fsspec_contents, "GCS", ("gcsfs",), zarr=ZARR),
    Kind("hdfs", folder, fsspec_contents, "HDFS", ("hdfs_native",)),
    Kind("hdfs by pyarrow", by_pyarrow, pyarrow_contents, "HDFS", ("pyarrow", "hdfs_native")),
    Kind("webhdfs", folder, fsspec_contents, "WEBHDFS"),
    Kind("sftp by paramiko", by_paramiko, sftp_contents, "SFTP", ("paramiko",)),
    Kind("sftp by sshfs", by_sshfs, fsspec_contents, "SFTP", ("sshfs",)),
)


# ---- a round


def write_round(place, form, append=daskzarr.append):
    """An array in a group, a region of it, rows appended to it, another array, and all documents in one."""
    how = FORMS[form]
    first = da.from_array(VALUES[:LENGTH], chunks=(17, 9))
    daskzarr.to_zarr(first, place.url, "g/a", place.options, attributes={"form": form}, **how)
    daskzarr.to_zarr(da.from_array(OTHERS, chunks=(7, 7)), place.url, "g/a", place.options, region=REGION, mode="r+")
    append(da.from_array(VALUES[LENGTH:], chunks=(3, 31)), place.url, "g/a", place.options, at=LENGTH)
    daskzarr.to_zarr(da.from_array(WIDE, chunks=(30, 6)), place.url, "g/b", place.options, **how)
    if form != "n5":
        daskzarr.consolidate(place.url, storage_options=place.options)


def grow_first(rows, url, component, options, at):
    """What takes the place of ``append`` in a store that takes no chunk outside of its array."""
    daskzarr.resize(url, component, shape=VALUES.shape, storage_options=options)
    daskzarr.to_zarr(rows, url, component, options, region=(slice(at, None),), mode="r+")


def read_round(place, form):
    """What a round wrote is read, in blocks of stored objects and in others, and looked over."""
    read = lambda *path, **how: daskzarr.from_zarr(place.url, *path, storage_options=place.options, **how)  # noqa: E731
    np.testing.assert_array_equal(read("g/a").compute(), EXPECTED)
    np.testing.assert_array_equal(read("g/a", chunks=(13, 31))[::-3, 4].compute(), EXPECTED[::-3, 4])
    assert read("g/b", chunks="auto").sum().compute() == WIDE.sum()
    group = daskzarr.open_group(place.url, storage_options=place.options, consolidated=form != "n5")
    assert group["g/a"].attrs["form"] == form
    assert group["g/a"].shape == EXPECTED.shape


def check_store(place, form):
    """The store lists what it has, nothing is missing or torn, and what is deleted is gone."""
    report = daskzarr.verify(place.url, storage_options=place.options, level="digest")
    assert report.ok, str(report)
    assert set(report.reports) == {"g/a", "g/b"}
    whole = {"v2": 20 + 9, "v3 sharded": 6 + 4, "n5": 20 + 9}[form]
    assert sum(each.stored for each in report.reports.values()) == whole
    daskzarr.delete_node(place.url, "g/b", storage_options=place.options)
    with pytest.raises(daskzarr.NodeNotFoundError):
        daskzarr.open_array(place.url, "g/b", storage_options=place.options)
    if form != "n5":  # of which any folder is a group, and SeaweedFS lists folders that are empty by now
        assert list(daskzarr.open_group(place.url, "g", storage_options=place.options)) == ["a"]


def check_with_others(contents, form, folder):
    """Other implementations read the keys and values, put into files, as the same array."""
    for key, value in contents.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)
    np.testing.assert_array_equal(read_by_tensorstore(folder / "g" / "a", form), EXPECTED)
    if form != "n5":
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(folder, mode="r", use_consolidated=True)
        np.testing.assert_array_equal(group["g/a"][...], EXPECTED)


def read_by_tensorstore(path, form):
    """An array in files, read by tensorstore, which counts the axes of N5 from the other end."""
    tensorstore = pytest.importorskip("tensorstore")
    driver = {"v2": "zarr", "v3 sharded": "zarr3", "n5": "n5"}[form]
    found = tensorstore.open({"driver": driver, "kvstore": {"driver": "file", "path": str(path)}}).result()
    return found.read().result().T if form == "n5" else found.read().result()


def check_with_zarr_python(place, form):
    """zarr-python opens the very place, and finds the same."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(place.url, mode="r", storage_options=place.options, use_consolidated=True)
    np.testing.assert_array_equal(group["g/a"][...], EXPECTED)
    assert dict(group["g/a"].attrs) == {"form": form}


# ---- a write that takes long enough for a process to be killed in the middle of it

SLOW = distinct_values((100, 60), "f8", 50_000)
BLOCKS = 150


def slowly(block, log, pause):
    """A step that takes a while, and notes that it was done."""
    time.sleep(pause)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"done\n")
    os.close(descriptor)
    return block + 1


def blocks_done(log):
    """How many blocks were computed."""
    return Path(log).read_bytes().count(b"\n") if Path(log).exists() else 0


def write_slowly(place, log, *, resume="auto", durability="close", pause=0.04):
    """Write an array of 150 blocks and objects, or go on with that."""
    x = da.from_array(SLOW, chunks=(10, 4)).map_blocks(slowly, log=str(log), pause=pause, dtype="f8", meta=SLOW[:0])
    daskzarr.to_zarr(x, place.url, "a", place.options, resume=resume, durability=durability, compressors=None)


def check_slow_write(place):
    """Every cell and every byte is what was to be written."""
    found = daskzarr.from_zarr(place.url, "a", place.options, chunks="auto").compute()
    np.testing.assert_array_equal(found, SLOW + 1)
    report = daskzarr.verify(place.url, "a", storage_options=place.options, level="digest")
    assert report.ok, str(report)
    assert (report.stored, report.orphaned) == (BLOCKS, ())


if __name__ == "__main__":  # URL, options and log of a write in a process of its own
    with dask.config.set(scheduler="threads", num_workers=4):
        write_slowly(Place(sys.argv[1], json.loads(sys.argv[2])), sys.argv[3])
