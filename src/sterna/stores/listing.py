"""A bucket's listing requests into its entries in key order: ranges of keys listed side by side, joined and checked."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from operator import attrgetter, lt
from typing import NamedTuple

import msgspec

from sterna.model.entry import Entry
from sterna.model.errors import Corrupt, SternaError, Unsupported
from sterna.stores.ranges import FIRST_DOUBTFUL, Trail
from sterna.stores.spill import Sorter
from sterna.wire.xml import Page

EMPTY_PAGES = 40  # in a row; honest servers send a few, where they skip what was deleted
_AHEAD_PAGES = 5.0  # a range is cut so far ahead: each costs up to one request more than a serial listing, so a fifth
_ENOUGH_PAGES = 7.5  # what a range must have left to be cut
_MOST_SHARE = 1.5  # of the requests of a serial listing: never more, wherever the cuts fall
_MOST_ASKING = 32  # requests in flight, the gate permitting
_READ_AHEAD = 128_000  # entries held for later, about 40 MB: ranges to the right wait for those on the left
_MOST_HELD_PAGES = 8  # of a range that is not yet its turn
_UNCUT = 2  # seams that may fail because of somebody who writes meanwhile; after that cuts are not believed

_key = attrgetter("key")


class Ask(NamedTuple):
    """One request: after a key (relative to the prefix), or with a token. ``old``: as ListObjects, the first version."""

    after: str = ""
    token: str = ""
    old: bool = False


class Traits(NamedTuple):
    """What is known of a server before it is asked."""

    unordered: bool = False  # S3's directory buckets; they know no start-after either
    old: bool = False  # it was seen to know no ListObjectsV2


class _Range(msgspec.Struct, eq=False):
    """The keys after ``after`` up to ``end`` (included; None: all), as far as they have been listed."""

    after: str
    end: str | None
    ask: Ask
    last: str = ""  # the last key seen, of whatever range
    trail: Trail = msgspec.field(default_factory=Trail)
    pages: deque[list[Entry]] = msgspec.field(default_factory=deque)
    held: int = 0
    beyond: list[Entry] | None = None  # what the last page had behind ``end``
    task: asyncio.Task[None] | None = None
    empty: int = 0
    misses: int = 0
    is_cut: bool = False  # made by a cut that no answer has confirmed
    is_over: bool = False  # nothing more is to be asked
    has_ended: bool = False  # because the server said so
    is_recheck: bool = False
    error: SternaError | None = None


class Listing:
    """One listing of the keys below a prefix, relative to it. It begins serially and costs no more while that is short.

    When a page says that it goes on, what is left is cut, at a name about five pages ahead, guessed from the keys seen
    (``ranges``): ranges near the left edge, since pages come out in key order and what is held is bounded. A guess can
    cost a request, never a key: a range goes on until it has seen a key behind its end, and what it saw there must be
    what its neighbour begins with (a seam). Where it is not, or where the server does not begin where it was asked to,
    the neighbour is dropped and the range goes on by its token, as a serial listing would.

    ``send`` carries one request, within ``gate``. Used once, in one task; leaving ``pages`` ends all requests.
    """

    def __init__(
        self,
        send: Callable[[Ask], Awaitable[Page]],
        gate: AbstractAsyncContextManager[None],
        *,
        after: str = "",
        place: str = "the bucket",
        traits: Traits | None = None,
        read_ahead: int = _READ_AHEAD,
    ) -> None:
        self._send = send
        self._gate = gate
        self._after = after
        self._place = place
        self._traits = traits = traits or Traits()
        self._read_ahead = read_ahead
        start = "" if traits.unordered else _safe(after)
        self._ranges = [_Range(start, None, Ask(start, "", traits.old), start)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._choosing = 0  # of the tasks, those that wait for the gate
        self._news = asyncio.Event()
        self._crash: BaseException | None = None
        self._answers = 0
        self._accepted = 0  # keys that the requests so far have brought, each once
        self._full = 1  # entries of the fullest page
        self._held = 0
        self._most_held = 0
        self._most_guesses = 2.0  # cuts that no answer has confirmed: more as they prove right, fewer as they hit gaps
        self._has_begun = False
        self._begins: set[int] = set()  # of the pages of an unordered listing: its only protection from going round
        self._may_cut = not traits.unordered
        self._doubts = 0
        self._in_utf16 = False
        self._is_unordered = traits.unordered

    def __repr__(self) -> str:
        return f"<Listing of {self._place}: {len(self._ranges)} ranges, {self._answers} answers, {self._held} held>"

    @property
    def answers(self) -> int:
        """Requests answered so far."""
        return self._answers

    @property
    def most_held(self) -> int:
        """The most entries that were held at once."""
        return self._most_held

    @property
    def traits(self) -> Traits:
        """What has been learned of the server."""
        return Traits(self._is_unordered, self._traits.old)

    async def pages(self) -> AsyncGenerator[list[Entry], None]:
        """All entries in key order; ends at the end of the listing, or raises."""
        doubtful = _Doubtful()
        last = self._after
        try:
            async with aclosing(self._in_order()) as ordered:
                async for page in ordered:
                    for one in doubtful.settled(page):
                        last = _checked(one, last)
                        yield one
            for one in doubtful.rest():
                last = _checked(one, last)
                yield one
        finally:
            doubtful.close()
            await self._end()

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_order(self) -> AsyncGenerator[list[Entry], None]:
        """Pages as the server orders them, out of the leftmost range and then its neighbour."""
        sorter: Sorter | None = None
        self._fill()
        try:
            while True:
                self._news.clear()
                if self._crash is not None:
                    raise self._crash
                head = self._ranges[0]
                if head.pages:
                    page = head.pages.popleft()
                    head.held -= len(page)
                    self._held -= len(page)
                    if self._is_unordered:
                        sorter = sorter or Sorter()
                        self._fill()
                        await asyncio.to_thread(sorter.add, page)
                        continue
                    self._fill()
                    yield page
                    await asyncio.sleep(0)  # whoever reads page after page lets requests go out
                elif head.error is not None:
                    raise head.error
                elif head.is_over and len(self._ranges) == 1:
                    break
                elif head.is_over and self._joined(head):
                    self._fill()
                else:
                    await self._news.wait()
            if sorter is not None:
                for page in sorter.pages():
                    yield page
        finally:
            if sorter is not None:
                sorter.close()

    # Which request is next: decided when its turn has come at the gate.

    def _fill(self) -> None:
        """Have as many tasks at work as there is to ask for."""
        while len(self._tasks) < _MOST_ASKING and self._crash is None:
            ready = 0
            for one in self._ranges:
                ready += self._may_ask(one)
                if ready > self._choosing:
                    break
            if self._choosing > ready or (self._choosing == ready and not self._can_cut()):
                return
            self._choosing += 1
            task = asyncio.get_running_loop().create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _may_ask(self, one: _Range) -> bool:
        if one.task is not None or one.is_over or one.error is not None:
            return False
        head = self._ranges[0]
        if not head.pages and (one is head or (head.is_over and one is self._ranges[1])):
            return True  # somebody waits for it
        return self._has_room() and one.held < _MOST_HELD_PAGES * self._full

    def _has_room(self) -> bool:
        return self._held + (len(self._tasks) - self._choosing + 1) * self._full <= self._read_ahead

    def _can_cut(self) -> bool:
        """Whether one range more is within the bound, even if it brings nothing.

        Each range that is still open will cost one request that a serial listing may not need; a full page pays for
        itself and half of another one. A listing that goes on needs one page more than the full ones so far.
        """
        if not (self._may_cut and self._answers and self._has_room()):
            return False
        open_ranges = sum(1 for one in self._ranges if not one.is_over)
        serial = (self._accepted + self._goes_on() + self._full - 1) // self._full
        return bool(open_ranges) and self._answers + open_ranges + 1 <= _MOST_SHARE * serial

    def _goes_on(self) -> bool:
        """Whether there is a key behind all that were seen: the rightmost page with keys said so, or showed it."""
        for one in reversed(self._ranges):
            if one.beyond or one.last != one.after:
                return bool(one.beyond) or not one.has_ended
        return False

    def _choose(self) -> _Range | None:
        for one in self._ranges:
            if self._may_ask(one):
                return one
        return self._cut() if self._can_cut() else None

    def _cut(self) -> _Range | None:
        """Cut the leftmost range that has enough left."""
        guesses = sum(1 for one in self._ranges if one.is_cut)
        for at, one in enumerate(self._ranges):
            if one.has_ended:
                break  # nothing follows
            if one.is_over or one.error is not None or (one.is_cut and guesses >= self._most_guesses):
                continue
            if (slope := one.trail.slope()) is None:
                continue
            enough = _ENOUGH_PAGES * 2**one.misses
            if one.end is not None and slope.pages_between(one.last, one.end) < enough:
                continue
            cut = slope.ahead(one.last, _AHEAD_PAGES)
            if cut and (one.end is None or cut < one.end):
                ask = Ask(cut, "", self._traits.old)
                right = _Range(cut, one.end, ask, cut, one.trail.branch(), is_cut=True)
                one.end = cut
                self._ranges.insert(at + 1, right)
                return right
        return None

    async def _work(self) -> None:
        """One request, and what its answer means."""
        one: _Range | None = None
        is_choosing = True
        try:
            async with self._gate:
                self._choosing -= 1
                is_choosing = False
                one = self._choose()
                if one is None:
                    return
                one.task = asyncio.current_task()
                self._fill()  # for the next
                page = await self._send(one.ask)
            one.task = None
            self._answers += 1
            self._received(one, page)
        except SternaError as error:
            if one is None:
                self._crash = error
            else:
                one.task = None
                self._failed(one, error)
        except Exception as error:
            self._crash = error
        finally:
            if is_choosing:
                self._choosing -= 1
        self._news.set()
        self._fill()

    # What an answer means.

    def _failed(self, one: _Range, error: SternaError) -> None:
        if one.is_cut:  # perhaps it is the name that the server does not take: nobody needs it
            self._doubt(_UNCUT)
            self._drop(one)
        elif self._answers == 0 and not self._traits.old and _may_be_old(error):
            self._traits = self._traits._replace(old=True)
            one.ask = one.ask._replace(old=True)
        else:
            one.error = error

    def _received(self, one: _Range, page: Page) -> None:
        if one not in self._ranges:
            return  # dropped meanwhile
        entries, ask = page.entries, one.ask
        if page.old and not ask.old:
            # A server that knows only the first version overlooks list-type, and start-after with it.
            self._traits = self._traits._replace(old=True)
            if ask.after:
                one.ask = ask._replace(old=True)
                return
        self._check_next(page, one)
        keys = [entry.key for entry in entries]
        if one.is_cut and not self._is_order(keys, one.after):
            self._doubt(_UNCUT)  # this server does not begin where it is asked to
            self._drop(one)
            return
        if self._is_unordered:
            self._check_begin(keys)
        elif not self._is_order(keys, one.last if self._has_begun else ""):
            # Nothing has been given out yet: all of it can still be sorted. A key that stands there twice is another fault.
            if self._has_begun or len(set(keys)) < len(keys) or page.old:
                raise _disorder()
            self._is_unordered, self._may_cut = True, False
            if ask.after:  # what that means to such a server, nobody knows: from the beginning, and sorted out by us
                one.after = one.last = ""
                one.ask = Ask("", "", self._traits.old)
                return
            self._check_begin(keys)
        if keys and keys[0] <= one.after:
            self._may_cut = False  # start-after is overlooked
        if one.is_cut:
            one.is_cut = False
            if keys and (one.end is None or keys[0] <= one.end):
                self._most_guesses = min(_MOST_ASKING, self._most_guesses + 0.5)
            else:
                self._most_guesses = max(1, self._most_guesses / 2)
                self._ranges[self._ranges.index(one) - 1].misses += 1  # it is shorter than it looks: there is a gap
        self._has_begun = self._has_begun or bool(keys)
        self._full = max(self._full, len(entries))
        one.ask = Ask(keys[-1], "", True) if page.old and page.truncated else Ask("", page.token, self._traits.old)
        # Who shows a token and says that nothing follows contradicts himself: what follows is looked at.
        one.has_ended = one.is_over = not page.truncated and not page.token
        if keys:
            one.last = keys[-1]
            one.trail.add(keys, self._full)
        if self._after:
            entries = [entry for entry in entries if entry.key > self._after]
        self._accepted += len(entries)
        self._keep(one, entries)

    def _check_next(self, page: Page, one: _Range) -> None:
        """Raise Corrupt where a page does not say how to go on, or goes on without getting anywhere."""
        if page.truncated and not page.token and not (page.old and page.entries):
            raise Corrupt("The listing says that it goes on, and not where; it is not complete.", operation="List")
        if page.token and page.token == one.ask.token:
            raise Corrupt("The listing goes on where it was; it would never end.", operation="List")
        one.empty = 0 if page.entries else one.empty + 1
        if one.empty > EMPTY_PAGES:
            raise Corrupt("The listing goes on and on without a key; it cannot be trusted.", operation="List")

    def _check_begin(self, keys: list[str]) -> None:
        """Raise Corrupt where a page of an unordered listing begins as one before it: it goes round."""
        if keys and hash(keys[0]) in self._begins:
            raise Corrupt("The server lists a page twice; this listing cannot be trusted.", operation="List")
        self._begins.update(map(hash, keys[:1]))

    def _keep(self, one: _Range, entries: list[Entry]) -> None:
        """Put a page into its range; what lies behind its end is kept for the seam."""
        if one.is_recheck:
            if entries:
                raise Corrupt("The listing contradicts itself about its end.", operation="List")
            one.is_recheck = False
        if one.end is not None and entries and entries[-1].key > one.end:
            within = bisect_right(entries, one.end, key=_key)
            one.beyond = entries[within:]
            entries = entries[:within]
            one.is_over = True
            self._accepted -= len(one.beyond)
            self._held += len(one.beyond)
        if entries:
            one.pages.append(entries)
            one.held += len(entries)
            self._held += len(entries)
        self._most_held = max(self._most_held, self._held)

    def _is_order(self, keys: list[str], last: str) -> bool:
        """Whether keys ascend strictly, from ``last`` on: by code point, or else by UTF-16 code unit throughout."""
        if not keys or (keys[0] > last and all(map(lt, keys, keys[1:]))):
            return True
        units = [key.encode("utf-16-be", "surrogatepass") for key in keys]
        if units[0] > last.encode("utf-16-be", "surrogatepass") and all(map(lt, units, units[1:])):
            self._in_utf16 = True
            return True
        return False

    # Seams.

    def _joined(self, head: _Range) -> bool:
        """Go on from a range that is over to its neighbour, or take that back; false while it cannot be told which."""
        right = self._ranges[1]
        if right.is_cut:
            return False
        if right.error is None or right.pages:
            if head.beyond:
                shown = head.beyond
                if right.end is not None:
                    shown = shown[: bisect_right(shown, right.end, key=_key)]
                is_same = _shows(right, shown)
                if not is_same:
                    if not right.is_over and right.error is None and self._is_before(right.last, shown[-1].key):
                        return False
                    self._doubt(1)
                if not is_same or len(shown) < len(head.beyond):  # or it has seen all of the neighbour, and more
                    self._drop(right)
                    return True
            elif right.pages or right.beyond:
                # Keys behind the end: somebody has removed them since, or the end was none. Look again.
                self._drop(right)
                head.is_recheck, head.is_over, head.has_ended = True, False, False
                head.ask = Ask(head.last, "", self._traits.old)
                return True
            elif not right.is_over:
                return False
        self._held -= len(head.beyond or ())
        del self._ranges[0]
        return True

    def _is_before(self, key: str, other: str) -> bool:
        if self._in_utf16:
            return key.encode("utf-16-be", "surrogatepass") < other.encode("utf-16-be", "surrogatepass")
        return key < other

    def _doubt(self, weight: int) -> None:
        self._doubts += weight
        self._may_cut = self._may_cut and self._doubts < _UNCUT

    def _drop(self, right: _Range) -> None:
        """Undo a cut: the range on the left takes over, and goes on where it was."""
        at = self._ranges.index(right)
        left = self._ranges[at - 1]
        del self._ranges[at]
        if right.task is not None:
            right.task.cancel()
        self._held -= right.held + len(right.beyond or ())
        self._accepted -= right.held
        left.end = right.end
        if left.beyond is not None:
            beyond, left.beyond = left.beyond, None
            self._held -= len(beyond)
            self._accepted += len(beyond)
            left.is_over = left.has_ended
            self._keep(left, beyond)


class _Doubtful:
    """Pages in the server's order into pages by code point, where the two can differ.

    A server that compares UTF-16 code units puts characters above U+FFFF before U+E000 to U+FFFF. Below one common
    beginning all that is concerned lies together: from the first key with such a character until that beginning is
    left, entries are held, and sorted; at most servers they are in order already.
    """

    def __init__(self) -> None:
        self._beginning: str | None = None
        self._sorter: Sorter | None = None

    def settled(self, page: list[Entry]) -> Iterator[list[Entry]]:
        """What of a page, and of what was held before it, can be given out."""
        while page:
            if self._beginning is None:
                at = _first_doubtful(page)
                if at:
                    yield page[:at]
                page = page[at:]
                if page:
                    key = page[0].key
                    self._beginning = key[: next(i for i, one in enumerate(key) if one > "\uffff")]
                    self._sorter = Sorter()
            else:
                assert self._sorter is not None
                beginning = self._beginning
                if page[-1].key.startswith(beginning):
                    self._sorter.add(page)
                    return
                at = next(i for i, entry in enumerate(page) if not entry.key.startswith(beginning))
                self._sorter.add(page[:at])
                page = page[at:]
                yield from self.rest()

    def rest(self) -> Iterator[list[Entry]]:
        """What is still held, at the end of the listing or of a common beginning."""
        if self._sorter is not None:
            yield from self._sorter.pages()
        self.close()

    def close(self) -> None:
        if self._sorter is not None:
            self._sorter.close()
        self._sorter = self._beginning = None


def _first_doubtful(page: list[Entry]) -> int:
    joined = "".join([entry.key for entry in page])
    if joined.isascii() or max(joined) <= "\uffff":
        return len(page)
    return next(i for i, entry in enumerate(page) if max(entry.key) > "\uffff")


def _shows(right: _Range, shown: list[Entry]) -> bool:
    """Whether a range has all keys that its left neighbour saw in it; what is new there is no fault."""
    expected = [entry.key for entry in shown]
    keys: list[str] = []
    for page in right.pages:
        keys += [entry.key for entry in page]
        if keys[: len(expected)] == expected:
            return True
    return set(expected) <= set(keys)


def _safe(after: str) -> str:
    """The part of a name that both orders understand alike; what it lets through too much is left out by us."""
    at = next((i for i, one in enumerate(after) if one >= FIRST_DOUBTFUL), None)
    return after if at is None else after[:at]


def _checked(page: list[Entry], last: str) -> str:
    """The last key of a page about to be given out; raises Corrupt where it is not in key order behind ``last``."""
    keys = [entry.key for entry in page]
    if keys[0] <= last or not all(map(lt, keys, keys[1:])):
        raise _disorder()
    return keys[-1]


def _disorder() -> Corrupt:
    return Corrupt(
        "The server lists keys in another order than their bytes', or twice; this listing cannot be trusted.",
        operation="List",
    )


def _may_be_old(error: SternaError) -> bool:
    """A refusal by which a server may mean that it does not know ListObjectsV2."""
    if isinstance(error, Unsupported):
        return True
    return error.status == 400 and error.code in ("InvalidArgument", "InvalidRequest", "InvalidURI", "400")
