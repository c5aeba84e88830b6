"""Kinds of faults: listings that are wrong, be it ListV2, ListV1, ListVersions, ListParts or ListUploads."""

from __future__ import annotations

import random
from dataclasses import dataclass
from urllib.parse import quote

from tests.faults.front.answer import Answer
from tests.faults.front.exchange import Exchange
from tests.faults.front.fault import Fault, Kind
from tests.faults.front.pages import (
    NEXT,
    TOKENS_ALL,
    entries,
    tag,
    token_of,
    with_entries,
    with_tag,
    without_keys,
    without_tag,
)
from tests.faults.front.request import LISTS


class ListFault(Kind):
    """A fault of a page of a listing: ``change`` gets a page that was listed rightly."""

    def fits(self, operation: str) -> bool:
        return operation in LISTS

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        if answer.status != 200:
            return
        page = answer.whole()
        changed = self.change(page, exchange, fault)
        if changed is not None:
            fault.hit()
            answer.replace(changed)

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        """The page as it is to be shown, or None where it gives no occasion."""
        raise NotImplementedError


@dataclass(frozen=True)
class TruncatedWithoutToken(ListFault):
    """IsTruncated is true and there is no token; only the first ``keep`` entries are shown (None: half of them)."""

    keep: int | None = None

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        found = entries(page)
        page = with_entries(page, found[: len(found) // 2 if self.keep is None else self.keep])
        for name in TOKENS_ALL:
            page = without_tag(page, name)
        return with_tag(page, "IsTruncated", "true")


@dataclass(frozen=True)
class TokenButNotTruncated(ListFault):
    """IsTruncated is false although there is more, and a token to get it with."""

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        if tag(page, "IsTruncated") != "true":
            return None
        return with_tag(page, "IsTruncated", "false")


@dataclass(frozen=True)
class ShortPage(ListFault):
    """A page that looks like the last one and is not: the first ``keep`` entries, no token, not truncated."""

    keep: int | None = None

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        found = entries(page)
        page = with_entries(page, found[: len(found) // 2 if self.keep is None else self.keep])
        for name in TOKENS_ALL:
            page = without_tag(page, name)
        return with_tag(page, "IsTruncated", "false")


@dataclass(frozen=True)
class EmptyList(ListFault):
    """Nothing there, says a listing that succeeds."""

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        return ShortPage(0).change(page, exchange, fault)


@dataclass(frozen=True)
class RepeatedPage(ListFault):
    """The page before is sent once more, with its token. The first page has none before it, and is left alone."""

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        return exchange.front.page_before(exchange.request)


@dataclass(frozen=True)
class RepeatedToken(ListFault):
    """The page says that there is more, and its token is the one that it was asked with."""

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        sent = token_of(exchange.request)
        if not sent:
            return None
        name = NEXT.get(exchange.request.operation, "NextKeyMarker")
        return with_tag(with_tag(page, "IsTruncated", "true"), name, sent)


@dataclass(frozen=True)
class MissingPage(ListFault):
    """The page after this one is shown in its place, so that a page of keys is never seen."""

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        token = tag(page, "NextContinuationToken")
        if not token:
            return None
        path, _, query = exchange.request.target.partition("?")
        kept = [pair for pair in query.split("&") if not pair.startswith(("continuation-token=", "start-after="))]
        exchange.target = f"{path}?{'&'.join([*kept, 'continuation-token=' + quote(token, safe='')])}"
        return exchange.front.ask_upstream(exchange).whole()


@dataclass(frozen=True)
class ShuffledPage(ListFault):
    """The entries of a page in another order."""

    seed: int = 1

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        found = entries(page)
        shuffled = list(found)
        random.Random(self.seed).shuffle(shuffled)
        if shuffled == found:
            shuffled.reverse()
        return with_entries(page, shuffled) if shuffled != found else None


@dataclass(frozen=True)
class ListWithout(ListFault):
    """These keys are in no page; ``honest_count``: nor does KeyCount include them."""

    keys: tuple[str, ...]
    honest_count: bool = True

    def __init__(self, *keys: str, honest_count: bool = True) -> None:
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "honest_count", honest_count)

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        return without_keys(page, set(self.keys), self.honest_count)


@dataclass(frozen=True)
class WrongKeyCount(ListFault):
    """KeyCount is off by ``delta``."""

    delta: int = 1

    def change(self, page: bytes, exchange: Exchange, fault: Fault) -> bytes | None:
        count = tag(page, "KeyCount")
        return None if count is None else with_tag(page, "KeyCount", str(int(count) + self.delta))
