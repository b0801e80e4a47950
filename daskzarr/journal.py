"""A write of a node -> what is noted of it beside the store: its terms, the objects it finished, and that it ended.

A journal is a folder. ``plan.json`` says what was begun; without it nothing else there counts. ``done.json`` says which
plan has come to its end. The rest are batches of receipts: on files every process appends to a log of its own,
elsewhere each batch is an object of its own.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from daskzarr.errors import DaskZarrError, MetadataError, ResumeError, UnsupportedError, raise_from, short
from daskzarr.hierarchy.documents import store_error, writable
from daskzarr.metadata.json_text import format_object, parse_object
from daskzarr.receipt import Receipt
from daskzarr.receipt_text import format_batch, parse_batches
from daskzarr.stores import ListableStore, Listing, Location, creates
from daskzarr.stores.retries import get_many, persist

__all__ = ["Journal", "Receipt", "begin", "differences", "forget", "journal_for", "journals_of", "noted"]

FORMAT = 1
OVERWRITE, AGAIN = "overwrite", "overwrite-again"
"""Names of writes that take the place of another node in the end: until then they say nothing of what is there."""
_FOLDER, _PLAN, _DONE = "__writes__", "plan.json", "done.json"
_STAGED = ("__staged__", "__replaced__")  # where nodes are kept beside their places: not to be looked into

_WRITE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

T = TypeVar("T")

_log = ""


def _renew_log() -> None:
    """Give this process a log that no other one writes to."""
    global _log
    _log = f"log-{uuid.uuid4().hex}"


_renew_log()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_log)


@dataclass(frozen=True, slots=True)
class Journal:
    """What is noted of one write of one node, by any number of processes.

    Parameters
    ----------
    folder
        Where it is noted.
    url, node
        Store and path of the node, for errors.

    Examples
    --------
    >>> import tempfile
    >>> from daskzarr.stores import locate
    >>> place = locate(tempfile.mkdtemp())
    >>> journal = journal_for(place / "a", place / "a", "first")
    >>> begin(journal, {"codecs": ["bytes"]})
    True
    >>> journal.note([Receipt("c/0", 10, 7, 0.25)])
    >>> journal.receipts()
    {'c/0': Receipt(key='c/0', nbytes=10, digest=7, seconds=0.25)}
    >>> journal.finish({"objects": 1})
    >>> journal.finished
    True
    """

    folder: Location
    url: str
    node: str

    def note(self, receipts: Sequence[Receipt]) -> None:
        """Note objects that are stored: all of them or none, by one request."""
        if not receipts:
            return
        batch = format_batch(receipts, time.time_ns())
        append = getattr(self.folder.store, "append", None)  # isinstance of a protocol takes longer than to append
        if append is None:
            self._set(f"batch-{uuid.uuid4().hex}", batch)
        else:
            self._ask("noting", _log, append, self.folder.key(_log), batch)

    def note_as(self, name: str, receipts: Sequence[Receipt]) -> None:
        """Note objects that are stored, as something that can be asked for by its name."""
        self._set(f"batch-{name}", format_batch(receipts, time.time_ns()))

    def noted_as(self, name: str) -> Sequence[Receipt] | None:
        """What was noted by a name; None if nothing was."""
        text = self._get(f"batch-{name}")
        return None if text is None else [each for _, receipts in parse_batches(text) for each in receipts]

    def receipts(self) -> dict[str, Receipt]:
        """All that was noted, by key; of an object that was stored more than once the last."""
        if self._plan() is None:
            return {}
        names = [name for name in self._list().keys if name.startswith(("log-", "batch-"))]
        keys = [self.folder.key(name) for name in names]
        values = self._ask("reading", "", lambda: [*get_many(self.folder.store, keys)])
        batches = [batch for value in values if value is not None for batch in parse_batches(bytes(value))]
        batches.sort(key=lambda batch: batch[0])
        return {receipt.key: receipt for _, receipts in batches for receipt in receipts}

    def terms(self) -> dict[str, Any]:
        """What the write was begun with."""
        return cast(dict[str, Any], self._begun()["terms"])

    @property
    def name(self) -> str:
        """What tells the write from others of the node."""
        return self.folder.path.rpartition("/")[2]

    @property
    def overwrites(self) -> bool:
        """Whether the write takes the place of another node, which is there until it ends."""
        return self.name in (OVERWRITE, AGAIN)

    @property
    def home(self) -> Location:
        """Where all that is noted about the node goes."""
        return Location(self.folder.store, self.folder.path.removesuffix(f"{_FOLDER}/{self.name}").rstrip("/"))

    def of_the_same(self, name: str) -> Journal:
        """The journal of another write of the node."""
        return Journal(
            Location(self.folder.store, self.folder.path.removesuffix(self.name) + name), self.url, self.node
        )

    @property
    def begun(self) -> bool:
        """Whether there is such a write, finished or not."""
        return self._plan() is not None

    @property
    def started(self) -> int:
        """When the write was begun, in nanoseconds since 1970."""
        return cast(int, self._begun()["started"])

    @property
    def finished(self) -> bool:
        """Whether the write came to its end."""
        plan = self._plan()
        done = None if plan is None else self._document(_DONE, {"id": str, "summary": dict})
        return plan is not None and done is not None and done["id"] == plan["id"]

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Note that the write came to its end: the last that is noted of it."""
        done = {"journal_format": FORMAT, "id": self._begun()["id"], "finished": time.time_ns()}
        self._set(_DONE, format_object({**done, "summary": dict(summary)}))

    def discard(self) -> None:
        """Remove all of it. What a kill leaves of it is no journal any more."""
        store = writable(self.folder)
        self._ask("removing", _PLAN, store.delete, self.folder.key(_PLAN))
        self._ask("removing", "", store.delete_below, self.folder.path)

    def _plan(self) -> dict[str, Any] | None:
        """What was begun, None if nothing was."""
        return self._document(_PLAN, {"id": str, "started": int, "terms": dict})

    def _begun(self) -> dict[str, Any]:
        """What was begun; an error if nothing was."""
        plan = self._plan()
        if plan is not None:
            return plan
        raise ResumeError(
            f"there is no journal, or none any more, of this write of /{self.node} in {self.url}",
            url=self.folder.store.url,
            node=self.folder.path,
        )

    def _document(self, name: str, fields: Mapping[str, type]) -> dict[str, Any] | None:
        """A document of the journal, None where it is not there."""
        text = self._get(name)
        if text is None:
            return None
        try:
            document = parse_object(text, name)
            _check(document, fields, f"{name} of the journal of a write of /{self.node} in {self.url}")
        except DaskZarrError as error:
            raise_from(error.locate(url=self.folder.store.url, node=self.folder.path, field=name), error)
        return document

    def _get(self, name: str) -> bytes | None:
        """An object of the journal."""
        value = self._ask("reading", name, self.folder.store.get, self.folder.key(name))
        return None if value is None else bytes(value)

    def _set(self, name: str, value: bytes) -> None:
        """Put an object of the journal."""
        self._ask("noting", name, writable(self.folder).set, self.folder.key(name), value)

    def _list(self) -> Listing:
        """What is directly in the folder."""
        return self._ask("listing", "", cast(ListableStore, self.folder.store).list_dir, self.folder.path)

    def _ask(self, doing: str, name: str, call: Callable[..., T], *args: Any) -> T:
        """Ask the store for something; a failure says which node it is about, and where the journal is."""
        try:
            return persist(call, *args)
        except Exception as error:
            what = f"{doing} what was written of /{self.node} in {self.url}"
            raise_from(store_error(what, error, self.folder, name), error)


