"""What is noted of writes: nothing invented, nothing of an older write, everything from every process."""

import errno
import json
import os
import pickle
import random
import subprocess
import sys
import threading
from types import MappingProxyType

import fsspec
import google_crc32c
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daskzarr.errors import MetadataError, ResumeError, StoreError, StorePermissionError, UnsupportedError
from daskzarr.journal import (
    FORMAT,
    Journal,
    Receipt,
    begin,
    differences,
    forget,
    journal_for,
    journals_of,
    noted,
)
from daskzarr.receipt_text import format_batch, parse_batches
from daskzarr.stores import FilesystemStore, LocalStore, Location, MappingStore
from daskzarr.testing import FaultyStore, RecordingStore

STORED = Receipt("c/0/1", 1024, 0xA1B2C3D4, 0.00125)
LEFT_OUT = Receipt("c/0/2", 0, None, 3.1e-05)
EMPTY = Receipt("c/0/3", 0, 0, 0.0)


def place(kind, folder):
    """A place for notes in a store of some kind."""
    if kind == "files":
        return Location(LocalStore(str(folder / "x.zarr.daskzarr")), "a/b")
    if kind == "objects":
        root = f"/journal-{random.getrandbits(64):x}/x.zarr.daskzarr"
        return Location(FilesystemStore(fsspec.filesystem("memory"), root, f"memory:/{root}"), "a/b")
    return Location(MappingStore({}), "a/b")


@pytest.fixture(params=["files", "objects", "mapping"])
def beside(request, tmp_path):
    return place(request.param, tmp_path)


@pytest.fixture
def node(tmp_path):
    return Location(LocalStore(str(tmp_path / "x.zarr")), "a/b")


@pytest.fixture
def journal(node, beside):
    journal = journal_for(node, beside, "one")
    assert begin(journal, {"codecs": ["bytes"]})
    return journal


def names_in(journal):
    return set(journal.folder.store.list_dir(journal.folder.path).keys)


# ---------------------------------------------------------------------------------------------------- text of receipts


receipts = st.builds(
    Receipt,
    st.text(st.characters(codec=None), max_size=12) | st.sampled_from(["c/0/1", "c/0/2", "0.0", "#", "%41", "a b"]),
    st.integers(0, 2**63),
    st.none() | st.integers(0, 2**32 - 1),
    st.floats(0, 1e9),
)


def as_stored(receipt):
    return receipt._replace(seconds=float(f"{receipt.seconds:.6g}"))


@given(st.lists(st.tuples(st.integers(0, 2**63), st.lists(receipts, max_size=5)), max_size=4))
@example([(1, [Receipt("a\n#00000000 1\nc/0 1 - 0", 1, None, 0.5), Receipt("\ud83d\ude00é ☃\x7f\0", 2, 3, 1e-12)])])
def test_receipts_come_back_whatever_their_keys_hold(batches):
    text = b"".join(format_batch(batch, at) for at, batch in batches)
    assert list(parse_batches(text)) == [(at, [as_stored(receipt) for receipt in batch]) for at, batch in batches]
    assert text.isascii()
    assert all(character == 10 or 32 <= character < 127 for character in text)


def test_seconds_have_six_digits():
    assert format_batch([Receipt("c/0", 1, 2, 1 / 3)], 5).endswith(b"\nc/0 1 00000002 0.333333")


