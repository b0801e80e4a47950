"""Files are put on fsspec's file systems whole or not at all, and taken away, whatever the client makes of it."""

import errno
import gc
import os
import pickle
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

from daskzarr.errors import StoreError, UnsupportedError
from daskzarr.stores.remote import placing
from daskzarr.stores.remote.placing import hidden, sftp_channels
from daskzarr.stores.remote.placing.hadoop_errors import error_for, telling
from daskzarr.stores.remote.placing.webhdfs import _widen
from daskzarr.stores.remote.placing.wrapped import innermost, kind
from daskzarr.stores.transient import is_transient

LETTERS = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=80)


# ---- names of hidden files


@given(LETTERS)
def test_hidden_names_are_told_from_others(name):
    beside = hidden.hidden_beside(f"a/{name}")
    folder, _, other = beside.rpartition("/")
    assert folder == "a"
    assert placing.is_partial(other)
    assert len(other.encode()) <= 255
    assert other != hidden.hidden_beside(f"a/{name}").rpartition("/")[2]


def test_hidden_names_lie_in_the_same_folder():
    assert hidden.hidden_beside("a").startswith(".a.")
    assert hidden.hidden_beside("/a").startswith("/.a.")
    assert hidden.hidden_beside("/b/c/" + "x" * 250).rpartition("/")[2].startswith(".")


@pytest.mark.parametrize("name", ["a", ".zarray", "0.0", ".a.partial", "a.partial", ".partial", "x" * 32 + ".partial"])
def test_names_of_values_are_no_partials(name):
    assert not placing.is_partial(name)


# ---- by way of a hidden file: the rules, on a client that fails where it is told to


class Client:
    """Files in a dictionary, folders in a set; ``faults`` are raised, or called, before or after a step."""

    def __init__(self, **files):
        self.files = {"d/" + name: value for name, value in files.items()}
        self.folders = {"d"}
        self.before, self.after = {}, {}
        self.steps = []
        self.steps_of_client = hidden.Steps(
            *(self.step(name) for name in ("write", "rename_over", "rename_new", "unlink", "make_folder")),
            hidden.type_at,
        )

    def step(self, name):
        def run(fs, path, *rest):
            self.steps.append(name)
            for faults in (self.before, self.after):
                if faults is self.after:
                    getattr(self, name)(path, *rest)
                if faults.get(name):
                    fault = faults[name].pop(0)
                    if isinstance(fault, BaseException):
                        raise fault
                    if fault is not None:
                        fault()

        return run

    def write(self, path, value):
        self.need_folder(path)
        self.files[path] = value

    def rename_over(self, source, target):
        self.need_folder(target)
        if source not in self.files:
            raise FileNotFoundError(source)
        self.files[target] = self.files.pop(source)

    def rename_new(self, source, target):
        if target in self.files or target in self.folders:
            raise self.taken
        self.rename_over(source, target)

    taken = FileExistsError()

    def unlink(self, path):
        del self.files[path]

    def make_folder(self, path):
        self.folders |= {path[: i if i > 0 else None] for i in [*(m for m, c in enumerate(path) if c == "/"), -1]}

    def need_folder(self, path):
        if path.rpartition("/")[0] not in self.folders:
            raise FileNotFoundError(path)

    def info(self, path):
        if path in self.folders:
            return {"type": "directory"}
        if path not in self.files:
            raise FileNotFoundError(path)
        return {"type": "file"}

    def place(self, path, value):
        hidden.place(self.steps_of_client, self, path, value)

    def place_new(self, path, value):
        return hidden.place_new(self.steps_of_client, self, path, value)

    def remove(self, path):
        hidden.remove(self.steps_of_client, self, path)


def test_a_file_is_placed_in_two_steps():
    client = Client()
    client.place("d/a", b"1")
    assert (client.files, client.steps) == ({"d/a": b"1"}, ["write", "rename_over"])
    client.place("d/a", b"22")
    assert client.files == {"d/a": b"22"}