def journal_for(location: Location, beside: Location | None, write_id: str) -> Journal:
    """The journal of a write of the node at a location, begun or not.

    ``beside`` is where what is noted about the node goes. ``write_id`` tells its writes apart: letters and digits, and
    after the first also ``_.-``.
    """
    if not _WRITE_ID.fullmatch(write_id):
        raise MetadataError(f"{short(write_id)} cannot name a write", url=location.store.url, node=location.path)
    folder = _writes_of(location, beside).folder
    return Journal(folder / write_id, location.store.url, location.path)


def begin(journal: Journal, terms: Mapping[str, Any], *, exclusive: bool = False) -> bool:
    """Open a journal; what was noted in it before is gone.

    Parameters
    ----------
    journal
        Of the write that begins.
    terms
        What the write is to be known by: JSON values.
    exclusive
        Leave a journal that is there already, finished or not, as it is. Of many that begin at once then only one does,
        if the store can create.

    Returns
    -------
    bool
        Whether the journal was opened.

    Examples
    --------
    >>> from daskzarr.stores import MappingStore
    >>> place = Location(MappingStore({}))
    >>> journal = journal_for(place, place, "first")
    >>> [begin(journal, {"by": name}, exclusive=True) for name in "ab"], journal.terms()
    ([True, False], {'by': 'a'})
    """
    plan = {"journal_format": FORMAT, "id": uuid.uuid4().hex, "started": time.time_ns(), "terms": dict(terms)}
    text = format_object(plan)
    # Old receipts go before the new plan comes, and the old plan before them: whenever a kill comes, they do not count.
    if exclusive:
        return _sweep(journal) and _create_plan(journal, text)
    journal.discard()
    journal._set(_PLAN, text)
    return True


