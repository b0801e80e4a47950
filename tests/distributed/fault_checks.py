"""What is stored, while it is written and afterwards -> everything that is wrong with it, in words."""

import json
import os
import random
import re
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

import daskzarr
from daskzarr.array_handle import ArrayHandle
from daskzarr.hierarchy.notes import notes_of
from daskzarr.journal import journals_of, noted
from daskzarr.stores import locate

from .fault_cases import DOCUMENTS, LINE

DOCUMENT_NAMES = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata", "attributes.json"}
JOURNAL_FILE = re.compile(r"plan\.json|done\.json|log-[0-9a-f]{32}")
UNSEEN = re.compile(r"\..+\.partial|\.__swap__")  # what every reader takes for hidden; in the end there must be none


def in_short():
    """The exception that is being handled: where it came from, and what it says."""
    *frames, last = traceback.extract_tb(sys.exc_info()[2])
    found = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in (*frames[-4:], last)]
    return f"{' > '.join(found)}: {sys.exc_info()[1]!r}"[:1000]


# ---- while it is written


def look_on(case, data, stop, report):
    """Read objects and arrays, one after the other, until told to stop; then say what was wrong."""
    rng = random.Random(f"reader {case.seed}")
    counts, problems = Counter(), []
    while not os.path.exists(stop):
        for target in case.targets:
            for look in (look_at_objects, look_at_array):
                try:
                    problems += look(case, target, data, counts, rng)
                except Exception:
                    problems.append(f"reading failed: {in_short()}")
        if len(problems) > 20:
            break
        time.sleep(0.002)
    Path(report).write_text(json.dumps({"counts": counts, "problems": problems[:20]}))