def test_what_is_written_is_hidden_until_it_is_whole():
    client, seen = Client(a=b"old"), []
    client.after["write"] = [lambda: seen.append(dict(client.files))]
    client.place("d/a", b"new")
    [(name, value)] = [item for item in seen[0].items() if item[0] != "d/a"]
    assert placing.is_partial(name.removeprefix("d/"))
    assert (seen[0]["d/a"], value) == (b"old", b"new")


def test_a_missing_folder_is_made():
    client = Client()
    client.place("e/f/a", b"1")
    assert client.place_new("g/h/b", b"2") is True
    assert client.files == {"e/f/a": b"1", "g/h/b": b"2"}
    assert {"e", "e/f", "g", "g/h"} <= client.folders


@pytest.mark.parametrize("place", ["place", "place_new"])
def test_a_folder_that_others_delete_is_made_again(place):
    client = Client()
    client.before["rename_over" if place == "place" else "rename_new"] = [client.files.clear, None]
    getattr(client, place)("d/a", b"1")
    assert client.files == {"d/a": b"1"}


@pytest.mark.parametrize("place", ["place", "place_new"])
def test_it_is_given_up_if_the_folder_never_stays(place):
    client = Client()
    client.before["write"] = [FileNotFoundError("d")] * 9
    with pytest.raises(FileNotFoundError):
        getattr(client, place)("d/a", b"1")
    assert client.steps.count("write") == 4
    assert client.files == {}


@pytest.mark.parametrize("error", [OSError("Failure"), PermissionError("d"), KeyboardInterrupt(), RuntimeError("RPC")])
@pytest.mark.parametrize(("when", "step"), [("before", "write"), ("after", "write"), ("before", "rename")])
@pytest.mark.parametrize("place", ["place", "place_new"])
def test_a_failure_leaves_the_old_value_and_nothing_hidden(place, when, step, error):
    client = Client(**({"a": b"old"} if place == "place" else {}))
    step = step if step == "write" else {"place": "rename_over", "place_new": "rename_new"}[place]
    getattr(client, when)[step] = [error]
    with pytest.raises(type(error)) as caught:
        getattr(client, place)("d/a", b"new")
    assert caught.value is error
    assert client.files == ({"d/a": b"old"} if place == "place" else {})


def test_a_failure_to_clear_up_hides_no_error():
    client = Client()
    client.before = {"write": [OSError("disk full")], "unlink": [OSError("nor this")]}
    with pytest.raises(OSError, match="disk full"):
        client.place("d/a", b"1")


@pytest.mark.parametrize("error", [FileExistsError(), OSError("Failure"), RuntimeError("RPCError(...)")])
def test_a_file_that_is_there_stays(error):
    client = Client(a=b"old")
    client.taken = error
    assert client.place_new("d/a", b"new") is False
    assert client.files == {"d/a": b"old"}


def test_a_file_is_not_created_in_the_place_of_a_folder():
    client = Client()
    client.folders.add("d/a")
    with pytest.raises(IsADirectoryError):
        client.place_new("d/a", b"new")
    assert client.files == {}


def test_a_lost_answer_is_an_error():
    client = Client()
    client.after["rename_new"] = [ConnectionResetError()]
    with pytest.raises(StoreError, match="not whether this attempt") as caught:
        client.place_new("d/a", b"new")
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert client.files == {"d/a": b"new"}


def test_a_hidden_file_that_vanished_where_another_file_is_now_is_an_error():
    client = Client()

    def others():
        client.files.clear()
        client.files["d/a"] = b"theirs"

    client.before["rename_new"] = [others]
    client.taken = FileNotFoundError("hidden")
    with pytest.raises(StoreError):
        client.place_new("d/a", b"ours")
    assert client.files == {"d/a": b"theirs"}


@pytest.mark.parametrize("error", [FileNotFoundError(), KeyError(), OSError(errno.EIO, "HDFS delete failed")])
def test_removing_what_is_not_there_is_no_error(error):
    client = Client(a=b"1")
    client.before["unlink"] = [error]
    client.remove("d/b")
    assert client.files == {"d/a": b"1"}