changes = st.lists(
    st.tuples(
        st.sampled_from(["cut", "front", "drop", "double", "flip", "insert", "zeros", "newline"]),
        st.floats(0, 1),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)


def changed(text, how, here, there, value):
    """A text after an accident."""
    start, stop = sorted((round(here * len(text)), round(there * len(text))))
    if how == "cut":
        return text[:start]
    if how == "front":
        return text[start:]
    if how == "drop":
        return text[:start] + text[stop:]
    if how == "double":
        return text[:stop] + text[start:]
    if how == "flip":
        return text[:start] + bytes([text[start] ^ value[0]]) + text[start + 1 :] if start < len(text) else text
    if how == "zeros":
        return text[:start] + bytes(stop - start) + text[stop:]
    return text[:start] + (b"\n" if how == "newline" else value) + text[start:]


@settings(max_examples=300)
@given(st.lists(st.lists(receipts, min_size=1, max_size=4), min_size=1, max_size=4), changes)
def test_no_accident_makes_a_receipt_that_was_not_noted(batches, accidents):
    text = b"".join(format_batch(batch, 7) for batch in batches)
    for accident in accidents:
        text = changed(text, *accident)
    allowed = [[as_stored(receipt) for receipt in batch] for batch in batches]
    assert all(at == 7 and found in allowed for at, found in parse_batches(text))


@given(st.lists(receipts, min_size=1, max_size=4), st.lists(receipts, min_size=1, max_size=4), st.data())
def test_a_torn_batch_spoils_only_itself(torn, whole, data):
    text = format_batch(torn, 1)
    text = text[: data.draw(st.integers(0, len(text) - 1))]
    assert list(parse_batches(text + format_batch(whole, 2))) == [(2, [as_stored(receipt) for receipt in whole])]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "c/0 1 00000002",
        "c/0 1 00000002 0.5 6",
        "c/0 1 00000002 0.5 ",
        " c/0 1 00000002 0.5",
        "c/0  1 00000002 0.5",
        "c/0 -1 00000002 0.5",
        "c/0 1.0 00000002 0.5",
        "c/0 1_0 00000002 0.5",
        "c/0 0x1 00000002 0.5",
        "c/0 100000000000000000000 00000002 0.5",
        "c/0 1 2 0.5",
        "c/0 1 0000000A 0.5",
        "c/0 1 000000002 0.5",
        "c/0 1 -- 0.5",
        "c/0 1 00000002 -0.5",
        "c/0 1 00000002 nan",
        "c/0 1 00000002 inf",
        "c/0 1 00000002 0.",
        "c/0 1 00000002 .5",
        "c/0 1 00000002 1e5e5",
        "c/0 1 00000002 0.5\r",
        "c%2F0 1 00000002 0.5",  # never written so
        "c%zz 1 00000002 0.5",
        "c%20%ff 1 00000002 0.5",
        "c%0a 1 00000002 0.5",
        "c#0 1 00000002 0.5",
        "é 1 00000002 0.5",
    ],
)
def test_a_line_that_is_no_receipt_is_passed_over(line):
    text = f"9\nc/1 1 00000002 0.5\n{line}\nc/2 1 00000002 0.5".encode()
    batch = b"\n#%08x %b" % (google_crc32c.value(text), text)
    assert [(at, [receipt.key for receipt in found]) for at, found in parse_batches(batch)] == [(9, ["c/1", "c/2"])]


@pytest.mark.parametrize("head", ["", "x", "-1", "9 9", "9" * 30, " 9"])
def test_a_batch_with_a_strange_time_is_none(head):
    text = f"{head}\nc/1 1 00000002 0.5".encode()
    assert not list(parse_batches(b"\n#%08x %b" % (google_crc32c.value(text), text)))


# ------------------------------------------------------------------------------------------------------------- journal


def test_what_is_noted_is_read(journal):
    assert journal.receipts() == {}
    journal.note([])
    assert names_in(journal) == {"plan.json"}
    journal.note([STORED, LEFT_OUT])
    journal.note([EMPTY])
    assert journal.receipts() == {receipt.key: receipt for receipt in (STORED, LEFT_OUT, EMPTY)}
    assert journal.terms() == {"codecs": ["bytes"]}


def test_the_last_receipt_of_an_object_counts(journal):
    for digest in range(20):
        journal.note([STORED._replace(digest=digest)])
        journal.note([STORED._replace(key="c/9", digest=7)])
    assert journal.receipts()["c/0/1"].digest == 19


def test_of_several_logs_the_last_receipt_of_an_object_counts(journal):
    def put(name, *batches):
        text = b"".join(format_batch([STORED._replace(digest=digest)], at) for at, digest in batches)
        journal.folder.store.set(journal.folder.key(name), text)

    put("log-b", (1, 1), (10, 2), (3, 3))
    put("log-a", (9, 4))
    put("batch-c", (8, 5))
    put("other", (11, 6))
    assert journal.receipts() == {"c/0/1": STORED._replace(digest=2)}
    put("batch-d", (12, 7))
    assert journal.receipts() == {"c/0/1": STORED._replace(digest=7)}


def test_a_batch_is_one_request(node, tmp_path):
    for kind, request in (("files", "append"), ("mapping", "set")):
        store = RecordingStore(place(kind, tmp_path).store)
        journal = journal_for(node, Location(store), "one")
        begin(journal, {})
        store.clear()
        journal.note([STORED._replace(key=f"c/{i}") for i in range(128)])
        assert [found.kind for found in store.requests] == [request]
        assert len(journal.receipts()) == 128


