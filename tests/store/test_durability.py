"""What LocalStore promises of writes that fail, are killed or race: whole values, nothing left, and all on disk."""

import errno
import inspect
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

from daskzarr.stores import LocalStore
from daskzarr.stores.local import folders
from daskzarr.testing import distinct_values

OLD, NEW = distinct_values((5000,), "<u8").tobytes(), distinct_values((9000,), "<u8", start=5000).tobytes()
LEFT = "." + "0123456789abcdef" * 2 + ".partial"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data" / "store"


@pytest.fixture(params=["unnamed files", "named files"])
def way(request, monkeypatch):
    """Each of the two ways in which files are written."""
    if request.param == "named files":
        monkeypatch.setattr("daskzarr.stores.local.store.UNNAMED", 0)
    return request.param


@pytest.fixture
def store(way, root):
    return LocalStore(str(root))


def files(root):
    """Path below the root -> contents, of every file there is."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def unnamed_files_work(folder):
    """Whether the file system has files without a name."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
    except (AttributeError, OSError):
        return False
    return True


# On disk


class Disk:
    """Notes what is done to files and directories, and says what a power failure could undo."""

    def __init__(self, patch):
        self.events = []
        self.calls = {name: getattr(os, name) for name in ("fsync", "link", "replace", "rename", "mkdir", "unlink")}
        patch.setattr(os, "fsync", self.fsync)
        patch.setattr(os, "mkdir", self.mkdir)
        patch.setattr(os, "unlink", self.unlink)
        patch.setattr(os, "link", lambda *args, **kwargs: self.named("link", *args, **kwargs))
        patch.setattr(os, "replace", lambda *args, **kwargs: self.named("replace", *args, **kwargs))
        patch.setattr(os, "rename", lambda *args, **kwargs: self.named("rename", *args, **kwargs))

    def fsync(self, descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        self.events.append(("fsync", path if os.path.isdir(path) else os.fstat(descriptor).st_ino))
        self.calls["fsync"](descriptor)

    def named(self, call, source, target, **kwargs):
        self.calls[call](source, target, **kwargs)
        if call != "rename":
            assert ("fsync", os.stat(target).st_ino) in self.events, "a file got its name before it was on disk"
        self.events.append(("entry", os.path.dirname(target)))
        if call != "link":
            self.events.append(("entry", os.path.dirname(source)))

    def mkdir(self, path, *args, **kwargs):
        self.calls["mkdir"](path, *args, **kwargs)
        self.events.append(("entry", os.path.dirname(path)))

    def unlink(self, path, *args, **kwargs):
        self.calls["unlink"](path, *args, **kwargs)
        if "dir_fd" not in kwargs:
            self.events.append(("entry", os.path.dirname(path)))

    def not_on_disk(self):
        """Directories that were changed and not put on disk since."""
        return {
            path
            for i, (kind, path) in enumerate(self.events)
            if kind == "entry" and ("fsync", path) not in self.events[i:]
        }


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr(folders, "_settled", {})
    return Disk(monkeypatch)


def test_what_is_set_is_on_disk_with_its_name_and_the_directories_made_for_it(store, disk):
    store = store.synced()
    for key in ("a/c/0/0", "a/c/0/1", "a/c/0/0", "a/c/1/0", "b", "b"):
        store.set(key, NEW)
        assert disk.not_on_disk() == set()
        assert store.get(key) == NEW


@pytest.mark.parametrize(
    "write",
    [lambda store, key: store.create(key, NEW), lambda store, key: store.append(key, NEW)],
    ids=["create", "append"],
)
def test_what_is_created_or_appended_is_on_disk(store, disk, write):
    store = store.synced()
    for key in ("a/b/c", "a/b/d", "e"):
        write(store, key)
        assert disk.not_on_disk() == set()
        assert ("fsync", os.stat(f"{store.root}/{key}").st_ino) in disk.events
        assert store.get(key) == NEW
    disk.events.clear()
    store.append("e", OLD)
    assert ("fsync", os.stat(f"{store.root}/e").st_ino) in disk.events


def test_what_is_deleted_is_gone_from_the_disk(store, root, disk):
    for key in ("a/b/c", "a/b/d", "e/f", "g"):
        plant(store, key)
    store = store.synced()
    disk.events.clear()
    store.delete("a/b/c")
    assert disk.events == [("entry", f"{store.root}/a/b"), ("fsync", f"{store.root}/a/b")]
    disk.events.clear()
    store.delete("a/b/c")  # again, as after a failure: what is gone may not be gone from the disk
    assert disk.events == [("fsync", f"{store.root}/a/b")]
    disk.events.clear()
    store.delete_below("a")
    assert ("fsync", store.root) in disk.events
    disk.events.clear()
    store.delete_below("")
    assert disk.events[-1] == ("fsync", store.root)
    store.delete("not/there")
    store.delete_below("not/there/either")
    assert files(root) == {}


def plant(store, key):
    """A file that no store has put there."""
    path = f"{store.root}/{key}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(OLD)


def test_what_another_process_made_is_put_on_disk_too_but_once(store, disk):
    os.makedirs(f"{store.root}/a/c")
    store = store.synced()
    disk.events.clear()
    store.set("a/c/0", NEW)
    chain = [f"{store.root}/a/c", f"{store.root}/a", store.root]
    assert [path for kind, path in disk.events if kind == "fsync" and isinstance(path, str)] == chain
    disk.events.clear()
    store.set("a/c/1", NEW)
    assert [path for kind, path in disk.events if kind == "fsync" and isinstance(path, str)] == chain[:1]
    store.delete_below("a")
    disk.events.clear()
    store.set("a/c/0", NEW)
    assert disk.not_on_disk() == set()
    assert [path for kind, path in disk.events if kind == "fsync" and isinstance(path, str)] == chain


def test_a_directory_is_not_taken_for_one_that_had_its_number_before_it(store, disk, monkeypatch):
    sync = folders.sync_folder
    monkeypatch.setattr(folders, "sync_folder", lambda folder: sync(folder) and (1, 1))  # numbers are used again
    store = store.synced()
    store.set("a/c/0", NEW)
    store.delete_below("a")
    disk.events.clear()
    store.set("a/c/0", NEW)
    assert disk.not_on_disk() == set()


def test_what_is_moved_is_on_disk(store, disk, tmp_path):
    store = store.synced()
    store.set("a/b/c", NEW)
    disk.events.clear()
    assert store.move_below("a/b", LocalStore(str(tmp_path / "other" / "place")), "x/y")
    assert disk.not_on_disk() == set()
    assert ("fsync", str(tmp_path)) in disk.events


def test_without_sync_the_disk_is_not_waited_for(store, disk):
    disk.named = lambda call, *args, **kwargs: disk.calls[call](*args, **kwargs)
    store.set("a/b", NEW)
    store.set("a/b", OLD)
    store.create("a/c", NEW)
    store.append("a/d", NEW)
    store.delete("a/d")
    store.delete_below("")
    assert not [event for event in disk.events if event[0] == "fsync"]


def test_a_store_that_waits_is_a_value_like_any_other(root):
    store = LocalStore(str(root)).synced()
    assert store == LocalStore(str(root), sync=True) == pickle.loads(pickle.dumps(store))
    assert store != LocalStore(str(root))
    assert store.url == LocalStore(str(root)).url
    assert store.synced() == store
    assert hash(store) == hash(store.synced())


def test_a_store_at_the_top_of_the_file_system(tmp_path):
    top = LocalStore("/", sync=True)
    key = f"{tmp_path}/a/b".lstrip("/")
    top.set(key, NEW)
    assert top.get(key) == NEW
    assert (tmp_path / "a" / "b").read_bytes() == NEW


# Errors


class Failing:
    """A system call that fails for files (or directories) from the given call on, as often as told."""

    def __init__(self, call, number, *, of="file", after=0, times=1, really=False):
        self.call, self.error, self.of = call, OSError(number, os.strerror(number)), of
        self.after, self.times, self.really, self.failed = after, times, really, 0

    def __call__(self, descriptor, *args):
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"
        if kind == self.of and self.after == 0 and self.times:
            self.times -= 1
            self.failed += 1
            if self.really:
                self.call(descriptor, *args)
            raise self.error
        self.after -= kind == self.of and self.after > 0
        return self.call(descriptor, *args)


def short_write(descriptor, data):
    """Takes less than it is given, as a system call may."""
    return WRITE(descriptor, memoryview(data)[:1000])


WRITE, FSYNC, CLOSE = os.write, os.fsync, os.close

FAILURES = {
    "write, disk full": ("write", lambda: Failing(WRITE, errno.ENOSPC)),
    "write, over quota": ("write", lambda: Failing(short_write, errno.EDQUOT, after=3)),
    "write, broken": ("write", lambda: Failing(short_write, errno.EIO, after=1)),
    "fsync, broken": ("fsync", lambda: Failing(FSYNC, errno.EIO)),
    "fsync, disk full": ("fsync", lambda: Failing(FSYNC, errno.ENOSPC)),
    "close, broken": ("close", lambda: Failing(CLOSE, errno.EIO, really=True)),
    "close, disk full": ("close", lambda: Failing(CLOSE, errno.ENOSPC, really=True)),
    "close, over quota": ("close", lambda: Failing(CLOSE, errno.EDQUOT, really=True)),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("old", [None, OLD], ids=["new key", "old key"])
@pytest.mark.parametrize("write", ["set", "create"])
def test_an_error_is_raised_and_leaves_what_was_there(store, root, monkeypatch, write, old, failure):
    store = store.synced()
    store.set("a/other", b"other")
    if old is not None and write == "set":
        store.set("a/b", old)
    before = files(root)
    call, make = FAILURES[failure]
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing := make())
        with pytest.raises(OSError) as caught:
            getattr(store, write)("a/b", NEW)
    assert failing.failed == 1
    assert caught.value.errno == failing.error.errno
    assert files(root) == before
    assert getattr(store, write)("a/b", NEW) in (None, True)
    assert store.get("a/b") == NEW


@pytest.mark.parametrize("failure", FAILURES)
def test_an_error_of_appending_is_raised(store, monkeypatch, failure):
    store = store.synced()
    store.append("a/b", OLD)
    call, make = FAILURES[failure]
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing := make())
        with pytest.raises(OSError) as caught:
            store.append("a/b", NEW)
    assert caught.value.errno == failing.error.errno
    assert store.get("a/b").startswith(OLD)


