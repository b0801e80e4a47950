"""A zip file with room in it that nothing uses -> a smaller one in its place."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid

from daskzarr.stores.local import LocalStore
from daskzarr.stores.zip.archive import EMPTY, Archive
from daskzarr.stores.zip.values import value_of


def compact(archive: Archive) -> None:
    """Copy what is listed to a hidden file beside, and rename that. Nobody else may write meanwhile."""
    folder, name = os.path.split(archive.path)
    hidden = f".{name}.{uuid.uuid4().hex}.partial"
    path = f"{folder}/{hidden}"
    with archive.exclusively() as session:
        try:
            LocalStore(folder).create(hidden, EMPTY)
            copy = Archive(path)
            for key, entry in sorted(session.index.below(""), key=lambda found: found[1].at):
                copy.set(key, value_of(session.file, entry, True), False)
            copy.finish()
            os.chmod(path, stat.S_IMODE(os.stat(archive.path).st_mode))
            os.replace(path, archive.path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