def test_on_files_a_process_has_one_log_and_elsewhere_each_batch_an_object(journal):
    for i in range(3):
        journal.note([STORED._replace(key=f"c/{i}")])
    assert len(names_in(journal)) == (2 if isinstance(journal.folder.store, LocalStore) else 4)


def test_the_end(journal):
    journal.note([STORED])
    assert not journal.finished
    journal.finish(MappingProxyType({"objects": 1}))
    assert journal.finished
    document = json.loads(bytes(journal.folder.store.get(journal.folder.key("done.json"))))
    assert document["summary"] == {"objects": 1}
    assert journal.receipts() == {"c/0/1": STORED}


def test_beginning_again_forgets(journal):
    journal.note([STORED])
    journal.finish({})
    started = journal.started
    assert not begin(journal, {"other": 1}, exclusive=True)
    assert journal.finished
    assert journal.terms() == {"codecs": ["bytes"]}
    assert begin(journal, {"other": 1})
    assert journal.receipts() == {}
    assert not journal.finished
    assert journal.terms() == {"other": 1}
    assert journal.started > started


def test_discarded_it_is_gone(journal, node, beside):
    journal.note([STORED])
    journal.finish({})
    journal.discard()
    journal.discard()
    assert names_in(journal) == set()
    assert journal.receipts() == {}
    assert not journal.finished
    assert journals_of(node, beside) == []
    for ask in (journal.terms, lambda: journal.started, lambda: journal.finish({})):
        with pytest.raises(ResumeError, match=r"no journal.*/a/b in file://.*x\.zarr.*__writes__/one"):
            ask()


def test_without_a_plan_nothing_counts(journal, node, beside):
    journal.note([STORED])
    journal.finish({})
    journal.folder.store.delete(journal.folder.key("plan.json"))
    assert journal.receipts() == {}
    assert not journal.finished
    assert noted([journal]) == {}
    assert journals_of(node, beside) == []
    assert begin(journal, {}, exclusive=True)
    assert journal.receipts() == {}
    assert not journal.finished
    journal.note([LEFT_OUT])
    assert journal.receipts() == {"c/0/2": LEFT_OUT}
    journal.finish({})
    assert journal.finished


def test_terms_that_are_no_json_are_refused_before_anything_goes(journal):
    journal.note([STORED])
    for terms in ({"a": {1, 2}}, {"a": float("nan")}):
        with pytest.raises(MetadataError):
            begin(journal, terms)
    assert journal.receipts() == {"c/0/1": STORED}


def test_the_journals_of_a_node_are_in_the_order_they_began(node, beside):
    names = ["m", "b", "z", "a"]
    journals = [journal_for(node, beside, name) for name in names]
    for i, journal in enumerate(journals):
        begin(journal, {})
        journal.note([Receipt("c/all", i, i, 1.0), Receipt(f"c/{i}", i, i, 1.0)])
    journals[2].finish({})
    for other in (node / "c", Location(node.store, "a"), Location(node.store, "a/bb")):
        elsewhere = Location(beside.store, other.path)
        begin(journal_for(other, elsewhere, "n"), {})
    assert journals_of(node, beside) == journals
    assert [journal.finished for journal in journals_of(node, beside)] == [False, False, True, False]
    found = noted(reversed(journals))
    assert {key: receipt.nbytes for key, receipt in found.items()} == {"c/all": 3, **{f"c/{i}": i for i in range(4)}}
    begin(journals[0], {})
    journals[0].note([Receipt("c/all", 9, 9, 1.0)])
    assert journals_of(node, beside) == [*journals[1:], journals[0]]
    assert noted(journals)["c/all"].nbytes == 9
    assert "c/0" not in noted(journals)


def test_forgetting_takes_what_is_below_and_nothing_else(node, beside):
    store = beside.store
    paths = ["", "a", "a/b", "a/b/c/d", "a/bb"]
    journals = {path: journal_for(Location(node.store, path), Location(store, path), "one") for path in paths}
    for path, journal in journals.items():
        begin(journal, {})
        journal.note([STORED._replace(key=path)])
    store.set("a/b/__staged__w/c/0", b"1")
    store.set("a/b/__staged__w/__writes__/plan.json", b"1")
    store.set("a/b/c/__replaced__/c/0", b"1")
    forget(node, beside)
    left = {path for path, journal in journals.items() if journal.receipts()}
    assert left == {"", "a", "a/bb"}
    assert store.get("a/b/__staged__w/__writes__/plan.json") == b"1"
    assert store.get("a/b/c/__replaced__/c/0") == b"1"
    for folder in ("a/b/__staged__w", "a/b/c/__replaced__"):
        store.delete_below(folder)
    forget(node, beside)
    assert store.list_dir("a").prefixes == ("__writes__", "bb")
    forget(node, beside)
    forget(Location(node.store), Location(store))
    assert store.list_dir("") == ((), ())
    forget(node, None)
    assert journals_of(node, None) == []


