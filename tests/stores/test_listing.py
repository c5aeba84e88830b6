"""Laws of a listing by ranges: all keys, in order, once, for little more than a serial listing costs, in bounded memory."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.entry import Entry
from sterna.model.errors import AccessDenied, Corrupt, RetryLater, SternaError
from sterna.stores.listing import Ask, Listing, Traits
from sterna.stores.ranges import Trail
from sterna.stores.spill import Sorter
from sterna.wire.xml import Page

Order = Callable[[str], Any]


def by_code_point(key: str) -> str:
    return key


def by_utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


class Lister:
    """A server that lists ``keys`` in its own ``order``, ``full`` a page, each answer some turns of the loop later."""

    def __init__(
        self, keys: Sequence[str], *, full: int = 20, order: Order = by_code_point, seed: int = 0, most_turns: int = 0,
        ragged: bool = False,
    ) -> None:  # fmt: skip
        self.keys = sorted(keys, key=order)
        self.full = full
        self.asked: list[Ask] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._places = [order(key) for key in self.keys]
        self._order = order
        self._dice = random.Random(seed)
        self._most_turns = most_turns
        self._ragged = ragged

    async def __call__(self, ask: Ask) -> Page:
        self.asked.append(ask)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            for _ in range(self._dice.randint(0, self._most_turns)):
                await asyncio.sleep(0)
            return self.answer(ask)
        finally:
            self.in_flight -= 1

    def answer(self, ask: Ask) -> Page:
        at = int(ask.token) if ask.token else self.after(ask.after)
        to = at + (self._dice.randint(1, self.full) if self._ragged else self.full)
        return self.page(at, to)

    def after(self, key: str) -> int:
        return bisect_right(self._places, self._order(key)) if key else 0

    def page(self, at: int, to: int) -> Page:
        more = to < len(self.keys)
        return Page([Entry(key, 1, 1) for key in self.keys[at:to]], [], more, str(to) if more else "")

    @property
    def serial(self) -> int:
        """So many pages a serial listing needs."""
        return max(1, -(-len(self.keys) // self.full))


def run(
    lister: Lister, *, after: str = "", read_ahead: int = 128_000, places: int = 16, traits: Traits | None = None
) -> tuple[list[str], Listing, SternaError | None]:
    """The keys that came, the listing, and the error by which it ended, if any; no task is left behind."""
    keys: list[str] = []
    made: list[Listing] = []

    async def test() -> SternaError | None:
        listing = Listing(lister, asyncio.Semaphore(places), after=after, read_ahead=read_ahead, traits=traits)
        made.append(listing)
        try:
            async for page in listing.pages():
                assert page
                keys.extend(entry.key for entry in page)
        except SternaError as error:
            return error
        finally:
            assert len(asyncio.all_tasks()) == 1
        return None

    error = asyncio.run(test())
    return keys, made[0], error


def tree(count: int) -> list[str]:
    return [f"dir-{n // 7:05d}/obj-{n:08d}.bin" for n in range(count)]


def flat(count: int) -> list[str]:
    return [f"{n * (2**64 // count):016x}" for n in range(count)]


def skewed(count: int) -> list[str]:
    cold = [f"{chr(97 + n % 26)}/{n:06d}" for n in range(count // 10)]
    return cold + [f"hot/2026/{n:09d}" for n in range(count - len(cold))]


def dates(count: int) -> list[str]:
    return [f"log/{n % 12 + 1:02d}/{n % 28 + 1:02d}/host-{n % 9}/{n}" for n in range(count)]


def emoji(count: int) -> list[str]:
    firsts = "é\U0001f600\uffee\ud7ff\ue000"
    return [f"{firsts[n % 5]}/{n}" for n in range(count)]


LAYOUTS = [tree, flat, skewed, dates, emoji]

# Characters at which orders and encodings part: control characters, the neighbours of surrogates, beyond the BMP.
_ODD = "\x01\t\n +%&/-.09AZaz~\x7f\x80é\u4e00\ud7ff\ue000\ufffd\uffff\U00010000\U0001f426\U0010ffff"
_NAMES = st.text(st.sampled_from(_ODD), min_size=1, max_size=6)
_LONG = st.builds(lambda name, one: (one * 1024)[: (1024 - len(name.encode())) // len(one.encode())] + name,
                  _NAMES, st.sampled_from("aé/\U0001f426"))  # fmt: skip


@st.composite
def key_sets(draw: st.DrawFn) -> list[str]:
    """Keys of some layout, beside others that fit in nowhere."""
    found = set(draw(st.sampled_from(LAYOUTS))(draw(st.integers(1, 400))))
    found |= set(draw(st.lists(st.one_of(_NAMES, _LONG), max_size=60)))
    prefix = draw(st.sampled_from(["", "a/b/", "ä/", "\U0001f426/"]))
    return sorted(prefix + key for key in found if len((prefix + key).encode()) <= 1024)


@settings(max_examples=40, deadline=None)
@given(key_sets(), st.integers(4, 40), st.integers(0, 2**32), st.booleans(), st.sampled_from([by_code_point, by_utf16]))
def test_H79_a_listing_is_all_keys_in_order(keys: list[str], full: int, seed: int, ragged: bool, order: Order) -> None:
    lister = Lister(keys, full=full, order=order, seed=seed, most_turns=9, ragged=ragged)
    assert run(lister)[::2] == (sorted(keys), None)


@settings(max_examples=40, deadline=None)
@given(key_sets(), st.integers(4, 40), st.integers(0, 2**32), st.integers(0, 12))
def test_a_listing_costs_at_most_half_more_requests_than_a_serial_one(
    keys: list[str], full: int, seed: int, most_turns: int
) -> None:
    lister = Lister(keys, full=full, seed=seed, most_turns=most_turns)
    run(lister)
    assert len(lister.asked) <= 1.5 * lister.serial


@settings(max_examples=40, deadline=None)
@given(key_sets(), st.integers(0, 2**32), st.sampled_from([by_code_point, by_utf16]), st.data())
def test_a_listing_after_a_key_is_the_rest(keys: list[str], seed: int, order: Order, data: st.DataObject) -> None:
    after = data.draw(st.one_of(st.sampled_from([*keys, "x"]), _NAMES))
    lister = Lister(keys, full=7, order=order, seed=seed, most_turns=5)
    assert run(lister, after=after)[::2] == ([key for key in sorted(keys) if key > after], None)


@settings(max_examples=40, deadline=None)
@given(key_sets(), st.integers(0, 2**32), st.integers(0, 400))
def test_H106_what_is_held_is_bounded(keys: list[str], seed: int, read_ahead: int) -> None:
    lister = Lister(keys, full=10, seed=seed, most_turns=20)
    found, listing, error = run(lister, read_ahead=read_ahead)
    assert (found, error) == (keys, None)
    assert listing.most_held <= read_ahead + 2 * lister.full


@pytest.mark.parametrize("count", [0, 1, 999, 1000])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_up_to_a_thousand_keys_cost_one_request(layout: Callable[[int], list[str]], count: int) -> None:
    lister = Lister(layout(count) if count else [], full=1000)
    assert run(lister)[0] == lister.keys
    assert lister.asked == [Ask()]


@pytest.mark.parametrize("layout", [tree, flat, skewed])
def test_a_large_bucket_is_listed_many_pages_at_a_time(layout: Callable[[int], list[str]]) -> None:
    lister = Lister(layout(20_000), full=100, seed=1, most_turns=30)
    keys, _, error = run(lister)
    assert (keys, error) == (lister.keys, None)
    assert lister.most_in_flight == 16
    assert len(lister.asked) <= 1.4 * lister.serial


def test_the_gate_bounds_what_is_in_flight() -> None:
    lister = Lister(flat(5000), full=50, most_turns=10)
    assert run(lister, places=3)[0] == lister.keys
    assert lister.most_in_flight <= 3


@settings(max_examples=40, deadline=None)
@given(key_sets(), st.integers(0, 2**32), st.integers(0, 8))
def test_who_stops_reading_leaves_no_task_behind(keys: list[str], seed: int, pages: int) -> None:
    lister = Lister(keys, full=10, seed=seed, most_turns=30)

    async def test() -> None:
        listing = Listing(lister, asyncio.Semaphore(16)).pages()
        for _ in range(pages):
            await anext(listing, None)
        await listing.aclose()
        assert len(asyncio.all_tasks()) == 1
        assert lister.in_flight == 0

    asyncio.run(test())


def test_a_cancelled_listing_leaves_no_task_behind() -> None:
    lister = Lister(flat(5000), full=20, most_turns=50)

    async def read() -> None:
        async for _ in Listing(lister, asyncio.Semaphore(16)).pages():
            await asyncio.sleep(0)

    async def test() -> None:
        task = asyncio.create_task(read())
        while lister.in_flight < 8:  # noqa: ASYNC110 - the listing tells no event
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_asyncgens()
        assert len(asyncio.all_tasks()) == 1
        assert lister.in_flight == 0

    asyncio.run(test())


# Servers that do not keep the rules.


class Overlooks(Lister):
    """It begins at the beginning whatever it is asked for."""

    def after(self, key: str) -> int:
        return 0


class Encoded(Lister):
    """It compares names in their percent-encoded form, as localstack does: what is between is never shown."""

    def after(self, key: str) -> int:
        return super().after(key.replace("/", "~~"))


class Ends(Lister):
    """One page claims to be the last."""

    def answer(self, ask: Ask) -> Page:
        page = super().answer(ask)
        return page._replace(truncated=False, token="") if len(self.asked) == 8 else page


class Refuses(Lister):
    """It takes no name to start after."""

    def answer(self, ask: Ask) -> Page:
        if ask.after:
            raise AccessDenied("No.", status=403)
        return super().answer(ask)


class Fails(Lister):
    """The page with a certain key always fails."""

    def answer(self, ask: Ask) -> Page:
        page = super().answer(ask)
        if any(entry.key == self.keys[777] for entry in page.entries):
            raise RetryLater("Later.")
        return page


class Skips(Lister):
    """Whoever starts after a name misses the first keys behind it."""

    def after(self, key: str) -> int:
        return super().after(key) + (3 if key else 0)


@pytest.mark.parametrize("kind", [Overlooks, Encoded, Refuses, Skips])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_H77_a_server_that_begins_elsewhere_than_asked_is_listed_serially(
    kind: type[Lister], layout: Callable[[int], list[str]]
) -> None:
    lister = kind(layout(3000), full=20, seed=3, most_turns=9)
    assert run(lister)[::2] == (lister.keys if layout is not emoji else sorted(lister.keys), None)
    assert len(lister.asked) <= 2.5 * lister.serial


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [Ends, Fails])
def test_H76_H77_ranges_beside_it_make_a_listing_that_breaks_off_no_shorter_list(
    kind: type[Lister], layout: Callable[[int], list[str]]
) -> None:
    """What came is a beginning of the truth. Only an end that nothing contradicts is believed."""
    for seed in range(10):
        lister = kind(layout(3000), full=20, seed=seed, most_turns=9)
        keys, _, error = run(lister)
        expected = sorted(lister.keys)
        assert keys == expected[: len(keys)]
        if kind is Fails:
            assert isinstance(error, RetryLater)
        elif error is not None:
            assert isinstance(error, Corrupt)


def test_H77_keys_behind_an_end_are_looked_for_again() -> None:
    """Somebody removes the rest of the bucket while it is listed: that is no contradiction."""

    class Removed(Lister):
        def answer(self, ask: Ask) -> Page:
            page = super().answer(ask)
            if len(self.asked) == 9 and page.entries:
                cut = self.after(page.entries[-1].key)
                self.keys, self._places = self.keys[:cut], self._places[:cut]
                return page._replace(truncated=False, token="")
            return page

    for seed in range(10):
        lister = Removed(flat(3000), full=20, seed=seed, most_turns=9)
        keys, _, error = run(lister)
        assert error is None or isinstance(error, Corrupt)
        assert error is not None or set(lister.keys) <= set(keys)


def test_H89_a_directory_bucket_is_sorted_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    lister = Lister(flat(3000), full=20, order=lambda key: key[::-1])
    lister.after = lambda key: pytest.fail("directory buckets know no start-after") if key else 0  # type: ignore[method-assign]
    keys, _, error = run(lister, after="3", traits=Traits(unordered=True))
    assert (keys, error) == ([key for key in sorted(lister.keys) if key > "3"], None)
    assert len(lister.asked) == lister.serial


def test_H79_a_server_without_order_is_found_out_and_sorted() -> None:
    lister = Lister(flat(3000), full=20, order=lambda key: key[::-1])
    keys, listing, error = run(lister)
    assert (keys, error) == (sorted(lister.keys), None)
    assert listing.traits.unordered


def test_H80_an_unordered_listing_that_goes_round_raises() -> None:
    class Round(Lister):
        def answer(self, ask: Ask) -> Page:
            number = int(ask.token or 0)
            page = self.page(number % 5 * 20, number % 5 * 20 + 20)
            return page._replace(truncated=True, token=str(number + 1))

    lister = Round(flat(3000), full=20, order=lambda key: key[::-1])
    assert isinstance(run(lister)[2], Corrupt)
    assert len(lister.asked) <= 8


@given(st.lists(_NAMES, unique=True), st.integers(1, 9))
def test_H79_H106_a_sorter_gives_back_what_it_took_in_order(keys: list[str], run_entries: int) -> None:
    sorter = Sorter(run_entries)
    entries = [Entry(key, at, at * 1000, "e", "STANDARD") for at, key in enumerate(keys)]
    for at in range(0, len(entries), 3):
        sorter.add(entries[at : at + 3])
    found = [entry for page in sorter.pages() for entry in page]
    sorter.close()
    assert found == sorted(entries, key=lambda entry: entry.key)


def test_H80_a_sorter_refuses_a_key_that_comes_twice() -> None:
    sorter = Sorter(2)
    sorter.add([Entry("a", 1, 1), Entry("b", 1, 1)])
    sorter.add([Entry("a", 1, 1)])
    with pytest.raises(Corrupt):
        list(sorter.pages())
    sorter.close()


# Where ranges are cut.


@pytest.mark.parametrize("layout", [tree, flat])
def test_cuts_fall_where_the_next_pages_end(layout: Callable[[int], list[str]]) -> None:
    keys = layout(10_000)
    for at in range(0, 6000, 1000):
        trail = Trail()
        trail.add(keys[at : at + 100], 100)
        trail.add(keys[at + 100 : at + 200], 100)
        slope = trail.slope()
        assert slope is not None
        for pages in (2, 4, 8, 16):
            found = bisect_left(keys, slope.ahead(keys[at + 199], pages)) - at - 200
            assert 50 * pages <= found <= 180 * pages


def test_a_folder_that_holds_nearly_all_is_cut_wherever_its_neighbours_are() -> None:
    keys = [f"hot/2026/{n:09d}" for n in range(1000)]
    trail = Trail()
    trail.add(keys[:100], 100)
    slope = trail.slope()
    assert slope is not None
    for end in ("hot/202660", "hot/3", "i", "z/1", "hot/2026/5", "hot/2026/x"):
        assert slope.pages_between(keys[99], end) > 1000


@settings(deadline=None)
@given(key_sets(), st.floats(0.5, 50), st.integers(1, 30))
def test_a_cut_is_a_name_behind_that_any_server_can_be_asked_for(keys: list[str], pages: float, full: int) -> None:
    trail = Trail()
    for at in range(0, len(keys), full):
        trail.add(keys[at : at + full], full)
    slope = trail.slope()
    if slope is None:
        return
    last = keys[-1]
    cuts = [slope.ahead(last, pages * times) for times in (1, 2, 4)]
    for cut in filter(None, cuts):
        assert cut > last
        assert len(cut.encode()) <= 1024
        assert max(cut) < "\ud800"
        assert min(cut) >= " "
    found = [cut for cut in cuts if cut]
    assert all(left <= right for left, right in pairwise(found))
