"""What files on disk add to the contract: writes that fail, processes that die, names that are files."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from daskzarr.stores import LocalStore
from daskzarr.testing import distinct_values

OLD, NEW = distinct_values((5000,), "<u8").tobytes(), distinct_values((9000,), "<u8", start=5000).tobytes()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture(params=["unnamed files", "named files"])
def store(request, root, monkeypatch):
    """A store, by each of the two ways in which files are written."""
    if request.param == "named files":
        monkeypatch.setattr("daskzarr.stores.local.store.UNNAMED", 0)
    return LocalStore(str(root))


def files(root):
    """Path below the root -> contents, of every file there is."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# Where things lie


def test_files_lie_where_keys_say(store, root):
    values = {"zarr.json": b"{}", "a/zarr.json": b"1", "a/c/0/0": b"2", "a/c/0/1": b"", "a/.zattrs": OLD}
    for key, value in values.items():
        store.set(key, value)
    assert files(root) == values
    store.set("a/c/0/0", NEW)
    store.delete("a/c/0/1")
    del values["a/c/0/1"]
    assert files(root) == {**values, "a/c/0/0": NEW}


def test_files_of_others_are_values(store, root):
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "c").write_bytes(OLD)
    assert store.get("a/b/c") == OLD
    assert store.list_dir("a/b") == (("c",), ())


def test_nothing_is_made_before_the_first_value(store, root):
    assert store.get("a") is None
    assert list(store.get_many(["a"])) == [None]
    assert store.read_into("a", memoryview(bytearray(1))) is None
    assert store.list_dir("") == ((), ())
    store.delete("a")
    store.delete_below("a")
    assert not root.exists()


def test_files_get_the_mode_the_process_asks_for(store, root):
    mask = os.umask(0o027)
    try:
        store.set("a/b", b"1")
        store.set("a/b", b"2")
    finally:
        os.umask(mask)
    assert (root / "a" / "b").stat().st_mode & 0o777 == 0o640


def test_a_root_that_is_a_link_is_a_store_like_any_other(store, root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    root.symlink_to(tmp_path / "elsewhere")
    store.set("a/b", b"1")
    assert files(tmp_path / "elsewhere") == {"a/b": b"1"}
    store.delete_below("")
    assert store.get("a/b") is None
    store.set("a/b", b"2")
    assert store.get("a/b") == b"2"


@pytest.mark.parametrize("name", ["run.partial", ".partial", ".hidden.partial"])
def test_a_key_of_the_user_is_listed_whatever_its_ending(store, name):
    store.set(name, b"1")
    store.set(f"a/{name}/zarr.json", b"2")
    assert store.list_dir("").keys == (name,)
    assert store.list_dir("a").prefixes == (name,)


# Writes that fail


class Broken:
    """A system call that works a few times, then fails."""

    def __init__(self, call, error, *, after=0, match=""):
        self.call, self.error, self.left, self.match = call, error, after, match

    def __call__(self, *args, **kwargs):
        if any(self.match in str(arg) for arg in args):
            if self.left == 0:
                raise self.error
            self.left -= 1
        return self.call(*args, **kwargs)


FULL = OSError(errno.ENOSPC, "No space left on device")


def short_write(descriptor, data):
    """Takes less than it is given, as a system call may."""
    return WRITE(descriptor, memoryview(data)[:1000])


WRITE, READ, READV = os.write, os.read, os.readv


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "interrupt"])
@pytest.mark.parametrize("old", [None, OLD], ids=["new key", "old key"])
def test_an_error_while_writing_changes_nothing(store, root, monkeypatch, old, error):
    store.set("a/other", b"other")
    if old is not None:
        store.set("a/b", old)
    before = files(root)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", Broken(short_write, error, after=3))
        with pytest.raises(type(error)):
            store.set("a/b", NEW)
    assert files(root) == before
    assert store.get("a/b") == old
    store.set("a/b", NEW)
    assert store.get("a/b") == NEW


@pytest.mark.parametrize("old", [None, OLD], ids=["new key", "old key"])
def test_an_error_while_putting_a_value_in_its_place_changes_nothing(store, root, monkeypatch, old):
    if old is not None:
        store.set("a/b", old)
    else:
        store.set("a/other", b"other")
    before = files(root)
    error = OSError(errno.EIO, "Input/output error")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", Broken(os.replace, error))
        patch.setattr(os, "link", Broken(os.link, error))
        with pytest.raises(OSError, match="Input/output"):
            store.set("a/b", NEW)
    assert files(root) == before


def test_an_error_of_closing_is_an_error_of_writing(root, monkeypatch):
    monkeypatch.setattr("daskzarr.stores.local.store.UNNAMED", 0)
    store = LocalStore(str(root))
    store.set("a/b", OLD)
    close, closed = os.close, []

    def close_and_fail(descriptor):
        close(descriptor)
        if not closed:
            closed.append(descriptor)
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close_and_fail)
        with pytest.raises(OSError, match="Input/output"):
            store.set("a/b", NEW)
    assert files(root) == {"a/b": OLD}


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EPERM, "not allowed"), OSError(errno.EACCES, "not allowed"), NotImplementedError("no such call")],
    ids=["EPERM", "EACCES", "not implemented"],
)
@pytest.mark.parametrize("old", [None, OLD], ids=["new key", "old key"])
def test_a_system_that_cannot_link_unnamed_files_is_written_to_all_the_same(root, monkeypatch, old, error):
    store = LocalStore(str(root))
    if old is not None:
        store.set("a/b", old)
    monkeypatch.setattr(os, "link", Broken(os.link, error))
    store.set("a/b", NEW)
    assert files(root) == {"a/b": NEW}


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL])
def test_a_file_system_without_unnamed_files_is_written_to_all_the_same(root, monkeypatch, number):
    store = LocalStore(str(root))
    opened = os.open

    def open_named_only(path, flags, *args, **kwargs):
        if os.path.isdir(path):
            raise OSError(number, "no unnamed files here")
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_named_only)
    store.set("a/b", OLD)
    store.set("a/b", NEW)
    assert files(root) == {"a/b": NEW}