@pytest.mark.parametrize("call", ["fsync", "close"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize(
    "request_",
    [
        lambda store: store.set("a/new", NEW),
        lambda store: store.set("a/b", NEW),
        lambda store: store.append("a/b", b"1"),
        lambda store: store.delete("a/b"),
        lambda store: store.delete("a/not there"),
        lambda store: store.move_below("d", store, "f"),
    ],
    ids=["new key", "old key", "append", "delete", "delete again", "move"],
)
def test_an_error_of_putting_a_directory_on_disk_is_raised(store, root, monkeypatch, call, number, request_):
    store = store.synced()
    store.set("a/b", OLD)
    store.set("d/e", OLD)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, Failing(getattr(os, call), number, of="folder", really=True))
        with pytest.raises(OSError) as caught:
            request_(store)
    assert caught.value.errno == number
    assert set(files(root).values()) <= {OLD, NEW, OLD + b"1"}
    assert not list(store.leftovers(""))


def test_a_directory_is_not_taken_for_settled_after_an_error(store, disk, monkeypatch):
    store = store.synced()
    store.set("z", OLD)
    os.mkdir(f"{store.root}/a")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Failing(os.fsync, errno.EIO, of="folder", after=1))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            store.set("a/b", NEW)
    store.set("a/b", NEW)
    assert disk.not_on_disk() == set()


