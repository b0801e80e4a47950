"""A path of a file system -> its bytes or parts of them: several requests at once, missing told from failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from daskzarr.byte_range import ByteRange
from daskzarr.stores.overlap import InOrder, in_threads, on_loop
from daskzarr.stores.protocol import Buffer
from daskzarr.stores.remote.kinds import Access, Answer, Parts, names_no_key, part, raise_told
from daskzarr.stores.traffic import Traffic

_SIZE = ByteRange(0, 0)
_TRIES = 4
_MOST_NOTED = 1000

_sends_all: dict[str, bool] = {}
"""Whether the server of a store sent all of a value last, when it was asked for a part."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads files.

    Attributes
    ----------
    here
        The file system.
    missing
        Exceptions that mean "no such file".
    url
        The store, as errors name it.
    """

    here: Access
    missing: tuple[type[Exception], ...]
    url: str

    def get(self, path: str, wanted: ByteRange | None) -> Buffer | None:
        """All of a file or a part of it, by one request; None if it is missing."""
        answers = self._ask(path, [wanted])
        if answers is None:
            return None
        if wanted is not None:
            self._note(answers[0], wanted)
        return part(answers[0], wanted)

    def get_many(self, paths: Sequence[str], traffic: Traffic) -> Iterator[Buffer | None]:
        """Files in order; where requests wait, the next is asked for as soon as another has been answered."""
        here = self.here
        if here.kind.on_loop:
            return on_loop(here.base.loop, self._get_on_loop, paths, traffic)
        if here.waits:
            return in_threads(lambda path: self.get(path, None), paths, _fewer(traffic, here.kind.threads))
        return (self.get(path, None) for path in paths)

    def get_ranges(self, path: str, wanted: Sequence[ByteRange], traffic: Traffic) -> Parts:
        """Parts of a file: of one version, where the server tells it."""
        for _ in range(_TRIES):
            answers = self._answers(path, wanted, traffic)
            if answers is None:
                return Parts([None] * len(wanted))
            versions = {answer.version for answer in answers}
            if len(versions - {None}) < 2:
                parts = Parts(part(answer, each) for answer, each in zip(answers, wanted, strict=True))
                parts.version = versions.pop() if len(versions) == 1 else None
                return parts
        raise ConnectionError("the value was replaced again and again while it was read")

    def size(self, path: str) -> int | None:
        """The size of a file as it is now, by one request, past all caches."""
        here, path = self.here.origin(path)
        answers = replace(self, here=here)._ask(path, [_SIZE])
        return None if answers is None else answers[0].size

    def _answers(self, path: str, wanted: Sequence[ByteRange], traffic: Traffic) -> Sequence[Answer] | None:
        """Answers for parts of a file; None if it is missing."""
        here = self.here
        if len(wanted) < 2:
            answers = self._ask(path, wanted)
            if answers:
                self._note(answers[0], wanted[0])
            return answers
        if _sends_all.get(self.url):
            whole = self._ask(path, [None])
            return None if whole is None else whole * len(wanted)
        if here.kind.on_loop:
            return self._take(
                on_loop(here.base.loop, lambda each: self._ask_on_loop(path, each), wanted, traffic), wanted
            )
        if here.kind.apart:
            found = list(in_threads(lambda each: self._ask(path, [each]), wanted, _fewer(traffic, here.kind.threads)))
            return None if None in found else [each[0] for each in found if each]
        return self._ask(path, wanted)

    def _take(self, answers: InOrder[ByteRange, Answer | None], wanted: Sequence[ByteRange]) -> Sequence[Answer] | None:
        """Answers as they come; one that holds all of the value will do for the rest."""
        taken: list[Answer] = []
        try:
            for each, answer in zip(wanted, answers, strict=True):
                if answer is None:
                    return None
                taken.append(answer)
                self._note(answer, each)
                if _is_whole(answer):
                    return taken + [answer] * (len(wanted) - len(taken))
            return taken
        finally:
            answers.stop()

    def _note(self, answer: Answer, wanted: ByteRange) -> None:
        """Remember whether a web server sends all of a value for a part of it."""
        if not self.here.quotes:
            return
        size = answer.size or 0
        start, stop = wanted.bounds(size)
        if len(_sends_all) >= _MOST_NOTED:
            _sends_all.clear()
        _sends_all[self.url] = _is_whole(answer) and stop - start < size

    def _ask(self, path: str, wanted: Sequence[ByteRange | None]) -> list[Answer] | None:
        """Answers for parts of a file, one after the other; None if it is missing."""
        try:
            return self.here.ask(path, wanted)
        except Exception as error:
            self.raise_unless_missing(error)
            return None

    async def _ask_on_loop(self, path: str, wanted: ByteRange | None) -> Answer | None:
        """The answer for a part of a file; None if that is missing."""
        try:
            answer: Answer = await self.here.asks(self.here.base, path, wanted)
        except Exception as error:
            self.raise_unless_missing(error)
            return None
        return answer

    async def _get_on_loop(self, path: str) -> Buffer | None:
        """All of a file; None if it is missing."""
        answer = await self._ask_on_loop(path, None)
        return None if answer is None else part(answer, None)

    def raise_unless_missing(self, error: Exception) -> None:
        """Raise an error as the one that tells the sort of failure, unless it says that there is no such file."""
        if not isinstance(error, self.missing) or names_no_key(error):
            raise_told(error, self.url)


def _fewer(traffic: Traffic, most: int) -> Traffic:
    """The same with no more requests at once than that."""
    return traffic if traffic.requests <= most else replace(traffic, requests=most)


def _is_whole(answer: Answer) -> bool:
    """Whether an answer holds all of the value."""
    return answer.start == 0 and answer.size is not None and len(answer.body) == answer.size > 0
