"""A zip file whose writer dies: at every instant, killed for real, with the power gone, with its file cut off."""

import io
import os
import random
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from daskzarr.errors import DaskZarrError, StoreError
from daskzarr.stores.zip import ZipStore
from daskzarr.stores.zip import archive as zip_archive
from daskzarr.stores.zip import session as zip_session
from daskzarr.stores.zip.directory import MARK_SIZE
from daskzarr.stores.zip.open_file import OpenFile

_PAGE = 4096


class Disk:
    """Takes down every change that is made to files from now on, and gives the file at any instant."""

    def __init__(self, monkeypatch, image=b""):
        self.image = image
        self.steps = []
        write, cut, sync = OpenFile.write, OpenFile.cut, OpenFile.sync

        def note_write(file, at, value):
            self.steps.append(("write", at, bytes(value)))
            write(file, at, value)

        def note_cut(file, size):
            self.steps.append(("cut", size, b""))
            cut(file, size)

        def note_sync(file):
            self.steps.append(("sync", 0, b""))
            sync(file)

        monkeypatch.setattr(OpenFile, "write", note_write)
        monkeypatch.setattr(OpenFile, "cut", note_cut)
        monkeypatch.setattr(OpenFile, "sync", note_sync)

    def after_a_power_failure(self, steps, rng):
        """The file after so many steps, of which some pages of what was written after the last sync are lost."""
        synced = max((i for i in range(steps) if self.steps[i][0] == "sync"), default=-1)
        image = bytearray(self.image)
        for i, (what, at, value) in enumerate(self.steps[:steps]):
            if i < synced:
                apply(image, (what, at, value))
                continue
            stops = [*range(-at % _PAGE or _PAGE, len(value), _PAGE), len(value)]
            for start, stop in zip([0, *stops], stops, strict=False):
                if rng.random() < 0.5:
                    apply(image, (what, at + start, value[start:stop]))
        return image

    def instants(self):
        """Number of steps that are done, and the file, at every instant: a write stops at the end of a page, too."""
        image = bytearray(self.image)
        for i, (what, at, value) in enumerate(self.steps):
            yield i, bytes(image)
            if what == "write":
                for stop in range(-at % _PAGE or _PAGE, len(value), _PAGE):
                    torn = bytearray(image)
                    apply(torn, (what, at, value[:stop]))
                    yield i, bytes(torn)
            apply(image, self.steps[i])
        yield len(self.steps), bytes(image)


def apply(image, step):
    what, at, value = step
    if what == "cut":
        del image[at:]
    elif what == "write":
        image.extend(bytes(max(at + len(value) - len(image), 0)))
        image[at : at + len(value)] = value


def play(store, rng, steps, names=6):
    """Change a store at random; after each change what is in it, and after each finish."""
    known, finished = {}, {}
    for _ in range(steps):
        what, key = rng.random(), f"{'ab'[rng.randrange(2)]}/{rng.randrange(names)}"
        if what < 0.6:
            known = {**known, key: rng.randbytes(rng.choice([0, 3, 500, 70_000]))}
            store.set(key, known[key])
        elif what < 0.72:
            known = {k: v for k, v in known.items() if k != key}
            store.delete(key)
        elif what < 0.8:
            known = {k: v for k, v in known.items() if not k.startswith(key[:2])}
            store.delete_below(key[0])
        else:
            finished = known
            store.finish()
        yield known, finished


def contents(store):
    return {key: bytes(store.get(key)) for key, _ in store.survey("")}


