"""A zip file as a store: the contract, files of other programs, damage, one writing process, what readers see."""

import io
import multiprocessing
import os
import pickle
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from shutil import which

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daskzarr.byte_range import ByteRange
from daskzarr.errors import CodecError, DaskZarrError, MetadataError, StoreError, UnsupportedError
from daskzarr.stores import LocalStore, Location, beside, open_store
from daskzarr.stores.zip import ZipStore
from daskzarr.stores.zip import archive as zip_archive
from daskzarr.stores.zip import records as zip_records
from daskzarr.stores.zip import session as zip_session
from daskzarr.stores.zip.index import Index
from daskzarr.stores.zip.open_file import OpenFile
from daskzarr.stores.zip.records import Entry
from daskzarr.testing import StoreContract


class TestZip(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return ZipStore(str(tmp_path / "not" / "there" / "a.zip"))

    def test_what_another_process_writes_is_seen(self, store, elsewhere):
        """As for every store; but it has to be opened there, as one that was sent there can only be read."""
        self.seed(store, {"a/b": b"old", "a/c": b"old and longer", "a/d": b"goes"})
        store.finish()
        keys = ["a/b", "a/c", "a/d", "a/e", "f/g/h"]
        assert list(store.get_many(keys)) == [b"old", b"old and longer", b"goes", None, None]
        new = {"a/b": b"new", "a/c": b"short", "a/e": b"added", "f/g/h": b"deep"}
        elsewhere(write, store.path, new, ["a/d"])
        assert list(store.get_many(keys)) == [b"new", b"short", None, b"added", b"deep"]
        assert set(store.list_dir("a").keys) == {"b", "c", "e"}
        assert store.list_dir("").prefixes == ("a", "f")


class TestZipOfManySessions(StoreContract):
    """Each change is finished, and there is room for little."""

    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        monkeypatch.setattr(zip_session, "_ROOM", 1)
        monkeypatch.setattr(zip_session, "_MOST_ROOM", 1000)
        return ZipStore(str(tmp_path / "a.zip"))

    def seed(self, store, values):
        for key, value in values.items():
            store.set(key, value)
            store.finish()

    test_get_many_of_many = None  # a thousand directories
    test_what_another_process_writes_is_seen = None
    test_another_process_reads_what_was_written = None
    test_a_forked_process_works_or_raises = None


@pytest.fixture(scope="module")
def elsewhere():
    """Calls a function in another process, always the same one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield lambda function, *args: pool.submit(function, *args).result(60)


def write(path, values, gone=()):
    """Write in a process, and finish."""
    store = ZipStore(path)
    for key, value in values.items():
        store.set(key, value)
    for key in gone:
        store.delete(key)
    store.finish()


def zip_of(path, values, **options):
    """A zip file made by Python's own module."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for key, value in values.items():
            archive.writestr(key, value)
    return ZipStore(str(path))


def listed(path):
    """What Python's own module finds in a zip file whose checksums hold."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def contents(store):
    return {key: bytes(store.get(key)) for key, _ in store.survey("")}


@pytest.fixture
def store(tmp_path):
    return ZipStore(str(tmp_path / "a.zip"))


# Opening


def test_a_path_that_ends_in_zip_is_opened_as_a_zip_file(tmp_path):
    path = str(tmp_path / "a.zip")
    store = open_store(path)
    assert store == ZipStore(path) == open_store("file://" + path) == open_store("zip://" + path)
    assert store.url == "file://" + path
    assert open_store(store.url) == store
    assert type(open_store(str(tmp_path / "a.zarr"))) is LocalStore
    odd = open_store(f"zip://{tmp_path}/a.zarr")
    assert (type(odd), odd.url) == (ZipStore, f"zip://{tmp_path}/a.zarr")
    os.mkdir(path)
    assert type(open_store(path)) is LocalStore


def test_options_and_urls_that_are_not_known_are_refused(tmp_path):
    assert open_store(str(tmp_path / "a.zip"), storage_options={"checksums": False}).checksums is False
    for options in ({"compression": 8}, {"checksums": 1}, {"checksums": "no", "a": 1}):
        with pytest.raises(MetadataError, match="checksums"):
            open_store(str(tmp_path / "a.zip"), storage_options=options)
    for url in ("zip://", "zip:///a.zip?b=1", "zip:///a.zip#b", "a\0.zip"):
        with pytest.raises(MetadataError):
            open_store(url)


def test_links_to_one_file_are_one_store(tmp_path):
    os.symlink(tmp_path / "a.zip", tmp_path / "b.zip")
    one, two = ZipStore(str(tmp_path / "a.zip")), ZipStore(str(tmp_path / "b.zip"))
    assert one == two
    two.set("a", b"1")
    assert one.get("a") == b"1"
    assert os.path.islink(tmp_path / "b.zip")


def test_reading_makes_nothing(tmp_path):
    store = ZipStore(str(tmp_path / "b" / "a.zip"))
    assert store.get("a") is None
    assert store.read_into("a", memoryview(bytearray(1))) is None
    store.delete("a")
    store.delete_below("")
    store.finish()
    store.compact()
    assert os.listdir(tmp_path) == []


def test_the_place_beside_it_is_a_folder(tmp_path):
    store = ZipStore(str(tmp_path / "a.zip"))
    assert beside(Location(store, "x")) == Location(LocalStore(str(tmp_path / "a.zip.daskzarr")), "x")


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip file", b"x" * 100_000, b"PK\3\4" + b"x" * 1000])
def test_what_is_no_zip_file_is_an_error(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    store = ZipStore(str(path))
    for use, args in ((store.get, ["a"]), (store.set, ["a", b"1"]), (store.list_dir, [""]), (store.create, ["a", b""])):
        with pytest.raises(StoreError, match=r"no zip file|cut off") as caught:
            use(*args)
        assert caught.value.url == f"file://{path}"
    assert path.read_bytes() == content


def test_a_folder_is_no_zip_file(tmp_path):
    with pytest.raises(StoreError, match="folder"):
        ZipStore(str(tmp_path)).get("a")
    with pytest.raises(OSError, match="directory"):
        ZipStore(str(tmp_path)).set("a", b"1")


# Files of other programs

_VALUES = {"a": b"one" * 1000, "b/c": b"", "b/d": os.urandom(5000), "\u00fcn\u00ef/\u65e5": b"odd", "x y [*]": b"1"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_reads_what_zipfile_wrote(tmp_path, method):
    store = zip_of(tmp_path / "a.zip", _VALUES, compression=method)
    assert contents(store) == _VALUES
    for key, value in _VALUES.items():
        assert store.size(key) == len(value)
        wanted = [ByteRange(1, 3), ByteRange(-2), ByteRange(4000, 2000), ByteRange(0)]
        assert store.get_ranges(key, wanted) == [part.of(value) for part in wanted]
        memory = bytearray(len(value) + 1)
        assert store.read_into(key, memoryview(memory)) == len(value)
        assert memory == value + b"\0"
    store.set("b/d", b"new")
    store.set("new", b"2")
    store.finish()
    assert listed(store.path) == {**_VALUES, "b/d": b"new", "new": b"2"}


def test_reads_entries_whose_sizes_follow_them(tmp_path):
    class NoSeek(io.FileIO):
        def seekable(self):
            return False

        def seek(self, *args):
            raise io.UnsupportedOperation

        def tell(self):
            raise io.UnsupportedOperation

    with NoSeek(str(tmp_path / "a.zip"), "w") as raw:
        zip_file = zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED)
        zip_file.writestr("a", b"123" * 100)
        with zip_file.open(zipfile.ZipInfo("b"), "w", force_zip64=True) as entry:
            entry.write(b"456")
        zip_file.close()
    assert contents(ZipStore(str(tmp_path / "a.zip"))) == {"a": b"123" * 100, "b": b"456"}


def test_folders_and_names_that_no_key_can_be_are_no_values_and_stay(tmp_path):
    path = tmp_path / "a.zip"
    names = ["a/", "a/b", "/a/c", "d//e", "/", "f/g/", "/h"]
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"" if name.endswith("/") else b"1")
    store = ZipStore(str(path))
    assert contents(store) == {"a/b": b"1"}
    assert store.list_dir("") == ((), ("a",))
    assert [store.get(key) for key in ("h", "/h", "a/c", "d//e", "a/", "")] == [None] * 6
    store.set("a/b", b"2")
    store.finish()
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == sorted(names)
        assert archive.read("/a/c") == b"1"


def test_the_last_of_doubled_names_counts(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("b", b"2")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"3")
    store = ZipStore(str(path))
    assert contents(store) == {"a": b"3", "b": b"2"}
    store.delete("a")
    store.finish()
    assert listed(path) == {"b": b"2"}


def test_names_in_the_old_code_of_dos_and_beside_it_in_utf8(tmp_path):
    name = "\u00e9t\u00e9".encode("cp437")
    path = tmp_path / "a.zip"
    extra = struct.pack("<2HBL", 0x7075, 5 + 7, 1, zlib.crc32(b"n\x82e")) + "n\u0113\u65e5x".encode()[:7]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("QQQ", b"1")
        info = zipfile.ZipInfo("RRR")
        info.extra = extra
        archive.writestr(info, b"2")
    data = path.read_bytes().replace(b"QQQ", name).replace(b"RRR", b"n\x82e")
    path.write_bytes(data)
    store = ZipStore(str(path))
    assert contents(store) == {"\u00e9t\u00e9": b"1", "n\u0113\u65e5x": b"2"}
    store.set("\u00e9t\u00e9", b"3")
    store.finish()
    assert contents(ZipStore(str(path))) == {"\u00e9t\u00e9": b"3", "n\u0113\u65e5x": b"2"}
    assert len(zipfile.ZipFile(path).namelist()) == 2


def test_encrypted_and_unknown_entries_are_named_errors(tmp_path):
    zip_of(tmp_path / "a.zip", {"a": b"123", "b": b"456"})
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 8] |= 1  # encrypted
    other = data.index(b"PK\1\2", at + 1)
    data[other + 10] = 97  # WavPack
    data[data.index(b"PK\3\4", 4) + 8] = 97
    (tmp_path / "a.zip").write_bytes(data)
    store = ZipStore(str(tmp_path / "a.zip"))
    for read in (store.get, lambda key: store.get(key, ByteRange(0, 1)), lambda key: list(store.get_many([key]))):
        with pytest.raises(UnsupportedError, match="encrypted"):
            read("a")
        with pytest.raises(UnsupportedError, match="method 97"):
            read("b")
    assert store.list_dir("").keys == ("a", "b")
    store.set("c", b"789")
    store.finish()
    assert ZipStore(store.path).get("c") == b"789"


def test_a_comment_stays_and_may_look_like_an_end(tmp_path):
    comment = b"a" * 100 + b"PK\5\6" + bytes(18) + b"z" * 10
    path = tmp_path / "a.zip"
    store = zip_of(path, {"a": b"1"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = comment
    assert store.get("a") == b"1"
    store.set("b", b"2")
    assert comment + b" daskzarr writes here: " in path.read_bytes()
    store.finish()
    assert path.read_bytes().endswith(struct.pack("<H", len(comment)) + comment)
    assert contents(ZipStore(str(path))) == contents(store) == {"a": b"1", "b": b"2"}
    store = zip_of(path, {"a": b"1", "b": b"2"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"a" * 65535
    assert contents(store) == {"a": b"1", "b": b"2"}
    with pytest.raises(UnsupportedError, match="comment"):
        store.set("c", b"3")
    assert listed(path) == {"a": b"1", "b": b"2"}


def test_a_zip_file_behind_other_bytes(tmp_path):
    path = tmp_path / "a.zip"
    zip_of(path, {"a": b"1", "b": b"2"})
    path.write_bytes(b"#!/bin/sh\n" * 50 + path.read_bytes())
    store = ZipStore(str(path))
    assert contents(store) == {"a": b"1", "b": b"2"}
    store.set("b", b"3")
    store.set("c", b"4")
    store.finish()
    assert listed(path) == contents(ZipStore(str(path))) == {"a": b"1", "b": b"3", "c": b"4"}
    assert path.read_bytes().startswith(b"#!/bin/sh\n" * 50)


def test_bytes_behind_the_end_are_borne(tmp_path):
    path = tmp_path / "a.zip"
    zip_of(path, {"a": b"1"})
    path.write_bytes(path.read_bytes() + b"added" * 100)
    store = ZipStore(str(path))
    assert store.get("a") == b"1"
    assert store.create("a", b"2") is False
    store.set("b", b"2")
    store.finish()
    assert listed(path) == {"a": b"1", "b": b"2"}


def test_large_files_and_many_entries(tmp_path, monkeypatch):
    """Numbers that need eight bytes, brought about with small ones."""
    monkeypatch.setattr(zip_session, "_ROOM", 2**32)  # a hole
    monkeypatch.setattr(zip_session, "_MOST_ROOM", 2**33)
    path = tmp_path / "a.zip"
    store = ZipStore(str(path))
    store.set("a", b"1")
    store.finish()
    store.set("b", b"2")
    assert path.stat().st_size > 2**32
    assert listed(path) == {"a": b"1"}
    assert contents(store) == {"a": b"1", "b": b"2"}
    archive = zip_session_of(store)
    archive._at += 2**32  # as if so much had been appended
    store.set("c", b"3")
    store.finish()
    assert path.stat().st_size > 2**32
    assert listed(path) == contents(ZipStore(str(path))) == {"a": b"1", "b": b"2", "c": b"3"}
    store.set("d", b"4")
    store.delete("a")
    store.finish()
    assert listed(path) == {"b": b"2", "c": b"3", "d": b"4"}
    store.compact()
    assert path.stat().st_size < 1000
    assert listed(path) == {"b": b"2", "c": b"3", "d": b"4"}


def zip_session_of(store):
    return store._archive._session


def test_more_entries_than_two_bytes_count(tmp_path):
    """Also where a program has counted in two bytes nevertheless."""
    path = tmp_path / "a.zip"
    value = zip_records.local_header(b"0/0", 0, 1, zlib.crc32(b"x"), 0) + b"x"
    names = [b"%d/%d" % (i % 100, i) for i in range(65_600)]
    records = [zip_records.central_record(name, Entry(0, 1, 1, zlib.crc32(b"x"), 0, 0, 3), 0) for name in names]
    directory = b"".join(records)
    for count in (65_600, 65_600 - 65_536):
        path.write_bytes(value + directory + zip_records.end_records(count, len(value), len(directory), 0, b""))
        store = ZipStore(str(path))
        assert len(list(store.survey(""))) == 65_600
        assert len(store.list_dir("7").keys) == 656
        store.set("0/100", b"new")
        store.delete("0/200")
        store.finish()
        with zipfile.ZipFile(path) as archive:
            assert len(archive.namelist()) == 65_599
            assert archive.read("0/100") == b"new"


def test_a_value_of_more_than_four_bytes_can_count():
    header = zip_records.local_header(b"a", 0, 2**33, 5, 9)
    assert zip_records.appended(header, 9) == (b"a", 2**33, 5, len(header))
    entry = Entry(2**34, 2**33, 2**33, 5, 0, 0, 1)
    ((name, again, _, _),) = zip_records.entries_of(zip_records.central_record(b"a", entry, 0), 0)
    assert (name, again) == ("a", entry)
    shifted = zip_records.central_record(b"a", entry, 2**20)
    assert next(zip_records.entries_of(shifted, 2**20))[1] == entry


@pytest.mark.skipif(which("zip") is None or which("unzip") is None, reason="Info-ZIP is not installed")
def test_info_zip(tmp_path):
    folder = tmp_path / "files"
    for key, value in _VALUES.items():
        LocalStore(str(folder)).set(key, value)
    subprocess.run(["zip", "-q", "-r", "../a.zip", "."], cwd=folder, check=True)
    store = ZipStore(str(tmp_path / "a.zip"))
    assert contents(store) == _VALUES
    store.set("\u00fcn\u00ef/\u65e5", b"new")
    store.set("added/\u00e9", b"more")
    store.delete("a")
    store.finish()
    subprocess.run(["unzip", "-tq", store.path], check=True, capture_output=True)
    names = subprocess.run(["zipinfo", "-1", store.path], check=True, capture_output=True).stdout.splitlines()
    assert {b"b/c", b"x y [*]"} <= set(names)
    subprocess.run(["zip", "-q", "-d", store.path, "b/d"], check=True)
    assert contents(store) == {
        "b/c": b"",
        "\u00fcn\u00ef/\u65e5": b"new",
        "x y [*]": b"1",
        "added/\u00e9": b"more",
    }


# Damage


def test_damaged_values_are_errors(tmp_path):
    value = bytes(range(256)) * 40
    path = tmp_path / "a.zip"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        zip_of(path, {"a": value}, compression=method)
        data = bytearray(path.read_bytes())
        data[60] ^= 1
        path.write_bytes(data)
        store = ZipStore(str(path))
        for read in (
            lambda store=store: store.get("a"),
            lambda store=store: list(store.get_many(["a"])),
            lambda store=store: store.read_into("a", memoryview(bytearray(len(value)))),
        ):
            with pytest.raises(CodecError):
                read()
        if method == zipfile.ZIP_STORED:
            careless = ZipStore(str(path), checksums=False)
            assert careless.get("a") == careless.get("a", ByteRange(0)) != value
        else:
            with pytest.raises(CodecError):
                ZipStore(str(path), checksums=False).get("a", ByteRange(0, 1))


_PLACES = [(20, 10**9), (24, 3 * 10**9), (20, 5), (24, 5), (24, 201), (42, 10**9), (42, 7), (42, 2**32 - 1)]


def test_sizes_that_are_not_so_are_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_archive, "_WAIT", 0)
    path = tmp_path / "a.zip"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        for field, number in _PLACES:
            zip_of(path, {"a": bytes(100) + os.urandom(100)}, compression=method)
            data = bytearray(path.read_bytes())
            at = data.index(b"PK\1\2")
            data[at + field : at + field + 4] = struct.pack("<L", number)
            path.write_bytes(data)
            with pytest.raises((CodecError, StoreError)):
                ZipStore(str(path)).get("a")


def test_a_size_that_cannot_be_is_never_asked_for(tmp_path):
    path = tmp_path / "a.zip"
    zip_of(path, {"a": b"123"})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 20 : at + 28] = struct.pack("<2L", 2**31, 2**31)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="cannot lie where"):
        ZipStore(str(path)).get("a")


def test_a_directory_that_names_the_place_of_another_value_is_an_error(tmp_path):
    """Also for parts of values, which have no checksum of their own."""
    path = tmp_path / "a.zip"
    zip_of(path, {"a": b"123", "b": b"456"})
    data = bytearray(path.read_bytes())
    one = data.index(b"PK\1\2")
    two = data.index(b"PK\1\2", one + 1)
    data[one + 42 : one + 46], data[two + 42 : two + 46] = data[two + 42 : two + 46], data[one + 42 : one + 46]
    path.write_bytes(data)
    for key in "ab":
        with pytest.raises(CodecError, match="no such entry"):
            ZipStore(str(path), checksums=False).get(key, ByteRange(0, 1))


def test_a_finished_file_that_was_cut_off_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_archive, "_WAIT", 0)
    path = tmp_path / "a.zip"
    store = ZipStore(str(path))
    for turn in range(2):
        for key in ("a", "b/c", "d"):
            store.set(key, b"%d" % turn * 20)
        store.finish()
    data = path.read_bytes()
    other = tmp_path / "b.zip"
    for size in range(len(data)):
        other.write_bytes(data[:size])
        with pytest.raises(StoreError):
            ZipStore(str(other)).get("a")
        with pytest.raises(StoreError):
            ZipStore(str(other)).set("a", b"")
        assert other.read_bytes() == data[:size]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of ours and one of another program, and where to put damaged ones."""
    folder = tmp_path_factory.mktemp("files")
    store = ZipStore(str(folder / "a.zip"))
    store.set("a", b"123" * 20)
    store.set("b/c", bytes(50))
    store.finish()
    finished = (folder / "a.zip").read_bytes()
    zip_of(folder / "b.zip", {"a": b"789" * 30, "b/c": b""}, compression=zipfile.ZIP_DEFLATED)
    return {"finished": finished, "foreign": (folder / "b.zip").read_bytes(), "folder": folder}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_bytes_bring_another_error(files, data):
    zip_archive._WAIT, before = 0, zip_archive._WAIT
    try:
        damage_and_use(files, data)
    finally:
        zip_archive._WAIT = before


def damage_and_use(files, data):
    content = bytearray(files[data.draw(st.sampled_from(["finished", "foreign"]))])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        what = data.draw(
            st.sampled_from([b"", b"\xff", b"\xff" * 4, b"\0", b"\0\0", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"x"])
        )
        content[at : at + data.draw(st.integers(0, 4))] = what
    path = files["folder"] / "c.zip"
    path.write_bytes(content)
    store = ZipStore(str(path))
    try:
        for key, _ in store.survey(""):
            store.get(key, ByteRange(1, 5))
            store.read_into(key, memoryview(bytearray(100)))
        store.set("e", b"1")
        store.delete_below("b")
        store.finish()
    except DaskZarrError:
        assert path.read_bytes() == content or "e" not in dict(store.survey(""))


# What others see


def test_doubled_positions_are_told_apart_by_name(tmp_path):
    value = zip_records.local_header(b"a", 0, 1, zlib.crc32(b"x"), 0) + b"x"
    entry = Entry(0, 1, 1, zlib.crc32(b"x"), 0, 0, 1)
    directory = b"".join(zip_records.central_record(name, entry, 0) for name in (b"a", b"b", b"c"))
    path = tmp_path / "a.zip"
    path.write_bytes(value + directory + zip_records.end_records(3, len(value), len(directory), 0, b""))
    store = ZipStore(str(path))
    store.delete("b")
    store.set("c", b"new")
    store.finish()
    assert contents(ZipStore(str(path))) == contents(store) == {"a": b"x", "c": b"new"}


def test_others_see_all_or_nothing(store, elsewhere):
    store.set("a", b"1")
    assert listed(store.path) == {}
    assert elsewhere(contents, store) == {}
    store.finish()
    assert listed(store.path) == {"a": b"1"}
    store.set("a", b"2")
    store.set("b", b"3")
    store.delete("a")
    assert listed(store.path) == {"a": b"1"}
    assert contents(store) == {"b": b"3"}
    assert contents(pickle.loads(pickle.dumps(store))) == contents(ZipStore(store.path)) == {"b": b"3"}
    store.finish()
    assert listed(store.path) == {"b": b"3"}


def test_a_reader_keeps_up_with_a_writer(store, monkeypatch):
    """A process reads on and on while another one writes, in little room, and now and then finishes."""
    monkeypatch.setattr(zip_session, "_ROOM", 1)
    monkeypatch.setattr(zip_session, "_MOST_ROOM", 5000)
    store.set("turn", b"0")
    store.finish()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=read_on, args=(store.path, there), daemon=True)
    process.start()
    assert here.recv() == "ready"
    for turn in range(1, 60):
        for i in range(turn % 7):
            store.set(f"c/{i}", b"%d" % turn * 500)
        store.set("turn", b"%d" % turn)
        store.finish()
    here.send("done")
    assert here.poll(60)
    reads, last, error = here.recv()
    assert error is None
    assert (last, reads > 5) == (59, True)
    process.join(10)