def test_removing_a_folder_is_no_error_and_leaves_it():
    client = Client(a=b"1")
    client.remove("d")
    assert (client.files, "d" in client.folders) == ({"d/a": b"1"}, True)


@pytest.mark.parametrize("error", [PermissionError(), OSError(errno.EIO, "HDFS delete failed"), RuntimeError()])
def test_a_removal_that_fails_raises(error):
    client = Client(a=b"1")
    client.before["unlink"] = [error]
    with pytest.raises(type(error)):
        client.remove("d/a")


def test_a_removal_raises_if_nobody_can_tell():
    client = Client(a=b"1")
    client.before["unlink"] = [OSError("Failure")]
    client.info = lambda path: (_ for _ in ()).throw(PermissionError("neither"))
    with pytest.raises(PermissionError):
        client.remove("d/a")


# ---- object stores


class Bucket:
    """An object store of s3fs' kind, whose next ``pipe_file`` fails."""

    def __init__(self, error=None):
        self.error, self.calls = error, []

    def pipe_file(self, path, value, mode="overwrite"):
        self.calls.append((path, value, mode))
        if self.error is not None:
            raise self.error

    def makedirs(self, path, exist_ok=False):
        raise AssertionError("no bucket is to be made")

    _parent = staticmethod(os.path.dirname)


Bucket.__module__, Bucket.__qualname__ = "s3fs.core", "S3FileSystem"


class ClientError(Exception):
    """As botocore's."""

    def __init__(self, status, code):
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        FileExistsError(),
        caused(OSError(errno.EINVAL, "Invalid"), ClientError(412, "PreconditionFailed")),
        caused(OSError(errno.EINVAL, "Invalid"), ClientError(412, "412")),
        caused(OSError(errno.EIO, "odd"), caused(OSError(), ClientError(412, "AtLeastOne"))),
    ],
)
def test_an_object_that_is_there_stays(error):
    bucket = Bucket(error)
    assert placing.place_new(bucket, "b/a", b"1") is False
    assert bucket.calls == [("b/a", b"1", "create")]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EINVAL, "Invalid argument"),
        caused(OSError(errno.EINVAL, "Invalid"), ClientError(400, "InvalidArgument")),
        caused(OSError(errno.EBUSY, "Conflict"), ClientError(409, "ConditionalRequestConflict")),
        caused(PermissionError("denied"), ClientError(403, "AccessDenied")),
        caused(FileNotFoundError("bucket"), ClientError(404, "NoSuchBucket")),
    ],
)
def test_other_refusals_are_errors(error):
    with pytest.raises(type(error)):
        placing.place_new(Bucket(error), "b/a", b"1")
    with pytest.raises(type(error)):
        placing.place(Bucket(error), "b/a", b"1")


def test_the_errors_s3fs_makes_are_told_apart():
    errors = pytest.importorskip("s3fs.errors")
    translated = errors.translate_boto_error(ClientError(412, "PreconditionFailed"))
    assert translated.errno == errno.EINVAL
    assert placing.place_new(Bucket(translated), "b/a", b"1") is False
    with pytest.raises(OSError, match="InvalidArgument"):
        placing.place_new(Bucket(errors.translate_boto_error(ClientError(400, "InvalidArgument"))), "b/a", b"1")


def test_objects_are_put_by_one_call_and_need_no_clearing_up():
    bucket = Bucket()
    placing.place(bucket, "b/a", b"1")
    assert placing.place_new(bucket, "b/c", b"2") is True
    assert bucket.calls == [("b/a", b"1", "overwrite"), ("b/c", b"2", "create")]
    assert (placing.can_place_new(bucket), placing.leaves_partials(bucket)) == (True, False)


# ---- memory, files of this machine, and what stands on them


@pytest.fixture
def memory_root():
    root = f"/placing-{uuid.uuid4().hex}"
    yield root
    fsspec.filesystem("memory").rm(root, recursive=True) if fsspec.filesystem("memory").exists(root) else None