def test_short_writes_are_gone_on_with(store, monkeypatch):
    store.set("a", OLD)
    store.append("c", OLD)
    monkeypatch.setattr(os, "write", short_write)
    store.set("a", NEW)
    assert store.create("b", NEW)
    store.append("c", NEW)
    assert (store.get("a"), store.get("b"), store.get("c")) == (NEW, NEW, OLD + NEW)


# Names of unfinished files


def test_a_leftover_of_a_key_goes_when_the_key_is_written_again(root, tmp_path, monkeypatch):
    if not unnamed_files_work(tmp_path):
        pytest.skip("this file system has no unnamed files")
    store = LocalStore(str(root))
    for key in ("a/b", "a/" + "x" * 255, "a/" + "é" * 120):
        store.set(key, OLD)
        with monkeypatch.context() as patch:  # killed between the two calls: nothing is cleared up
            patch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            child = os.fork()
            if not child:
                store.set(key, NEW)
                os._exit(0)
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        (left,) = store.leftovers("a")
        assert store.get(left) == NEW
        assert store.get(key) == OLD
        assert store.list_dir("a").keys == (key[2:],)
        assert dict(store.survey("")) == {key: len(OLD)}
        store.set(key, NEW[:-1])
        assert files(root) == {key: NEW[:-1]}
        store.delete(key)