def listed(image):
    """What Python's own module finds in a file, and that its checksums hold."""
    with zipfile.ZipFile(io.BytesIO(image)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def small_room(monkeypatch):
    monkeypatch.setattr(zip_session, "_ROOM", 1)
    monkeypatch.setattr(zip_session, "_MOST_ROOM", 20_000)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("long_names", [False, True], ids=["a directory of a page", "a directory of many pages"])
def test_a_writer_that_dies_at_any_instant(tmp_path, monkeypatch, seed, long_names):
    """Every program reads what was finished; daskzarr reads all that was written, and finishes it for everyone."""
    small_room(monkeypatch)
    store = ZipStore(str(tmp_path / "a.zip"))
    known = {"start": b"1"}
    if long_names:
        known |= {"long/" + "x" * 3000 + str(i): b"%d" % i for i in range(3)}
        known["long/" + "y" * 2980] = b"3"  # what ends the file would be divided by a page
    for key, value in known.items():
        store.set(key, value)
    store.finish()
    disk = Disk(monkeypatch, (tmp_path / "a.zip").read_bytes())
    states = [(0, known, known)]
    for now, finished in play(store, random.Random(seed), 20):
        states.append((len(disk.steps), {**known, **now}, {**known, **finished}))
    monkeypatch.undo()
    small_room(monkeypatch)
    other = tmp_path / "b.zip"
    seen = {}
    for done, image in disk.instants():
        if image in seen:
            continue
        before = max(i for i, state in enumerate(states) if state[0] <= done)
        after = min(before + 1, len(states) - 1)
        allowed = [states[before][1], states[after][1]]
        try:
            assert listed(image) in [states[before][2], states[after][2]]
        except zipfile.BadZipFile:
            # for the moment in which the copy of a directory of many pages is put down, after the mark of it
            written = [value for what, _, value in disk.steps[:done] if what != "sync"]
            assert len(written[-1]) == MARK_SIZE
        other.write_bytes(image)
        again = ZipStore(str(other))
        found = contents(again)
        assert found in allowed
        assert listed(other.read_bytes()) in [found, states[before][2], states[after][2]]
        again.set("more", b"2")
        again.finish()
        assert listed(other.read_bytes()) == contents(again) == {**found, "more": b"2"}
        seen[image] = True
    assert len(seen) > 20


def test_whoever_finishes_for_a_writer_that_died_may_die_too(tmp_path, monkeypatch):
    small_room(monkeypatch)
    store = ZipStore(str(tmp_path / "a.zip"))
    store.set("a", b"1" * 3000)
    store.finish()
    for i in range(5):
        store.set(f"b/{i}", b"%d" % i * 9000)
    store.delete("a")
    image = (tmp_path / "a.zip").read_bytes()
    expected = contents(store)
    other = tmp_path / "b.zip"
    other.write_bytes(image)
    disk = Disk(monkeypatch, image)
    assert contents(ZipStore(str(other))) == expected
    assert listed(other.read_bytes()) == expected
    monkeypatch.undo()
    for i, (_, torn) in enumerate(disk.instants()):
        third = tmp_path / f"{i}.zip"
        third.write_bytes(torn)
        assert contents(ZipStore(str(third))) == expected
        assert listed(third.read_bytes()) == expected


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("long_names", [False, True], ids=["a directory of a page", "a directory of many pages"])
def test_a_power_failure(tmp_path, monkeypatch, seed, long_names):
    """Of what was not synced any part may be lost: what was finished is there, and no value is a wrong one."""
    small_room(monkeypatch)
    rng = random.Random(seed)
    store = ZipStore(str(tmp_path / "a.zip"))
    known = {"start": b"1"} | ({"long/" + "x" * 3000 + str(i): b"1" for i in range(4)} if long_names else {})
    for key, value in known.items():
        store.set(key, value)
    store.finish()
    disk = Disk(monkeypatch, (tmp_path / "a.zip").read_bytes())
    states = [(0, {}, {})]
    states += [(len(disk.steps), now, finished) for now, finished in play(store, rng, 20)]
    monkeypatch.undo()
    written = {key: {value} for key, value in known.items()}
    for _, now, _ in states:
        for key, value in now.items():
            written.setdefault(key, set()).add(value)
    other = tmp_path / "b.zip"
    for done in range(1, len(disk.steps) + 1):
        image = disk.after_a_power_failure(done, rng)
        other.write_bytes(image)
        again = ZipStore(str(other))
        found = contents(again)
        assert {key: found[key] for key in known} == known
        assert all(value in written[key] for key, value in found.items())
        again.set("more", b"2")
        again.finish()
        assert listed(other.read_bytes()) == {**found, "more": b"2"}


def test_a_file_in_the_middle_of_a_write_that_is_cut_off(tmp_path, monkeypatch):
    """It is an error, or, where what is left can be told, as it was."""
    monkeypatch.setattr(zip_session, "_ROOM", 1)
    monkeypatch.setattr(zip_session, "_MOST_ROOM", 50)
    store = ZipStore(str(tmp_path / "a.zip"))
    store.set("a", b"1" * 40)
    store.finish()
    store.set("b", b"2" * 40)
    store.set("c", b"3" * 40)
    image = (tmp_path / "a.zip").read_bytes()
    other = tmp_path / "b.zip"
    other.write_bytes(image)
    assert contents(ZipStore(str(other))) == contents(store)
    monkeypatch.setattr(zip_archive, "_WAIT", 0)
    for size in (*range(0, len(image) - 1000, 37), *range(len(image) - 1000, len(image))):
        other.write_bytes(image[:size])
        with pytest.raises(StoreError):
            ZipStore(str(other)).get("a")


@pytest.mark.parametrize("seed", range(4))
def test_damage_in_what_was_not_finished(tmp_path, monkeypatch, seed):
    """What was finished is there, and no value is a wrong one."""
    store = ZipStore(str(tmp_path / "a.zip"))
    store.set("a", b"1" * 40)
    store.finish()
    monkeypatch.setattr(zip_session, "_ROOM", 1)
    written = {"a": b"1" * 40, **{f"b/{i}": b"%d" % i * 40 for i in range(4)}}
    for key, value in written.items():
        store.set(key, value)
    image = (tmp_path / "a.zip").read_bytes()
    rng = random.Random(seed)
    other = tmp_path / "b.zip"
    for _ in range(150):
        damaged = bytearray(image)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(image))] ^= 1 << rng.randrange(8)
        other.write_bytes(damaged)
        try:
            found = contents(ZipStore(str(other)))
        except DaskZarrError:
            continue
        assert all(written.get(key) == value for key, value in found.items())