def read_on(path, pipe):
    """Read in another process until told to end: what is read together was finished together or later."""
    store = ZipStore(path)
    pipe.send("ready")
    reads, last = 0, 0
    try:
        while True:
            done = pipe.poll()
            turn = int(store.get("turn"))
            assert turn >= last, (turn, last)
            last = turn
            for i in range(turn % 7):
                value = store.get(f"c/{i}")
                count = int(value[: len(value) // 500])
                assert count >= turn
                assert value == b"%d" % count * 500
            reads += 1
            if done:
                break
        pipe.send((reads, last, None))
    except BaseException as error:
        pipe.send((reads, last, repr(error)))


def test_a_file_that_another_program_replaces(tmp_path):
    path = tmp_path / "a.zip"
    store = zip_of(path, {"a": b"1"})
    assert store.get("a") == b"1"
    zip_of(tmp_path / "b.zip", {"a": b"22", "b": b"3"})
    os.replace(tmp_path / "b.zip", path)
    assert contents(store) == {"a": b"22", "b": b"3"}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("c", b"4")
    assert contents(store) == {"a": b"22", "b": b"3", "c": b"4"}
    os.unlink(path)
    assert contents(store) == {}
    assert store.get("a") is None


def test_a_file_that_goes_while_it_is_written_is_an_error(store):
    store.set("a", b"1")
    os.unlink(store.path)
    with pytest.raises(StoreError, match="removed, replaced or changed"):
        store.finish()
    assert store.get("a") is None
    store.set("b", b"2")
    store.finish()
    assert listed(store.path) == {"b": b"2"}
    store.set("c", b"3")
    zip_of(store.path + ".other", {"d": b"4"})
    os.replace(store.path + ".other", store.path)
    with pytest.raises(StoreError, match="removed, replaced or changed"):
        store.finish()
    assert contents(store) == {"d": b"4"}


def test_a_file_that_is_replaced_while_its_lock_is_waited_for(store, monkeypatch):
    store.set("a", b"1")
    store.finish()
    real = OpenFile.lock

    def replace_and_lock(file, seconds):
        if os.path.exists(store.path + ".other"):
            os.replace(store.path + ".other", store.path)
        return real(file, seconds)

    zip_of(store.path + ".other", {"b": b"2"})
    monkeypatch.setattr(OpenFile, "lock", replace_and_lock)
    store.set("c", b"3")
    store.finish()
    assert listed(store.path) == {"b": b"2", "c": b"3"}


def test_readers_of_an_old_state_go_on(store):
    """What a directory listed stays where it is, whatever becomes of the file."""
    store.set("a", b"1" * 5000)
    store.set("b", b"2" * 5000)
    store.finish()
    values = store.get_many(["a", "b"])
    assert next(values) == b"1" * 5000
    store.compact()
    store.set("b", b"3" * 100)
    store.finish()
    os.unlink(store.path)
    assert next(values) == b"2" * 5000


# One writing process


def attempt(path, key):
    """What a process gets that writes."""
    store = ZipStore(path)
    try:
        store.set(key, b"there")
        store.finish()
    except UnsupportedError as error:
        return str(error), contents(store)
    return "written", contents(store)


def test_a_second_process_cannot_write(store, elsewhere):
    store.set("a", b"1")
    store.finish()
    store.set("b", b"2")
    message, seen = elsewhere(attempt, store.path, "c")
    assert "another process is writing" in message
    assert "folder" in message
    assert seen == {"a": b"1"}
    store.finish()
    assert elsewhere(attempt, store.path, "c") == ("written", {"a": b"1", "b": b"2", "c": b"there"})
    store.set("d", b"4")
    store.finish()
    assert listed(store.path) == {"a": b"1", "b": b"2", "c": b"there", "d": b"4"}


def write_with(store):
    """What a store that was sent to another process gives there."""
    found = []
    for use in (
        lambda: store.set("a", b"9"),
        lambda: store.create("z", b"9"),
        lambda: store.delete("a"),
        lambda: store.delete_below(""),
        lambda: store.compact(),
        lambda: pickle.loads(pickle.dumps(store)).set("a", b"9"),
        lambda: store.synced().set("a", b"9"),
    ):
        try:
            use()
            found.append("written")
        except UnsupportedError as error:
            found.append(str(error)[:42])
    store.delete("not there")
    store.finish()
    return found, contents(store), store


def test_a_store_that_is_sent_to_another_process_can_only_be_read_there(store, elsewhere):
    store.set("a", b"1")
    store.finish()
    found, seen, back = elsewhere(write_with, store)
    assert found == ["a zip file is written by one process, and "] * 7
    assert seen == {"a": b"1"}
    assert back == store
    back.set("b", b"2")  # it is home again
    back.finish()
    assert listed(store.path) == {"a": b"1", "b": b"2"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_neither_writes_nor_keeps_the_lock(store, tmp_path):
    store.set("a", b"1")
    script = f"""
import os, pickle, signal, sys, warnings
from daskzarr.errors import UnsupportedError
from daskzarr.stores.zip import ZipStore
from daskzarr.stores.zip import archive as zip_archive
store = ZipStore({store.path + "2"!r})
store.set("a", b"1")
held, sent = store._archive, pickle.dumps(store)
read, write = os.pipe()
child = os.fork()
if child == 0:
    try:
        store.set("b", b"2")
    except UnsupportedError:
        os.write(write, b"refused" if pickle.loads(sent).origin else b"taken for its parent")
    signal.pause()
assert os.read(read, 100) == b"refused"
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    process.wait(60)
    process.stdout.close()
    try:
        other = ZipStore(store.path + "2")
        assert contents(other) == {"a": b"1"}
        other.set("c", b"3")
        other.finish()
        assert listed(other.path) == {"a": b"1", "c": b"3"}
    finally:
        os.kill(child, 9)


def test_what_is_not_finished_is_finished_at_exit(tmp_path):
    path = str(tmp_path / "a.zip")
    script = f"""
import os
from daskzarr.stores.zip import ZipStore
ZipStore({path!r}).set("a", b"1")
ZipStore({path + "2"!r}).set("a", b"1")
os.unlink({path + "2"!r})
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert (listed(path), done.stderr) == ({"a": b"1"}, b"")


def test_an_attempt_that_changes_nothing_locks_nothing(store, elsewhere):
    store.set("a", b"1")
    store.finish()
    assert store.create("a", b"2") is False
    with pytest.raises(UnsupportedError, match="name of an entry"):
        store.set("/b", b"1")
    store.delete("c")
    assert zip_session_of(store) is None
    assert elsewhere(attempt, store.path, "c")[0] == "written"


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "a\ud800", "x" * 70_000])
def test_keys_that_cannot_be_names(store, key):
    with pytest.raises(UnsupportedError):
        store.set(key, b"1")
    assert store.get(key) is None


def test_a_full_disk_loses_nothing(store, monkeypatch):
    store.set("a", b"1")
    store.finish()
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    for size in (10, 100_000):
        with pytest.raises(OSError, match="No space"):
            store.set("b", bytes(size))
    monkeypatch.setattr(os, "pwrite", real)
    store.set("c", b"3")
    monkeypatch.setattr(os, "pwrite", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        store.set("d", bytes(100_000))
    with pytest.raises(OSError, match="No space"):
        store.finish()
    assert listed(store.path) == {"a": b"1"}
    monkeypatch.setattr(os, "pwrite", real)
    store.set("e", b"5")
    store.finish()
    assert listed(store.path) == contents(store) == {"a": b"1", "c": b"3", "e": b"5"}


def test_a_disk_that_is_full_in_the_middle_of_a_write(store, monkeypatch):
    """Whatever part of a write there was room for: every program can read the file after it, and so after a kill."""
    store.set("a", b"1")
    for i in range(3):
        store.set("long/" + "x" * 3000 + str(i), b"2")
    store.finish()
    known = listed(store.path)
    real = os.pwrite
    for last in range(1, 12):
        left = [last * 100]

        def pwrite(descriptor, value, at, left=left):
            if not left[0]:
                raise OSError(28, "No space left on device")
            done = real(descriptor, memoryview(value)[: left[0]], at)
            left[0] -= done
            return done

        monkeypatch.setattr(os, "pwrite", pwrite)
        with pytest.raises(OSError, match="No space"):
            store.set("b", bytes(100_000))
        assert listed(store.path) == known
        monkeypatch.setattr(os, "pwrite", real)
        store.set("c", b"%d" % last)
        assert listed(store.path) == known
        store.finish()
        known["c"] = b"%d" % last
        assert listed(store.path) == contents(store) == known


def test_a_disk_that_fails_in_the_end(store, monkeypatch):
    """The directory is there, but maybe not on disk: that is an error, and writing goes on behind it."""
    store.set("a", b"1")
    real, calls = OpenFile.sync, []

    def sync(file):
        calls.append(file)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        real(file)

    monkeypatch.setattr(OpenFile, "sync", sync)
    with pytest.raises(OSError, match="Input/output"):
        store.finish()
    assert listed(store.path) == contents(store) == {"a": b"1"}
    store.set("b", b"2")
    assert listed(store.path) == {"a": b"1"}
    store.finish()
    assert listed(store.path) == contents(store) == {"a": b"1", "b": b"2"}


def test_a_program_that_writes_without_asking(store):
    store.set("a", b"1")
    store.finish()
    store.set("b", b"2")
    with zipfile.ZipFile(store.path, "a") as archive:
        archive.writestr("c", b"3")
    with pytest.raises(StoreError, match="changed by another program"):
        store.finish()
    assert contents(store) == listed(store.path) == {"a": b"1", "c": b"3"}
    store.set("d", b"4")
    store.finish()
    assert listed(store.path) == {"a": b"1", "c": b"3", "d": b"4"}
    assert zipfile.ZipFile(store.path).comment == b""


def test_a_short_write_is_completed(store, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, value, at: real(fd, memoryview(value)[:1000], at))
    values = {f"a/{i}": os.urandom(100_000 // (i + 1)) for i in range(5)}
    for key, value in values.items():
        store.set(key, value)
    store.finish()
    assert listed(store.path) == values


def test_threads_write_and_finish_at_once(store, monkeypatch):
    monkeypatch.setattr(zip_session, "_ROOM", 1)
    monkeypatch.setattr(zip_session, "_MOST_ROOM", 100_000)
    values = {f"c/{i % 9}/{i}": os.urandom(i % 13 * 10_000) for i in range(400)}
    store.set("first", b"")
    done = threading.Event()

    def finish_on():
        while not done.is_set():
            store.finish()

    with ThreadPoolExecutor(9) as pool:
        finishing = pool.submit(finish_on)
        list(pool.map(store.set, values, values.values()))
        done.set()
        finishing.result()
    store.finish()
    assert listed(store.path) == {**values, "first": b""}


def test_files_that_are_not_used_are_closed(tmp_path):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc on this system")
    before = len(os.listdir("/proc/self/fd"))
    for i in range(200):
        zip_of(tmp_path / f"{i}.zip", {"a": b"%d" % i})
        assert ZipStore(str(tmp_path / f"{i}.zip")).get("a") == b"%d" % i
    assert len(os.listdir("/proc/self/fd")) < before + 70
    assert ZipStore(str(tmp_path / "0.zip")).get("a") == b"0"


def test_equal_values_make_equal_files(tmp_path):
    made = []
    for name in ("a.zip", "b.zip"):
        store = ZipStore(str(tmp_path / name))
        for turn in range(3):
            store.set("a/b", b"%d" % turn)
            store.set(f"c/{turn}", bytes(turn))
            store.finish()
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]


def test_compact(store, elsewhere):
    for turn in range(5):
        store.set("a", b"%d" % turn * 100_000)
        store.set(f"b/{turn}", b"x")
    store.delete_below("b")
    store.set("b/c", b"y")
    os.chmod(store.path, 0o640)
    store.finish()
    assert os.path.getsize(store.path) > 500_000
    store.compact()
    assert os.path.getsize(store.path) < 101_000
    assert os.stat(store.path).st_mode & 0o777 == 0o640
    assert listed(store.path) == contents(store) == {"a": b"4" * 100_000, "b/c": b"y"}
    assert os.listdir(os.path.dirname(store.path)) == ["a.zip"]
    store.set("d", b"z")
    store.finish()
    assert elsewhere(attempt, store.path, "e")[0] == "written"
    assert listed(store.path) == {"a": b"4" * 100_000, "b/c": b"y", "d": b"z", "e": b"there"}


def test_compact_of_damaged_values_leaves_the_file(store, elsewhere):
    store.set("a", b"123456789")
    store.finish()
    with open(store.path, "r+b") as file:
        file.seek(file.read().index(b"123456789"))
        file.write(b"x")
    before = Path(store.path).read_bytes()
    with pytest.raises(CodecError):
        store.compact()
    assert Path(store.path).read_bytes() == before
    assert os.listdir(os.path.dirname(store.path)) == ["a.zip"]
    elsewhere(write, store.path, {"e": b"1"})
    assert store.get("e") == b"1"


# The index


_STEPS = st.tuples(st.sampled_from("pdb"), st.lists(st.sampled_from("abc"), min_size=1, max_size=4))


@settings(max_examples=80, deadline=None)
@given(st.lists(_STEPS, max_size=20))
def test_index(steps):
    index, known = Index(), {}
    for i, (step, parts) in enumerate(steps):
        key = "/".join(parts)
        if step == "p":
            known[key] = Entry(i, 0, 0, 0, 0, 0, 0)
            index.put(key, known[key])
        elif step == "d" and key in known:
            del known[key]
            index.drop(key)
        elif step == "b":
            known = {other: entry for other, entry in known.items() if not other.startswith(key + "/")}
            index.drop_below(key)
        assert dict(index.below("")) == known
        assert len(index) == len(known)
        for prefix in ("", "a", "a/b", key):
            lead = prefix + "/" if prefix else ""
            rest = [other[len(lead) :] for other in known if other.startswith(lead)]
            listing = index.listing(prefix)
            assert listing.keys == tuple(sorted(name for name in rest if "/" not in name))
            assert listing.prefixes == tuple(sorted({name.partition("/")[0] for name in rest if "/" in name}))
            assert dict(index.below(prefix)) == {k: e for k, e in known.items() if k.startswith(lead)}
    index.drop_below("")
    assert index.listing("") == ((), ())