def test_system_calls_that_do_a_part_only_are_repeated(store, monkeypatch):
    values = {f"a/{i}": distinct_values((700 + 9 * i,), "<u8", start=i * 1000).tobytes() for i in range(5)}
    monkeypatch.setattr(os, "write", short_write)
    for key, value in values.items():
        store.set(key, value)
    monkeypatch.setattr(os, "read", lambda descriptor, size: READ(descriptor, min(size, 1000)))
    monkeypatch.setattr(os, "readv", lambda descriptor, parts: READV(descriptor, [parts[0][:1000]]))
    assert [store.get(key) for key in values] == list(values.values())
    for key, value in values.items():
        target = bytearray(len(value))
        assert store.read_into(key, memoryview(target)) == len(value)
        assert target == value
    assert list(store.get_many(list(values))) == list(values.values())


# Other errors than a missing file


def test_refused_access_is_an_error_and_not_a_missing_key(store, root, monkeypatch):
    store.set("a/b", OLD)
    refused = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(os, "open", Broken(os.open, refused, match=str(root)))
    for request in (
        lambda: store.get("a/b"),
        lambda: list(store.get_many(["a/b"])),
        lambda: store.read_into("a/b", memoryview(bytearray(8))),
        lambda: store.set("a/b", NEW),
        lambda: store.set("a/c", NEW),
    ):
        with pytest.raises(PermissionError):
            request()
    monkeypatch.undo()
    assert files(root) == {"a/b": OLD}


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("scandir", lambda store: store.list_dir("a")),
        ("unlink", lambda store: store.delete("a/b")),
        ("unlink", lambda store: store.delete_below("a")),
    ],
    ids=["list_dir", "delete", "delete_below"],
)
def test_refused_access_to_a_directory_is_an_error(store, root, monkeypatch, call, request_):
    store.set("a/b", OLD)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, Broken(getattr(os, call), PermissionError(errno.EACCES, "Permission denied")))
        with pytest.raises(PermissionError):
            request_(store)
    assert files(root) == {"a/b": OLD}


def test_a_file_that_cannot_be_read_is_an_error_and_not_a_missing_key(store, root):
    root.mkdir()
    (root / "a").symlink_to(root / "a")  # leads to itself: opening it fails for every user
    for request in (
        lambda: store.get("a"),
        lambda: list(store.get_many(["a"])),
        lambda: store.read_into("a", memoryview(bytearray(8))),
        lambda: store.get("a/b"),
    ):
        with pytest.raises(OSError, match=r"[Ll]inks"):
            request()


def test_a_value_is_no_folder(store, root):
    store.set("a", OLD)
    with pytest.raises(OSError, match="a"):
        store.set("a/b", NEW)
    store.set("d/e", OLD)
    with pytest.raises(OSError, match="d"):
        store.set("d", NEW)
    assert files(root) == {"a": OLD, "d/e": OLD}


def test_deleting_a_folder_goes_on_where_another_process_was_faster(store, root, monkeypatch):
    for i in range(6):
        store.set(f"a/c/{i}", OLD)
    unlink, gone = os.unlink, []

    def beaten_to_it(path, *args, **kwargs):
        unlink(path, *args, **kwargs)
        if not gone:
            gone.append(path)
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", beaten_to_it)
        store.delete_below("a")
    assert gone
    assert files(root) == {}


# Processes that die

CHILD = """
import sys
import numpy as np
from daskzarr.stores import LocalStore
store = LocalStore(sys.argv[1])
for i in range(1000):
    store.set(sys.argv[2].format(i), (np.arange(2**19, dtype="<u8") + i * 2**19).tobytes())
    print(i, flush=True)
"""


def kill_while_writing(root, key, after):
    """Let a process set one value of 4 MiB after the other, and kill it right after some of them."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(root), key], stdout=subprocess.PIPE)
    for _ in range(after):
        assert child.stdout.readline().strip().isdigit()
    child.kill()
    child.stdout.read()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL


def assert_whole(value):
    """One of the child's values, all of it."""
    cells = np.frombuffer(value, "<u8")
    assert cells.size == 2**19
    assert cells[0] % 2**19 == 0
    np.testing.assert_array_equal(cells, cells[0] + np.arange(2**19, dtype="<u8"))


def has_unnamed_files(folder):
    """Whether the file system knows files without a name."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
    except (AttributeError, OSError):
        return False
    return True


def test_a_killed_process_leaves_new_values_whole_and_nothing_else(root, tmp_path):
    store = LocalStore(str(root))
    for i, after in enumerate((1, 2, 4, 7)):
        kill_while_writing(root, f"run{i}/{{}}", after)
        names = sorted(os.listdir(root / f"run{i}"))
        if has_unnamed_files(tmp_path):
            assert [name for name in names if not name.isdigit()] == []
        keys = store.list_dir(f"run{i}").keys
        assert len(keys) >= after
        assert all(key.isdigit() for key in keys)
        for key in keys:
            assert_whole(store.get(f"run{i}/{key}"))


def test_a_killed_process_leaves_a_replaced_value_whole(root):
    store = LocalStore(str(root))
    for after in (1, 2, 4, 7):
        kill_while_writing(root, "a/value", after)
        assert_whole(store.get("a/value"))
        assert store.list_dir("a").keys == ("value",)