def look_at_objects(case, target, data, counts, rng=None, most=8):
    """Read some of the stored objects, or all: each is one of the old array or of the new one, whole."""
    folder = target.folder(data)
    before = identity(target, data)
    keys = sorted(chunk_keys(folder))
    problems = []
    for key in keys if rng is None else rng.sample(keys, min(most, len(keys))):
        try:
            stored = (folder / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        counts["objects"] += 1
        wrong = _wrong_object(target, data, key, stored)
        if wrong is not None and (before is not None and before == identity(target, data)):
            problems.append(f"object {key} of {len(stored)} bytes is {wrong}")
    return problems


def _wrong_object(target, data, key, stored):
    """What is wrong with an object, None if it is as it was before or as it is to be."""
    reasons = []
    for state in (target.old, target.new):
        if state is None or state.index(key) is None:
            continue
        index = state.index(key)
        try:
            cells = handle_of(target, data, state).pipeline_at(index).decode(stored)
        except (daskzarr.DaskZarrError, _NotThere) as error:
            reasons.append(str(error))
            continue
        expected = state.values[state.box(index)]
        if np.array_equal(cells[tuple(map(slice, expected.shape))], expected):
            return None
        reasons.append(f"wrong in {np.count_nonzero(cells[tuple(map(slice, expected.shape))] != expected)} cells")
    return " and ".join(reasons) or "none of the array's"


class _NotThere(Exception):
    """There is no array of a state any more, or not yet."""


_handles = {}


def handle_of(target, data, state):
    """What decodes the objects of a state; it is remembered for when the array is another one."""
    known = _handles.get((data, target.store, target.component, id(state)))
    if known is not None:
        return known[1]
    try:
        array = daskzarr.open_array(Path(data, target.store), target.component, zarr_format=state.zarr_format)
    except (daskzarr.NodeNotFoundError, daskzarr.MetadataError) as error:
        raise _NotThere(str(error)) from None
    units = tuple(max(n) if isinstance(n, tuple) else n for n in state.settings["shards"] or state.settings["chunks"])
    handle = ArrayHandle.of(array)
    if handle.pipeline.spec.shape != units:
        raise _NotThere("there is another array")
    _handles[data, target.store, target.component, id(state)] = state, handle
    return handle


def look_at_array(case, target, data, counts, rng=None):
    """Read the array: it is the old one whole, or the new one as far as it is written."""
    before = identity(target, data)
    try:
        found = daskzarr.from_zarr(Path(data, target.store), target.component).compute(scheduler="sync")
    except daskzarr.NodeNotFoundError as error:
        return [] if target.old is None or before != identity(target, data) else [f"the old array is gone: {error}"]
    except daskzarr.DaskZarrError as error:
        if before is None or before != identity(target, data):
            return []
        return [f"the array cannot be read: {error}"]
    if before is None or before != identity(target, data):
        counts["replaced meanwhile"] += 1
        return []
    counts["arrays"] += 1
    return _wrong_array(case, target, found)


def _wrong_array(case, target, found):
    """What is wrong with the cells of an array that is being written."""
    old, new = None if target.old is None else target.old.values, target.new.values
    if old is not None and found.shape == old.shape and np.array_equal(found, old):
        return []
    if found.shape != new.shape:
        if old is None or found.shape != old.shape:
            return [f"the array has the shape {found.shape}"]
        return [f"{np.count_nonzero(found != old)} cells of the old array are wrong"]
    wrong = found != new
    in_place = case.kind in ("new", "region") or (case.kind == "store" and not case.at)
    if in_place:
        wrong &= found != (0 if old is None else old)
    return [f"{np.count_nonzero(wrong)} cells are neither old nor new"] if wrong.any() else []


def identity(target, data):
    """What tells the array that is there from others; None if there is none."""
    found = []
    for name in set(DOCUMENTS.values()):
        try:
            path = target.folder(data) / name
            status = path.stat()
            found.append((name, status.st_ino, status.st_mtime_ns, path.read_bytes()))
        except FileNotFoundError:
            pass
    return sorted(found) or None


def chunk_keys(folder):
    """Keys of everything in an array's folder that is not a document, nor hidden and unfinished."""
    for path, _, names in os.walk(folder):
        for name in names:
            if not UNSEEN.fullmatch(name) and not (path == str(folder) and name in DOCUMENT_NAMES):
                yield os.path.relpath(os.path.join(path, name), folder)


# ---- between the attempts


def noted_objects(case, data):
    """The objects that journals of unfinished writes say are finished, as pairs of number of target and key."""
    found = set()
    for number, target in enumerate(case.targets):
        location = locate(Path(data, target.store), target.component)
        pending = [journal for journal in journals_of(location, notes_of(location)) if not journal.finished]
        found |= {(number, key) for key in noted(pending)}
    return found


def finished_journals(case, data):
    """Names of the journals of finished writes, of all targets."""
    found = set()
    for target in case.targets:
        location = locate(Path(data, target.store), target.component)
        journals = journals_of(location, notes_of(location))
        found |= {(journal.folder.path, journal.started) for journal in journals if journal.finished}
    return found


def computed(log, start, stop=None):
    """First cells of the blocks that went through the slow step, between two places of the log."""
    text = Path(log).read_bytes()[start:stop] if os.path.exists(log) else b""
    return [int(text[i : i + LINE]) for i in range(0, len(text), LINE)]


def needless(case, finished, again):
    """What was computed for nothing: blocks all of whose objects were finished, or that are not of the source."""
    needs, runs = case.needs(), set(again)
    strange = sorted(runs - needs.keys())
    found = [first for first in sorted(runs & needs.keys()) if needs[first] <= finished]
    problems = [f"{len(found)} blocks were computed again, though all their objects were finished"] if found else []
    if strange:
        problems.append(f"wrong cells: {len(strange)} blocks were computed from what was just written, not the source")
    return problems


# ---- afterwards


def judge(case, data):
    """Everything that is wrong after the last attempt."""
    problems = []
    for target in case.targets:
        for check in (_cells, _cells_for_peers, _report, _files, _notes, _consolidated):
            try:
                problems += [f"{target.store}/{target.component or ''}: {text}" for text in check(target, data)]
            except Exception:
                problems.append(f"{check.__name__.strip('_')}: {in_short()}")
    stores = {target.store for target in case.targets}
    allowed = stores | {f"{name}.daskzarr" for name in stores}
    problems += [f"leftover: {name}" for name in sorted(set(os.listdir(data)) - allowed)]
    problems += _others(case, data)
    if case.kind == "resize" and not problems:
        problems += _grown_again(case.targets[0], data)
    return problems


def _cells(target, data):
    """Whether all cells are right."""
    found = daskzarr.from_zarr(Path(data, target.store), target.component, missing="fill").compute(scheduler="sync")
    return _compared("cells", found, target.new.values)


def _compared(what, found, expected):
    """What is wrong with cells."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return [f"wrong {what}: {found.shape} {found.dtype} where {expected.shape} {expected.dtype} is right"]
    wrong = found != expected
    return [f"wrong {what}: {np.count_nonzero(wrong)}, the first at {np.argwhere(wrong)[0]}"] if wrong.any() else []


def _cells_for_peers(target, data):
    """Whether others read the same cells."""
    state = target.new
    if state.zarr_format == "n5":
        return _compared("cells for tensorstore", _read_with_tensorstore(target.folder(data)), state.values)
    if state.rectilinear:
        return []
    import zarr

    found = zarr.open_array(target.folder(data), mode="r", zarr_format=state.zarr_format)[...]
    return _compared("cells for zarr-python", found, state.values)


def _read_with_tensorstore(folder):
    """The cells of an N5 array."""
    import tensorstore

    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": str(folder)}}
    return tensorstore.open(spec, read=True).result().read().result().T


def _report(target, data):
    """What daskzarr's own check finds, journals and all."""
    report = daskzarr.verify(Path(data, target.store), target.component, level="digest")
    return [] if report.ok else [f"verify says {report}"]


def _files(target, data):
    """Files that should not be in the array's folder, or should and are not."""
    folder, state = target.folder(data), target.new
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    documents = {name for name in there if name in (DOCUMENTS[state.zarr_format], ".zattrs")}
    chunks = there - documents
    found = {"leftover files": chunks - state.objects, "lost objects": state.objects - chunks}
    return [f"{what}: {len(names)}, such as {min(names)}" for what, names in found.items() if names]


def _notes(target, data):
    """What is beside the array and is not a journal of a write that came to its end."""
    beside_it = Path(data, f"{target.store}.daskzarr", target.component or "")
    journals = beside_it / "__writes__"
    others = set(beside_it.iterdir()) - {journals} if beside_it.exists() else ()
    problems = [f"leftover beside the array: {path.name}" for path in others]
    for journal in journals.iterdir() if journals.exists() else ():
        names = {path.name for path in journal.iterdir()} if journal.is_dir() else set()
        if names and not {"plan.json", "done.json"} <= names:
            problems.append(f"leftover journal {journal.name} with {sorted(names)}")
        problems += [f"leftover in the journal: {name}" for name in names if not JOURNAL_FILE.fullmatch(name)]
    return problems


def _consolidated(target, data):
    """Whether consolidated metadata of the group above say what the array's own document says."""
    root, state = Path(data, target.store), target.new
    if target.component is None or state.zarr_format == "n5":
        return []
    name = "zarr.json" if state.zarr_format == 3 else ".zmetadata"
    text = (root / name).read_text() if (root / name).exists() else "{}"
    document = json.loads(text)
    if state.zarr_format == 3:
        listed = (document.get("consolidated_metadata") or {}).get("metadata", {}).get(target.component)
    else:
        listed = document.get("metadata", {}).get(f"{target.component}/.zarray")
    if listed is None or tuple(listed["shape"]) == state.values.shape:
        return []
    return [f"consolidated metadata say the shape is {listed['shape']}"]


def _others(case, data):
    """What is in the stores and is no target's: only groups' documents may be."""
    problems = []
    for store in {target.store for target in case.targets}:
        for ending in ("", ".daskzarr"):
            root = Path(data, store + ending)
            parts = [target.folder(data) if not ending else root / (target.component or "") for target in case.targets]
            for path in root.rglob("*") if root.exists() else ():
                inside = any(path.is_relative_to(part) for part in parts)
                above = any(part.is_relative_to(path) for part in parts)
                if not inside and not above and (ending or path.name not in DOCUMENT_NAMES):
                    problems.append(f"leftover: {path.relative_to(data)}")
    return problems


def _grown_again(target, data):
    """Whether cells that were cut off stay away when the array grows again."""
    old, new = target.old.values, target.new.values
    daskzarr.resize(Path(data, target.store), target.component, shape=old.shape)
    expected = np.zeros_like(old)
    expected[tuple(map(slice, new.shape))] = new
    found = daskzarr.from_zarr(Path(data, target.store), target.component).compute(scheduler="sync")
    return _compared("cells after growing again", found, expected)