@pytest.fixture(params=["memory", "local", "dir of memory", "dir of local", "cache of local", "dir of cache"])
def place(request, tmp_path, memory_root):
    """A file system, a folder of it, the file system below and the folder there."""
    memory, local = fsspec.filesystem("memory"), LocalFileSystem()
    below, root = (memory, memory_root) if "memory" in request.param else (local, str(tmp_path / "root"))
    fs, path = below, root
    if "cache" in request.param:
        fs = fsspec.filesystem("simplecache", fs=fs, cache_storage=str(tmp_path / "cache"))
    if "dir" in request.param:
        fs, path = DirFileSystem(root, fs), "x"
        root += "/x"
    return fs, path, below, root


def test_plain_files(place):
    fs, path, below, root = place
    placing.place(fs, f"{path}/a/b", b"one")
    placing.place(fs, f"{path}/a/b", b"other")
    placing.place(fs, f"{path}/a/e", b"")
    assert placing.place_new(fs, f"{path}/a/b", b"no") is False
    assert placing.place_new(fs, f"{path}/c/d", b"new") is True
    assert [below.cat_file(f"{root}/{name}") for name in ("a/b", "a/e", "c/d")] == [b"other", b"", b"new"]
    placing.remove(fs, f"{path}/a/b")
    for name in ("a/b", "a", "x", "x/y", "c/d/z"):
        placing.remove(fs, f"{path}/{name}")
    assert sorted(below.find(root)) == [f"{root}/a/e", f"{root}/c/d"]
    assert placing.can_place_new(fs)
    assert placing.leaves_partials(fs) is isinstance(below, LocalFileSystem)


def test_one_of_many_threads_creates_a_plain_file(place):
    fs, path, below, root = place
    for turn in range(5):
        ready, values = threading.Barrier(16), [f"{turn} {i}".encode() * 50 for i in range(16)]

        def race(value, turn=turn, ready=ready):
            ready.wait(10)
            return placing.place_new(fs, f"{path}/race/{turn}", value)

        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(race, values))
        assert sorted(won) == [False] * 15 + [True]
        assert below.cat_file(f"{root}/race/{turn}") == values[won.index(True)]
    assert len(below.find(f"{root}/race")) == 5