def _sweep(journal: Journal) -> bool:
    """Remove what a kill left of a journal; False if it is no such rest."""
    _renew_log()
    names = journal._list().keys
    if _PLAN in names:
        return False
    # One by one: what another one that begins puts there meanwhile has names of its own, and is to stay. The end of an
    # older write may stay as well: it names its plan.
    for name in names:
        if name != _DONE:
            journal._ask("removing", name, writable(journal.folder).delete, journal.folder.key(name))
    return True


def _create_plan(journal: Journal, text: bytes) -> bool:
    """Put the plan where there is none."""
    store = journal.folder.store
    if creates(store):
        made = journal._ask("noting", _PLAN, store.create, journal.folder.key(_PLAN), text)
        return made or journal._get(_PLAN) == text  # made by a request whose answer was lost
    if journal._get(_PLAN) is not None:
        return False
    journal._set(_PLAN, text)
    return True


def differences(terms: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the entries that are not the same in both, written as JSON.

    Examples
    --------
    >>> differences({"shape": (4,), "dtype": "int16", "region": None}, {"dtype": "int32", "shape": [4]})
    ('dtype', 'region')
    """
    one, two = ({name: _canonical(value) for name, value in each.items()} for each in (terms, other))
    return tuple(name for name in {**one, **two} if one.get(name) != two.get(name))


def journals_of(location: Location, beside: Location | None) -> list[Journal]:
    """The journals of all writes of the node at a location, finished or not, the first begun first."""
    if beside is None:
        return []
    names = sorted(filter(_WRITE_ID.fullmatch, _writes_of(location, beside)._list().prefixes))
    return _by_start(journal_for(location, beside, name) for name in names)


def noted(journals: Iterable[Journal]) -> dict[str, Receipt]:
    """What several writes of a node noted, by key; of an object that several stored the one that was begun last."""
    found: dict[str, Receipt] = {}
    for journal in _by_start(journals):
        found |= journal.receipts()
    return found


def forget(location: Location, beside: Location | None) -> None:
    """Remove all that is noted about the node at a location, and about nodes below it."""
    if beside is None:
        return
    writes = _writes_of(location, beside)
    for name in writes._list().prefixes:
        Journal(writes.folder / name, writes.url, writes.node).discard()
    here = Journal(beside, writes.url, writes.node)
    for name in here._list().prefixes:
        if name != _FOLDER and not name.startswith(_STAGED):
            forget(location / name, beside / name)
    writes._ask("removing", "", writable(beside).delete_below, writes.folder.path)
    if not any(here._list()):
        writes._ask("removing", "", writable(beside).delete_below, beside.path)  # folders with nothing in them


def forget_others(location: Location, beside: Location | None, kept: Collection[str]) -> None:
    """Remove what is noted about the node at a location, and about nodes below it, save those at the paths ``kept``."""
    if beside is None:
        return
    if location.path not in kept:
        for journal in journals_of(location, beside):
            journal.discard()
    for name in Journal(beside, location.store.url, location.path)._list().prefixes:
        if name != _FOLDER and not name.startswith(_STAGED):
            forget_others(location / name, beside / name, kept)


def _writes_of(location: Location, beside: Location | None) -> Journal:
    """The folder of all journals of a node."""
    if beside is None or not isinstance(beside.store, ListableStore):
        place = "there is no place beside this store" if beside is None else f"{beside.store.url} is no place"
        raise UnsupportedError(
            f"{place} where the progress of a write could be noted: it has to be one that can be written and listed",
            url=location.store.url,
            node=location.path,
        )
    return Journal(beside / _FOLDER, location.store.url, location.path)


def _by_start(journals: Iterable[Journal]) -> list[Journal]:
    """Those that were begun, the first begun first."""
    begun = [(plan["started"], journal) for journal in journals if (plan := journal._plan()) is not None]
    return [journal for _, journal in sorted(begun, key=lambda entry: entry[0])]


def _check(document: Mapping[str, Any], fields: Mapping[str, type], what: str) -> None:
    """Refuse a document of another format, or without the fields it has to have."""
    version = document.get("journal_format")
    if type(version) is int and version > FORMAT:
        raise UnsupportedError(
            f"{what} has format {version}, of which this version of daskzarr knows nothing: use a newer one"
        )
    if version != FORMAT or any(type(document.get(name)) is not kind for name, kind in fields.items()):
        raise MetadataError(f"{what} is damaged; delete its folder to go on without it")


def _canonical(value: Any) -> str:
    """A value as JSON, the same for the same value."""
    return json.dumps(json.loads(format_object({"": value})), sort_keys=True)