_WRITER = """
import random, sys, threading
from daskzarr.stores.zip import ZipStore, session
session._ROOM, session._MOST_ROOM = 1, 300_000
path, seed = sys.argv[1], int(sys.argv[2])
telling = threading.Lock()

def tell(*words):
    with telling:
        print(*words, flush=True)

def work(thread):
    rng = random.Random(seed * 10 + thread)
    store = ZipStore(path)
    for turn in range(seed * 100_000 + 1, (seed + 1) * 100_000):
        key, what = f"{thread}/{rng.randrange(20)}", rng.random()
        if what < 0.85:
            store.set(key, b"%09d" % turn + bytes(rng.choice([0, 500, 70_000])))
            tell("set", key, turn)
        elif what < 0.96:
            tell("deleting", key, turn)
            store.delete(key)
            tell("deleted", key, turn)
        else:
            store.finish()

for thread in range(4):
    threading.Thread(target=work, args=(thread,), daemon=True).start()
threading.Event().wait()
"""


def test_a_writer_that_is_killed(tmp_path):
    """Again and again: all that its threads said they had written is there, and every program can read the file."""
    path = str(tmp_path / "a.zip")
    store = ZipStore(path)
    known = {}
    for seed in range(4):
        process = subprocess.Popen([sys.executable, "-c", _WRITER, path, str(seed)], stdout=subprocess.PIPE, text=True)
        wanted = random.Random(seed).randrange(10, 400)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if len(lines) == wanted:
                process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        unclear = set()
        for line in filter(lambda line: line.endswith("\n"), lines):
            what, key, turn = line.split()
            if what == "set":
                known[key] = int(turn)
                unclear.discard(key)
            elif what == "deleting":
                unclear.add(key)
            else:
                known.pop(key, None)
                unclear.discard(key)
        listed(Path(path).read_bytes())
        found = {key: int(value[:9]) for key, value in contents(store).items()}
        other = {key for key in {*known, *found} if known.get(key) != found.get(key)} - unclear
        assert all(found.get(key, 0) > known.get(key, 0) for key in other)  # written, but not told any more
        assert len(other) <= 4
        assert listed(Path(path).read_bytes()) == contents(store)
        known = found
    assert len(known) > 20


def test_what_a_killed_writer_left_in_a_file_that_cannot_be_written(tmp_path, monkeypatch):
    """What was finished is read, until the file can be written."""
    store = ZipStore(str(tmp_path / "a.zip"))
    store.set("a", b"1")
    store.finish()
    store.set("b", b"2")
    other = tmp_path / "b.zip"
    other.write_bytes((tmp_path / "a.zip").read_bytes())
    real = os.open

    def refuse(path, flags, *args, **kwargs):
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    again = ZipStore(str(other))
    assert contents(again) == contents(again) == {"a": b"1"}
    with pytest.raises(PermissionError):
        again.set("c", b"3")
    monkeypatch.undo()
    assert contents(again) == {"a": b"1", "b": b"2"}
