"""Keys and their entries -> looked up, listed by folder, and dropped by prefix, none by going through all of them."""

from __future__ import annotations

from collections.abc import Iterator

from daskzarr.stores.protocol import Listing
from daskzarr.stores.zip.records import Entry


class Index:
    """The values of a zip file by folder and name.

    Entries that are no values (folders), or whose names no key can be (``/a``, ``a//b``), are left out. Looking up may
    go on in other threads while one thread changes it.
    """

    __slots__ = ("_folders", "_names")

    def __init__(self) -> None:
        self._names: dict[str, dict[str, Entry]] = {"": {}}
        self._folders: dict[str, set[str]] = {"": set()}

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    def get(self, key: str) -> Entry | None:
        """The entry of a key."""
        folder, _, name = key.rpartition("/")
        names = self._names.get(folder)
        return None if names is None else names.get(name)

    def put(self, key: str, entry: Entry) -> None:
        """Add or replace an entry."""
        folder, slash, name = key.rpartition("/")
        if not name or (slash and not folder) or folder[:1] == "/" or folder[-1:] == "/" or "//" in folder:
            return
        names = self._names.get(folder)
        if names is None:
            names = self._make(folder)
        names[name] = entry

    def _make(self, folder: str) -> dict[str, Entry]:
        """A folder, and those above it."""
        names: dict[str, Entry] = {}
        self._names[folder] = names
        self._folders[folder] = set()
        while folder:
            above, _, name = folder.rpartition("/")
            known = above in self._names
            if not known:
                self._names[above] = {}
                self._folders[above] = set()
            self._folders[above].add(name)
            if known:
                break
            folder = above
        return names

    def drop(self, key: str) -> None:
        """Remove an entry, and folders that have nothing in them then."""
        folder, _, name = key.rpartition("/")
        self._names[folder].pop(name)
        self._clear(folder)

    def drop_below(self, prefix: str) -> None:
        """Remove every entry below a prefix."""
        for folder in list(self._below(prefix)):
            del self._names[folder], self._folders[folder]
        if not prefix:
            self._names[""], self._folders[""] = {}, set()
            return
        above, _, name = prefix.rpartition("/")
        if above in self._folders:
            self._folders[above].discard(name)
            self._clear(above)

    def _clear(self, folder: str) -> None:
        """Remove a folder if it is empty, and those above it that are empty then."""
        while folder and not self._names[folder] and not self._folders[folder]:
            del self._names[folder], self._folders[folder]
            folder, _, name = folder.rpartition("/")
            self._folders[folder].discard(name)

    def _below(self, folder: str) -> Iterator[str]:
        """A folder that is there and all in it."""
        waiting = [folder] if folder in self._names else []
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting.extend(f"{folder}/{name}" if folder else name for name in self._folders[folder])

    def listing(self, prefix: str) -> Listing:
        """What lies directly under a prefix."""
        return Listing(tuple(sorted(self._names.get(prefix, ()))), tuple(sorted(self._folders.get(prefix, ()))))

    def below(self, prefix: str) -> list[tuple[str, Entry]]:
        """Every key below a prefix."""
        found: list[tuple[str, Entry]] = []
        for folder in self._below(prefix):
            lead = folder + "/" if folder else ""
            found.extend((lead + name, entry) for name, entry in self._names[folder].items())
        return found