def test_forgetting_goes_on_where_it_was_killed(node):
    for after in range(12):
        store, beside = dying_store()
        journal = journal_for(node / "c", beside / "c", "one")
        begin(journal, {})
        journal.note([STORED])
        journal.note([LEFT_OUT])
        journal.finish({})
        store.left = after
        try:
            forget(node, beside)
            assert not store
        except KeyboardInterrupt:
            store.left = 1000
            whole = len(journal.receipts()) == 2 and journal.finished
            assert whole or (journal.receipts() == {} and not journal.finished)
            forget(node, beside)
            assert not store


# --------------------------------------------------------------------------------------------------------------- kills


class Dying(dict):
    """A mapping whose process is killed before one of its changes."""

    left = 1000

    def __iter__(self):
        return reversed(list(self.keys()))  # the plan comes last, unless it is deleted by name

    def _count(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def __setitem__(self, key, value):
        self._count()
        super().__setitem__(key, value)

    def setdefault(self, key, value=None):
        self._count()
        return super().setdefault(key, value)

    def __delitem__(self, key):
        self._count()
        super().__delitem__(key)


def dying_store():
    """A mapping that can die, and a place in it."""
    mapping = Dying()
    return mapping, Location(MappingStore(mapping), "a/b")


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("finished", [False, True])
def test_no_kill_leaves_old_receipts_beside_a_new_plan(node, exclusive, finished):
    for first in range(9):
        for second in range(9):
            mapping, beside = dying_store()
            journal = journal_for(node, beside, "one")
            begin(journal, {"write": "old"})
            for receipt in (STORED, LEFT_OUT, EMPTY):
                journal.note([receipt])
            if finished:
                journal.finish({})
            for after, again in ((first, False), (second, exclusive)):
                mapping.left = after
                try:
                    begun = begin(journal, {"write": "new"}, exclusive=again)
                except KeyboardInterrupt:
                    begun = None
                mapping.left = 1000
                old = [found.terms()["write"] for found in journals_of(node, beside)] == ["old"]
                assert len(journal.receipts()) == (3 if old else 0)
                assert journal.finished == (old and finished)
                assert not (begun and old)
            if exclusive and begun is None:
                assert begin(journal, {"write": "new"}, exclusive=True) or journal.terms() == {"write": "new"}


def test_an_old_end_is_not_that_of_a_new_write(journal):
    journal.finish({})
    old = bytes(journal.folder.store.get(journal.folder.key("done.json")))
    begin(journal, {})
    journal.folder.store.set(journal.folder.key("done.json"), old)
    assert not journal.finished


# ------------------------------------------------------------------------------------------------- threads, processes


def run(code, count, *arguments):
    """Run a piece of Python in several processes at once; what each of them prints, as JSON."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(i), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]
    for process in running:
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    found = []
    for process in running:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        found.append(json.loads(out))
    return found


NOTING = """
import pickle, sys
from daskzarr.journal import Receipt
number, pickled = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
print("ready", flush=True); sys.stdin.readline()
journal = pickle.loads(pickled)
for batch in range(200):
    journal.note([Receipt(f"c/{number}/{batch}/{i}", number, batch * 100 + i, 0.5) for i in range(1 + batch % 9)])
print("0")
"""


def test_many_processes_note_at_once(node, tmp_path):
    journal = journal_for(node, place("files", tmp_path), "one")
    begin(journal, {})
    run(NOTING, 4, pickle.dumps(journal).hex())
    expected = {
        key: Receipt(key, number, batch * 100 + i, 0.5)
        for number in range(4)
        for batch in range(200)
        for i in range(1 + batch % 9)
        if (key := f"c/{number}/{batch}/{i}")
    }
    assert journal.receipts() == expected
    assert len(names_in(journal)) == 5


FORKING = """
import os, pickle, sys
from daskzarr.journal import Receipt
pickled = bytes.fromhex(sys.argv[2])
print("ready", flush=True); sys.stdin.readline()
journal = pickle.loads(pickled)
journal.note([Receipt("before", 1, 1, 0.5)])
child = os.fork()
for i in range(50):
    journal.note([Receipt(f"{'parent' if child else 'child'}/{i}", 1, 1, 0.5)])
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("0")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_a_log_of_its_own(node, tmp_path):
    journal = journal_for(node, place("files", tmp_path), "one")
    begin(journal, {})
    run(FORKING, 1, pickle.dumps(journal).hex())
    assert len(journal.receipts()) == 101
    logs = sorted(names_in(journal) - {"plan.json"})
    assert len(logs) == 2
    texts = [bytes(journal.folder.store.get(journal.folder.key(name))) for name in logs]
    assert sorted((text.count(b"\nparent/"), text.count(b"\nchild/")) for text in texts) == [(0, 50), (50, 0)]


BEGINNING = """
import json, pickle, sys
from daskzarr.journal import Receipt, begin
number, pickled = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
print("ready", flush=True); sys.stdin.readline()
won = []
for i, journal in enumerate(pickle.loads(pickled)):
    if begin(journal, {"by": number}, exclusive=True):
        journal.note([Receipt("c/0", number, number, 0.5)])
        won.append(i)
print(json.dumps(won))
"""


def test_of_many_processes_that_begin_at_once_one_does(node, tmp_path):
    beside = place("files", tmp_path)
    journals = [journal_for(node, beside, f"w{i}") for i in range(60)]
    for journal in journals[:30]:  # with rests of older writes, which a kill left
        begin(journal, {})
        journal.note([STORED])
        beside.store.delete(journal.folder.key("plan.json"))
    won = run(BEGINNING, 4, pickle.dumps(journals).hex())
    assert sorted(i for each in won for i in each) == list(range(60))
    for number, each in enumerate(won):
        for i in each:
            assert journals[i].terms() == {"by": number}
            assert journals[i].receipts() == {"c/0": Receipt("c/0", number, number, 0.5)}


@pytest.mark.parametrize("kind", ["files", "mapping"])
def test_of_many_threads_that_begin_at_once_one_does(node, tmp_path, kind):
    beside = place(kind, tmp_path)
    for attempt in range(20):
        journal = journal_for(node, beside, f"w{attempt}")
        together = threading.Barrier(8)
        won = []

        def start(number, journal=journal, together=together, won=won):
            together.wait()
            if begin(journal, {"by": number}, exclusive=True):
                won.append(number)

        threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [journal.terms()["by"]] == won


def test_threads_share_the_log_of_their_process(node, tmp_path):
    journal = journal_for(node, place("files", tmp_path), "one")
    begin(journal, {})

    def note(number):
        for i in range(50):
            journal.note([Receipt(f"c/{number}/{i}/{j}", j, j, 0.5) for j in range(8)])

    threads = [threading.Thread(target=note, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.receipts()) == 4 * 50 * 8
    assert len(names_in(journal)) == 2


def test_a_creation_whose_answer_was_lost_counts(node, tmp_path):
    class Forgetful(LocalStore):
        def create(self, key, value):
            super().create(key, value)
            return super().create(key, value)  # what trying again amounts to

    store = Forgetful(str(tmp_path / "notes"))
    journal = journal_for(node, Location(store), "one")
    assert begin(journal, {}, exclusive=True)
    assert not begin(journal, {}, exclusive=True)


def test_a_store_that_cannot_create_looks_first(node, tmp_path):
    journal = journal_for(node, place("objects", tmp_path), "one")
    assert begin(journal, {"by": 1}, exclusive=True)
    assert not begin(journal, {"by": 2}, exclusive=True)
    assert journal.terms() == {"by": 1}


# --------------------------------------------------------------------------------------------------- value, and errors


def test_it_is_a_small_value():
    store, notes = LocalStore("/data/project/run/output.zarr"), LocalStore("/data/project/run/output.zarr.daskzarr")
    name = "3f2b8c1e5d6a4f709182a3b4c5d6e7f8"
    journal, same, other = (
        journal_for(Location(store, "group/t"), Location(notes, "group/t"), write) for write in (name, name, "other")
    )
    pickled = pickle.dumps(journal)
    assert len(pickled) < 400
    assert pickle.loads(pickled) == journal == same
    assert len({journal, pickle.loads(pickled), same, other}) == 2
    assert journal == Journal(Location(notes, f"group/t/__writes__/{name}"), store.url, "group/t")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a b", "_a", "-a", "a\n", "é"])
def test_names_of_writes_are_plain(node, name):
    with pytest.raises(MetadataError, match="cannot name a write"):
        journal_for(node, Location(MappingStore({})), name)


def test_where_nothing_can_be_noted(node, tmp_path):
    with pytest.raises(UnsupportedError, match=r"no place beside this store.*x\.zarr"):
        journal_for(node, None, "one")

    class Unlisted:
        url = "x://unlisted"
        get = get_many = None

    with pytest.raises(UnsupportedError, match="x://unlisted is no place"):
        journals_of(node, Location(Unlisted()))
    read_only = Location(MappingStore(MappingProxyType({})))
    assert journals_of(node, read_only) == []
    for exclusive in (False, True):
        with pytest.raises(UnsupportedError, match="only be read"):
            begin(journal_for(node, read_only, "one"), {}, exclusive=exclusive)


@pytest.mark.parametrize("name", ["plan.json", "done.json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: text[:-3],
        lambda text: b"[1]",
        lambda text: text.replace(b'"journal_format": 1', b'"journal_format": "1"'),
        lambda text: text.replace(b'"journal_format": 1', b'"journal_format": 0'),
        lambda text: text.replace(b'"journal_format"', b'"format"'),
        lambda text: text.replace(b'"id"', b'"di"'),
        lambda text: b"\xff" + text,
    ],
)
def test_damaged_documents_are_named(journal, node, beside, name, damage):
    journal.finish({})
    key = journal.folder.key(name)
    journal.folder.store.set(key, damage(bytes(journal.folder.store.get(key))))
    asked = [lambda: journal.finished]
    if name == "plan.json":
        asked += [journal.terms, lambda: journal.started, journal.receipts, lambda: journals_of(node, beside)]
    for ask in asked:
        with pytest.raises(MetadataError) as caught:
            ask()
        assert type(caught.value) is MetadataError
        assert (caught.value.url, caught.value.node) == (beside.store.url, "a/b/__writes__/one")
        assert name in str(caught.value)
    assert begin(journal, {})
    assert not journal.finished


def test_a_newer_format_is_an_error_that_says_so(journal):
    key = journal.folder.key("plan.json")
    document = json.loads(bytes(journal.folder.store.get(key)))
    journal.folder.store.set(key, json.dumps({"journal_format": FORMAT + 1, "id": document["id"]}).encode())
    with pytest.raises(UnsupportedError, match=rf"plan.json .*/a/b in file://.*format {FORMAT + 1}.*__writes__/one"):
        journal.receipts()


@pytest.mark.parametrize("doing", ["set", "get", "list_dir", "delete", "delete_below"])
def test_failures_say_where(node, doing):
    inner = MappingStore({})
    begin(journal_for(node, Location(inner, "a/b"), "one"), {})
    refused = PermissionError("no, https://me:secret@host/x?token=secret")
    store = FaultyStore(inner, {"*": refused}, on=[doing])
    journal = journal_for(node, Location(store, "a/b"), "one")
    ask = {
        "set": lambda: journal.note([STORED]),
        "get": journal.receipts,
        "list_dir": lambda: journals_of(node, Location(store, "a/b")),
    }.get(doing, journal.discard)
    with pytest.raises(StorePermissionError, match=r"/a/b in file://.*x\.zarr.*__writes__") as caught:
        ask()
    assert "secret" not in str(caught.value)
    assert caught.value.url == inner.url
    assert caught.value.node.startswith("a/b/__writes__")


def test_a_full_disk_is_an_error_of_the_store(node, tmp_path, monkeypatch):
    journal = journal_for(node, place("files", tmp_path), "one")
    begin(journal, {})

    def full(self, key, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalStore, "append", full)
    with pytest.raises(StoreError, match=r"noting what was written of /a/b in file://.*No space left"):
        journal.note([STORED])


@pytest.mark.parametrize(
    ("one", "two", "names"),
    [
        ({}, {}, ()),
        ({"a": (1, 2), "b": {"x": 1, "y": 2}}, {"b": {"y": 2, "x": 1}, "a": [1, 2]}, ()),
        ({"b": 1, "a": 2}, {"a": 3, "b": 2, "c": 0}, ("b", "a", "c")),
        ({"a": None}, {}, ("a",)),
        ({"a": 1}, {"a": True}, ("a",)),
        ({"a": 1}, {"a": 1.0}, ("a",)),
        ({"a": "\ud800é"}, {"a": "\ud800é"}, ()),
    ],
)
def test_what_differs(node, one, two, names):
    assert differences(one, two) == names
    journal = journal_for(node, Location(MappingStore({})), "one")
    begin(journal, one)
    assert differences(journal.terms(), one) == ()
    assert differences(journal.terms(), two) == names