def test_a_local_file_is_replaced_in_one_step(tmp_path, monkeypatch):
    fs, path = LocalFileSystem(), str(tmp_path / "a")
    placing.place(fs, path, b"old")
    true_write = os.write

    def full(descriptor, data):
        true_write(descriptor, bytes(data)[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for put in (placing.place, placing.place_new):
        with pytest.raises(OSError, match="No space"):
            put(fs, path, b"newer")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_local_folder_is_no_file(tmp_path):
    fs = LocalFileSystem()
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        placing.place_new(fs, str(tmp_path / "a"), b"1")
    with pytest.raises(OSError, match="directory"):
        placing.place(fs, str(tmp_path / "a"), b"1")
    assert os.listdir(tmp_path / "a") == ["b"]


class Strange(fsspec.AbstractFileSystem):
    """A file system of which nothing is known."""

    cachable = False

    def __init__(self):
        super().__init__()
        self.files, self.folders = {}, set()

    def pipe_file(self, path, value, mode="overwrite"):
        assert mode == "overwrite"
        if self._parent(path) not in self.folders:
            raise FileNotFoundError(path)
        self.files[path] = value

    def makedirs(self, path, exist_ok=False):
        self.folders.add(path)

    def rm_file(self, path):
        if path not in self.files:
            raise OSError("there is none")
        if self.files[path] == b"stays":
            raise OSError("no")
        del self.files[path]

    def info(self, path):
        if path in self.files:
            return {"type": "file"}
        raise FileNotFoundError(path)


def test_a_file_system_of_which_nothing_is_known():
    fs = Strange()
    placing.place(fs, "a/b", b"1")
    placing.remove(fs, "a/c")
    assert fs.files == {"a/b": b"1"}
    assert not placing.can_place_new(fs)
    with pytest.raises(UnsupportedError, match="Strange"):
        placing.place_new(fs, "a/b", b"1")
    placing.remove(fs, "a/b")
    placing.place(fs, "a/b", b"stays")
    with pytest.raises(OSError, match="no"):
        placing.remove(fs, "a/b")
    assert placing.own_of_thread(fs) is fs


# ---- what stands on what


def test_kinds_are_found_by_class_and_those_above(tmp_path):
    class Own(LocalFileSystem):
        pass

    assert kind(Own()) == "local"
    assert kind(fsspec.filesystem("memory")) == "memory"
    assert kind(object()) == ""
    fs = DirFileSystem("y", DirFileSystem(str(tmp_path), Own()))
    assert innermost(fs, "z") == (fs.fs.fs, f"{tmp_path}/y/z")


# ---- the file system of a thread


def of_kind(module, name, base=fsspec.AbstractFileSystem, **methods):
    """A class that passes for one of a client package."""
    return type(base)(name, (base,), {"__module__": module, "__qualname__": name, **methods})


def test_file_systems_that_need_nothing_are_used_as_they_are(tmp_path):
    for fs in (fsspec.filesystem("memory"), LocalFileSystem(), DirFileSystem(str(tmp_path), LocalFileSystem())):
        assert placing.own_of_thread(fs) is fs


class Transport:
    active = True

    def is_active(self):
        return self.active


class Channel:
    closed = eof_received = False

    def __init__(self, transport):
        self.transport = transport

    def get_transport(self):
        return self.transport


class FTP:
    """A channel's end here."""

    def __init__(self, transport, opened):
        self.channel = Channel(transport)
        self.opened = opened
        opened.append(self)

    def get_channel(self):
        return self.channel

    def close(self):
        self.channel.closed = True
        self.opened.remove(self)


class Login:
    """A connection that allows few channels."""

    def __init__(self, server):
        self.server, self.transport, self.opened = server, Transport(), []
        server.logins.append(self)

    def get_transport(self):
        return self.transport

    def open_sftp(self):
        if len(self.opened) >= self.server.most:
            raise pytest.importorskip("paramiko").ChannelException(1, "too many")
        return FTP(self.transport, self.opened)


@pytest.fixture
def sftp():
    """A server, and paramiko's file system that is connected to it, with a channel of its own."""
    pytest.importorskip("paramiko")
    server = SimpleNamespace(logins=[], most=100, refuse=None)

    def connect(self, host, **options):
        fsspec.AbstractFileSystem.__init__(self, **options)
        if server.refuse is not None:
            raise server.refuse
        self.host, self.client = host, Login(server)
        self.ftp = self.client.open_sftp()

    cls = of_kind("fsspec.implementations.sftp", "SFTPFileSystem", __init__=connect)
    return server, cls(uuid.uuid4().hex, password="secret")


def in_threads(count, call):
    """What a call gives in threads that are all there at once."""
    ready = threading.Barrier(count)

    def run(_):
        ready.wait(10)
        result = call()
        ready.wait(10)
        return result

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_each_thread_has_a_channel_of_its_own(sftp):
    server, fs = sftp
    own = placing.own_of_thread(fs)
    assert own is placing.own_of_thread(fs)
    assert placing.own_of_thread(own) is own
    assert own.ftp is not fs.ftp
    others = in_threads(20, lambda: (placing.own_of_thread(fs).ftp, placing.own_of_thread(fs).ftp))
    assert all(first is second for first, second in others)
    assert len({id(first) for first, _ in others} | {id(own.ftp), id(fs.ftp)}) == 22
    assert len(server.logins) == 3  # eight channels each
    copy = pickle.loads(pickle.dumps(fs.storage_options))
    assert copy == {"password": "secret"}


def test_channels_are_closed_with_their_thread(sftp):
    server, fs = sftp
    in_threads(12, lambda: placing.own_of_thread(fs).ftp and None)
    gc.collect()
    assert [len(login.opened) for login in server.logins] == [1, 0]  # fsspec's own is left
    in_threads(12, lambda: placing.own_of_thread(fs).ftp and None)
    gc.collect()
    assert len(server.logins) == 2


def test_a_server_may_allow_few_channels(sftp):
    server, fs = sftp
    server.most = 3
    channels = in_threads(7, lambda: placing.own_of_thread(fs).ftp)
    assert len({id(ftp) for ftp in channels}) == 7
    assert max(len(login.opened) for login in server.logins) <= 3
    server.most = 1
    assert len({id(ftp) for ftp in in_threads(9, lambda: placing.own_of_thread(fs).ftp)}) == 9
    server.most = 0
    with pytest.raises((ConnectionError, pytest.importorskip("paramiko").ChannelException)):
        in_threads(20, lambda: placing.own_of_thread(fs).ftp)


def test_a_lost_connection_is_made_again(sftp):
    server, fs = sftp
    first = placing.own_of_thread(fs)
    server.logins[0].transport.active = False
    second = placing.own_of_thread(fs)
    assert second.client is server.logins[1]
    assert first.client is server.logins[0]
    assert placing.own_of_thread(fs) is second
    second.ftp.channel.closed = True
    third = placing.own_of_thread(fs)
    assert (third is second, third.client is second.client) == (False, True)


def test_a_forked_process_opens_channels_of_its_own(sftp, monkeypatch):
    """And forgets none of its parent's: paramiko would close it."""
    server, fs = sftp
    channels = in_threads(3, lambda: placing.own_of_thread(fs).ftp)
    old = placing.own_of_thread(fs).ftp
    monkeypatch.setattr(os, "getpid", lambda: -1)
    sftp_channels._forget_connections()
    new = placing.own_of_thread(fs).ftp
    gc.collect()
    assert new is not old
    assert old in server.logins[0].opened
    assert not any(channel in server.logins[0].opened for channel in channels)  # their threads have ended before


def test_a_login_that_fails_by_chance_may_be_tried_again(sftp):
    paramiko = pytest.importorskip("paramiko")
    server, fs = sftp
    server.logins[0].transport.active = False
    for error in (
        paramiko.SSHException("banner"),
        EOFError(),
        paramiko.ssh_exception.NoValidConnectionsError({("h", 22): OSError()}),
    ):
        server.refuse = error
        with pytest.raises(ConnectionError):
            placing.own_of_thread(fs)
    server.refuse = paramiko.AuthenticationException("no")
    with pytest.raises(paramiko.AuthenticationException):
        placing.own_of_thread(fs)
    server.refuse = None
    assert placing.own_of_thread(fs).client is server.logins[-1]


# ---- WebHDFS: answers


class Answers:
    """A session that gives the answers it was made with, and notes what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked, self.adapters = list(answers), [], {}

    def request(self, method, url, params=None, **options):
        self.asked.append((method, url, params, options.get("data")))
        return self.answers.pop(0)


def answer(status, location=None, remote=None, said=None):
    def read():
        if said is not None:
            return said
        if remote is None:
            raise ValueError
        return {"RemoteException": {"exception": remote, "message": f"{remote} says no\n\tat org.apache"}}

    headers = {"Location": location} if location else {}
    return SimpleNamespace(status_code=status, content=b"{}" if said else b"", headers=headers, json=read)


@pytest.fixture
def webhdfs():
    module = pytest.importorskip("fsspec.implementations.webhdfs")

    def answering(*answers):
        fs = module.WebHDFS("h", port=1, user="me", skip_instance_cache=True)
        fs.session = Answers(*answers)
        return fs

    return answering


SEND = "http://h:2/webhdfs/v1/send"


def test_webhdfs_puts_a_file_with_three_requests(webhdfs):
    fs = webhdfs(answer(307, location=SEND), answer(201), answer(200))
    session = fs.session
    placing.place(fs, "/a b/c#d", b"value")
    create, send, rename = session.asked
    assert create[0] == "PUT"
    assert create[1].startswith("http://h:1/webhdfs/v1/a%20b/.")
    assert create[2] == {"op": "CREATE", "overwrite": "true", "user.name": "me"}
    assert send == ("PUT", SEND, None, b"value")
    assert rename[1:3] == (
        create[1],
        {"op": "RENAME", "destination": "/a b/c#d", "renameoptions": "OVERWRITE", "user.name": "me"},
    )


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (answer(403, remote="AccessControlException"), PermissionError),
        (answer(401), PermissionError),
        (answer(404), StoreError),
        (answer(502), ConnectionError),
        (answer(500, remote="Whatever"), StoreError),
        (answer(200), StoreError),  # no data server named
    ],
)
def test_webhdfs_refusals_are_errors(webhdfs, refusal, error):
    fs = webhdfs(refusal, answer(200))
    with pytest.raises(error) as caught:
        placing.place(fs, "/a", b"1")
    assert "at org.apache" not in str(caught.value)


@pytest.mark.parametrize("name", ["SafeModeException", "StandbyException", "RetriableException"])
def test_webhdfs_that_is_not_ready_may_be_tried_again(webhdfs, name):
    fs = webhdfs(answer(403, remote=name), answer(200))
    with pytest.raises(ConnectionError, match=name) as caught:
        placing.place(fs, "/a", b"1")
    assert is_transient(caught.value)
    fs = webhdfs(answer(403, remote="QuotaExceededException"), answer(200))
    with pytest.raises(StoreError) as caught:
        placing.place(fs, "/a", b"1")
    assert not is_transient(caught.value)


def test_webhdfs_keeps_away_from_names_that_are_read_twice(webhdfs):
    fs = webhdfs(answer(200, said={"boolean": True}), answer(200, said={"boolean": False}))
    for use in (placing.place, placing.place_new):
        for path in ("/a%20b", "/50%/a"):
            with pytest.raises(UnsupportedError, match="%"):
                use(fs, path, b"1")
    fs = webhdfs(answer(200, said={"boolean": True}))
    placing.remove(fs, "/a%20b")
    assert fs.session.asked[-1][1].endswith("/a%2520b")


def test_webhdfs_keeps_as_many_connections_as_it_needs(webhdfs):
    from requests import Session

    session = Session()
    _widen(session)
    adapter = session.get_adapter("http://h")
    assert adapter._pool_maxsize > 100
    _widen(session)
    assert session.get_adapter("http://h") is adapter


def test_webhdfs_data_servers_refusals_are_errors(webhdfs):
    for refusal in (answer(400), answer(403, remote="RemoteException"), answer(200)):
        fs = webhdfs(answer(307, location=SEND), refusal, answer(200))
        session = fs.session
        with pytest.raises(StoreError):
            placing.place(fs, "/a", b"1")
        assert session.asked[-1][2]["op"] == "DELETE"


def test_webhdfs_creates(webhdfs):
    written = [answer(307, location=SEND), answer(201)]
    fs = webhdfs(*written, answer(200))
    assert placing.place_new(fs, "/a", b"1") is True
    assert fs.session.asked[-1][2]["renameoptions"] == "NONE"
    is_file = answer(200, said={"FileStatus": {"type": "FILE"}})
    fs = webhdfs(*written, answer(403, remote="FileAlreadyExistsException"), is_file, is_file, answer(200))
    assert placing.place_new(fs, "/a", b"1") is False
    assert fs.session.asked[-1][2]["op"] == "DELETE"


def test_a_gateway_that_ignores_how_to_rename(webhdfs):
    """It answers in words; where it refuses, the old file goes first."""
    written, yes, no = (
        [answer(307, location=SEND), answer(201)],
        *(answer(200, said={"boolean": b}) for b in (True, False)),
    )
    is_file, is_folder = (answer(200, said={"FileStatus": {"type": name}}) for name in ("FILE", "DIRECTORY"))
    placing.place(webhdfs(*written, yes, is_file), "/a", b"1")
    fs = webhdfs(*written, no, yes, yes, is_file)
    placing.place(fs, "/a", b"1")
    assert [asked[2]["op"] for asked in fs.session.asked[2:]] == ["RENAME", "DELETE", "RENAME", "GETFILESTATUS"]
    with pytest.raises(StoreError):
        placing.place(webhdfs(*written, no, yes, no, yes), "/a", b"1")
    with pytest.raises(IsADirectoryError):
        placing.place(webhdfs(*written, yes, is_folder, yes), "/a", b"1")
    assert placing.place_new(webhdfs(*written, no, is_file, is_file, yes), "/a", b"1") is False
    assert placing.place_new(webhdfs(*written, yes, is_file), "/a", b"1") is True


@pytest.mark.parametrize("answers", [[], [{"type": "DIRECTORY"}]])
def test_webhdfs_removes(webhdfs, answers):
    no_status = answer(404, remote="FileNotFoundException")
    status = answer(200, said={"FileStatus": answers[0]}) if answers else no_status
    placing.remove(webhdfs(answer(403, remote="PathIsNotEmptyDirectoryException"), status), "/a")
    with pytest.raises(StoreError):
        placing.remove(webhdfs(answer(403, remote="Odd"), answer(200, said={"FileStatus": {"type": "FILE"}})), "/a")
    with pytest.raises(PermissionError):
        placing.remove(webhdfs(*[answer(403, remote="AccessControlException")] * 2), "/a")


# ---- hdfs-native: errors


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("RPC listener disconnected"), ConnectionResetError),
        (OSError(errno.ENOSPC, "No space"), OSError),
        (ConnectionRefusedError("no"), ConnectionRefusedError),
        (FileExistsError("a"), FileExistsError),
        (
            RuntimeError('RPCError("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "Cannot")'),
            ConnectionError,
        ),
        (RuntimeError('RPCError("java.io.IOException", "File could only be replicated to 0 nodes")'), ConnectionError),
        (RuntimeError('RPCError("org.apache.hadoop.security.AccessControlException", "no")'), PermissionError),
        (RuntimeError('FatalRPCError("org.apache.hadoop.security.AccessControlException", "no")'), PermissionError),
        (RuntimeError('RPCError("org.apache.hadoop.hdfs.protocol.NSQuotaExceededException", "full")'), StoreError),
        (RuntimeError('DataTransferError("Datanode connection closed while waiting for ack")'), ConnectionError),
        (RuntimeError("ChecksumError"), RuntimeError),
        (ValueError("odd"), ValueError),
    ],
)
def test_errors_of_hdfs_native(error, told):
    with pytest.raises(told) as caught, telling("/a"):
        raise error
    assert type(caught.value) is told
    assert caught.value is error or caught.value.__cause__ is error
    assert is_transient(caught.value) is isinstance(caught.value, ConnectionError)


def test_no_trace_of_java_is_shown():
    for line in ("\n", "\\n"):
        assert str(error_for("a.b.C$D", f"first{line}\tat org.apache", "/x")) == "HDFS refused '/x': D first"


def test_files_of_this_machine_by_pyarrow(tmp_path):
    arrow = pytest.importorskip("pyarrow.fs")
    from fsspec.implementations.arrow import ArrowFSWrapper

    fs, path = ArrowFSWrapper(arrow.LocalFileSystem()), f"{tmp_path}/a/b"
    for value in (b"one", b"other", b""):
        placing.place(fs, path, value)
        assert (tmp_path / "a" / "b").read_bytes() == value
    assert not placing.can_place_new(fs)  # ``move`` replaces
    assert placing.leaves_partials(fs)
    assert os.listdir(tmp_path / "a") == ["b"]
    for name in ("a", "x", "a/b/c", "a/b"):
        placing.remove(fs, f"{tmp_path}/{name}")
    assert os.listdir(tmp_path / "a") == []
    assert kind(SimpleNamespace()) == ""