def test_leftovers_can_be_swept(store, root):
    store.set("a/b", OLD)
    for key in (LEFT, f"a/.b{LEFT}", f"a/c/.0.1{LEFT}"):
        store.set(key, NEW)
    assert sorted(store.leftovers("")) == sorted([LEFT, f"a/.b{LEFT}", f"a/c/.0.1{LEFT}"])
    assert sorted(store.leftovers("a")) == sorted([f"a/.b{LEFT}", f"a/c/.0.1{LEFT}"])
    assert list(store.leftovers("a/b")) == list(store.leftovers("nothing")) == []
    assert store.list_dir("") == ((), ("a",))
    assert store.list_dir("a/c") == ((), ())
    for key in store.leftovers(""):
        store.delete(key)
    assert files(root) == {"a/b": OLD}


@pytest.mark.parametrize("name", ["run.partial", ".partial", ".hidden.partial", LEFT[1:], "x" + LEFT, LEFT + "x"])
def test_keys_of_people_are_no_leftovers(store, name):
    store.set(f"a/{name}", OLD)
    store.set(f"a/{name}", NEW)
    assert list(store.leftovers("")) == []
    assert store.list_dir("a").keys == (name,)
    assert list(store.survey("")) == [(f"a/{name}", len(NEW))]


def test_a_write_whose_unfinished_file_is_swept_is_done_again(store, root, monkeypatch):
    store.set("a/b", OLD)
    replace, swept = os.replace, []

    def sweep_first(partial, path):
        if len(swept) < 2:
            swept.append(partial)
            os.unlink(partial)
        replace(partial, path)

    monkeypatch.setattr(os, "replace", sweep_first)
    store.set("a/b", NEW)
    assert len(swept) == 2
    assert files(root) == {"a/b": NEW}
    monkeypatch.setattr(os, "replace", lambda partial, path: (os.unlink(partial), replace(partial, path)))
    with pytest.raises(FileNotFoundError):  # there is an end to it
        store.set("a/b", OLD)
    assert files(root) == {"a/b": NEW}


def test_a_directory_that_goes_while_a_file_is_put_in_it_is_made_again(store, root, monkeypatch):
    store.set("a/b/c", OLD)
    opened, gone = os.open, []

    def delete_first(path, flags, *args, **kwargs):
        if len(gone) < 2 and flags & os.O_WRONLY:
            gone.append(path)
            store.delete_below("a")
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", delete_first)
    store.set("a/b/c", NEW)
    assert len(gone) == 2
    assert files(root) == {"a/b/c": NEW}


@pytest.mark.parametrize("error", [FileExistsError, FileNotFoundError])
def test_a_directory_that_several_hosts_make_at_once_is_made_in_the_end(store, root, monkeypatch, error):
    makedirs, failed = os.makedirs, []

    def confused(path, *args, **kwargs):
        if len(failed) < 2:
            failed.append(path)
            raise error(errno.EEXIST, "File exists", path)
        makedirs(path, *args, **kwargs)

    monkeypatch.setattr(os, "makedirs", confused)
    store.set("a/b/c", NEW)
    assert len(failed) == 2
    assert files(root) == {"a/b/c": NEW}
    failed.clear()
    monkeypatch.setattr(os, "makedirs", lambda path, **_: (makedirs(path), confused(path)))
    store.set("d/e", NEW)
    assert store.get("d/e") == NEW
    (root / "file").write_bytes(b"")
    before = time.perf_counter()
    with pytest.raises(OSError, match="file"):
        store.set("file/a/b", NEW)
    assert time.perf_counter() - before < 1


# Many writers of one key

SIZE = 20_000


def value_of(number):
    """A value that says whose it is and whether it is whole."""
    return number.to_bytes(4, "little") * (SIZE + number % 7)


def assert_whole(value):
    assert value == value_of(int.from_bytes(value[:4], "little"))


def hammer(store, first, rounds, key):
    """Write values of one's own, and see that what is there is whole."""
    for number in range(first, first + rounds):
        store.set(key, value_of(number))
        assert_whole(store.get(key))


def test_threads_that_write_one_key_leave_a_whole_value_and_nothing_else(store, root):
    failures = []

    def run(first):
        try:
            hammer(store, first, 60, "a/b")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(1000 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    last = int.from_bytes(store.get("a/b")[:4], "little")
    assert last % 1000 == 59
    assert_whole(store.get("a/b"))
    assert os.listdir(root / "a") == ["b"]


ROUNDS = 100
CHILD = f"""
import sys
from daskzarr.stores import LocalStore
from daskzarr.stores.local import store as local
if sys.argv[3] == "named files":
    local.UNNAMED = 0
SIZE = {SIZE}
{inspect.getsource(value_of)}
{inspect.getsource(assert_whole)}
{inspect.getsource(hammer)}
print("ready", flush=True)
sys.stdin.read(1)
hammer(LocalStore(sys.argv[1]), int(sys.argv[2]), {ROUNDS}, "a/b")
"""


def test_processes_that_write_one_key_and_are_killed_leave_a_whole_value(way, root):
    store = LocalStore(str(root))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(root), str(1000 * i), way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for i in range(4)
    ]
    for child in children:
        assert child.stdout.readline() == b"ready\n"
    for child in children:
        child.stdin.write(b"1")
        child.stdin.flush()
    deadline = time.perf_counter() + 20
    while store.get("a/b") is None:
        assert time.perf_counter() < deadline
    children[0].kill()  # one dies at some point, the others go on
    while any(child.poll() is None for child in children):
        assert_whole(store.get("a/b"))
        assert store.list_dir("a").keys == ("b",)
    errors = [child.communicate()[1].decode() for child in children]
    assert [child.returncode for child in children] == [-signal.SIGKILL, 0, 0, 0], errors
    assert int.from_bytes(store.get("a/b")[:4], "little") % 1000 == ROUNDS - 1
    assert_whole(store.get("a/b"))
    if way == "unnamed files" and unnamed_files_work(root):
        store.set("a/b", OLD)
        assert os.listdir(root / "a") == ["b"]


def test_of_many_that_create_a_key_one_does(store):
    for i in range(20):
        done, start = [], threading.Barrier(8)

        def create(number, key=f"a/{i}", done=done, start=start):
            start.wait()
            if store.create(key, value_of(number)):
                done.append(number)

        threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 1
        assert store.get(f"a/{i}") == value_of(done[0])
    assert list(store.leftovers("")) == []


def test_what_many_append_is_all_there(store):
    lines = [f"{i:05d} {'x' * (i % 50)}\n".encode() for i in range(800)]

    def append(part):
        for line in part:
            store.append("a/log", line)

    threads = [threading.Thread(target=append, args=(lines[i::8],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store.get("a/log").splitlines(keepends=True)) == lines
