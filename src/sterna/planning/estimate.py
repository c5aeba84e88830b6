"""Estimate the requests, the cost and the time that a stream of actions will take."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import msgspec

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.errors import WrongSetting
from sterna.model.plans import Estimate, Money
from sterna.model.units import GIB, MIB, printable
from sterna.stores.folder import translate_given

_PAGE = 1000  # keys of a page of a listing, and of a DeleteObjects
_DAY_NS = 86_400 * 10**9
_MONTH_DAYS = 30
_DEFAULT_CLASS = "STANDARD"  # what a listing leaves out, as many servers do

# Requests by what they cost: https://docs.aws.amazon.com/AmazonS3/latest/userguide/aws-usage-report-understand.html
_WRITES = ("put", "copy", "post", "part")

Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Whole = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class ClassPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The prices of one storage class; ``prices.toml`` says what each is."""

    per_gb_month: Amount
    write_per_1000: Amount
    read_per_1000: Amount
    retrieval_per_gb: Amount = 0.0
    minimum_days: Whole = 0
    minimum_bytes: Whole = 0


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price table: whose it is, of what day, and where it was taken from."""

    provider: str
    source: str
    date: str
    currency: str
    list_per_1000: Amount
    storage: dict[str, ClassPrice]
    egress_per_gb: Amount | None = None


class Rate(msgspec.Struct, frozen=True):
    """How fast things go."""

    bytes_per_s: float
    requests_per_s: float

    def __post_init__(self) -> None:
        if not (self.bytes_per_s > 0 and self.requests_per_s > 0):
            raise ValueError("a rate is more than nothing")


ASSUMED = Rate(100 * MIB, 1000)
"""Nothing is known of a way before it was gone: this is what one machine makes of a good one."""


class Route(msgspec.Struct, frozen=True):
    """Whether the destination is a bucket, and how objects are written to it."""

    to_bucket: bool
    storage_class: str = _DEFAULT_CLASS


NO_PRICES = Prices("", "", "", "", 0.0, {})
"""For servers that are not the default table's: an estimate by these says nothing of cost."""


def default_prices() -> Prices:
    """The table that comes with Sterna."""
    return _parsed(files("sterna.planning").joinpath("prices.toml").read_text(encoding="utf-8"), "prices.toml")


def read_prices(path: Path) -> Prices:
    """The table in a file (``--prices``); raises WrongSetting where it has another form."""
    try:
        return _parsed(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise WrongSetting(f"{printable(str(path))} is no text in UTF-8; prices are a TOML file.") from error
    except OSError as error:
        raise translate_given(error, "read the prices", str(path)) from error


def _parsed(text: str, name: str) -> Prices:
    try:
        return msgspec.convert(tomllib.loads(text), Prices, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise WrongSetting(f"{printable(name)} is no price table: {printable(str(error))}.") from error


class Estimator:
    """Adds up what actions will take. Memory holds a few numbers for each storage class.

    ``parts`` gives the number of requests that carry an object of a size: 1 where it travels whole. ``now_ns`` is what
    the age of objects is measured by, for those that are paid for until a least age.
    """

    def __init__(self, route: Route, prices: Prices, parts: Callable[[int], int], now_ns: int) -> None:
        self._route = route
        self._prices = prices
        self._parts = parts
        self._now_ns = now_ns
        self._requests: dict[tuple[str, str], int] = {}  # by operation and storage class
        self._unpriced: set[str] = set()
        self._monthly = self._retrieval = self._early = 0.0
        self._sent = self._received = self._copied = self._looks = self._looked = 0
        self._deletions = self._writes = self._lists = 0

    def __repr__(self) -> str:
        return f"<Estimator {self._writes} writes, {self._deletions} deletions, {self._lists} lists>"

    def listed(self, entries: int) -> None:
        """So many entries of a bucket are or were listed for it; once for each side that is a bucket."""
        self._lists += -(-entries // _PAGE) or 1

    def add(self, actions: Sequence[Action]) -> None:
        """Take a page of actions into account."""
        for action in actions:
            source, target = action.source, action.target
            match action.verb:
                case Verb.UPLOAD if source is not None:
                    self._write(source.size, "put", target)
                    self._sent += source.size
                case Verb.COPY if source is not None:
                    self._write(source.size, "copy", target)
                    self._copied += source.size
                    self._read(source)
                case Verb.DOWNLOAD if source is not None:
                    self._ask("get", source.storage_class, self._parts(source.size))
                    self._received += source.size
                    self._read(source)
                case Verb.DELETE if target is not None and self._route.to_bucket:
                    self._deletions += 1
                    self._end(target)
                case Verb.LOOK | Verb.COMPARE:
                    looked = target if self._route.to_bucket else source
                    self._ask("head", looked.storage_class if looked is not None else "", 1)
                    self._looks += 1
                    self._looked += action.size
                case _:
                    pass

    def requests(self) -> dict[str, int]:
        """Their number by operation: put, copy, post, part, list, get, head, delete."""
        found: dict[str, int] = {}
        for (operation, _), count in self._requests.items():
            found[operation] = found.get(operation, 0) + count
        lists = self._lists + -(-self._writes // _PAGE)  # the proof lists what was written once more
        if lists:
            found["list"] = lists
        if self._deletions:
            found["delete"] = -(-self._deletions // _PAGE)
        return found

    def estimate(self, rate: Rate | None = None, *, leaves_provider: bool = False) -> Estimate:
        """The figures so far. ``leaves_provider`` adds the price of egress to what is downloaded, if there is one."""
        prices, requests = self._prices, self.requests()
        writes = requests.get("list", 0) * prices.list_per_1000 / 1000
        reads = 0.0
        for (operation, name), count in self._requests.items():
            price = prices.storage.get(name, _FREE)
            if operation in _WRITES:
                writes += count * price.write_per_1000 / 1000
            else:
                reads += count * price.read_per_1000 / 1000
        items = [
            Money("requests that write or list", writes),
            Money("requests that read", reads),
            Money("retrieval from storage classes that charge for it", self._retrieval),
            Money("objects that end before the least age of their storage class", self._early),
        ]
        if leaves_provider:
            items.append(Money("data that leaves the provider", self._received / GIB * (prices.egress_per_gb or 0)))
        return Estimate(
            requests=requests,
            sent_bytes=self._sent,
            received_bytes=self._received,
            copied_bytes=self._copied,
            looks=self._looks,
            looked_bytes=self._looked,
            items=[item for item in items if item.amount],
            monthly=self._monthly,
            unpriced=sorted(self._unpriced),
            currency=prices.currency,
            prices_of=prices.provider,
            prices_date=prices.date,
            seconds=None if rate is None else self._seconds(rate, sum(requests.values())),
            bytes_per_s=0.0 if rate is None else rate.bytes_per_s,
            requests_per_s=0.0 if rate is None else rate.requests_per_s,
        )

    def _seconds(self, rate: Rate, requests: int) -> float:
        return max((self._sent + self._received) / rate.bytes_per_s, requests / rate.requests_per_s)

    def _price(self, storage_class: str) -> ClassPrice:
        name = storage_class or _DEFAULT_CLASS
        price = self._prices.storage.get(name)
        if price is None:
            self._unpriced.add(name)
            return _FREE
        return price

    def _ask(self, operation: str, storage_class: str, count: int) -> None:
        self._price(storage_class)
        key = (operation, storage_class or _DEFAULT_CLASS)
        self._requests[key] = self._requests.get(key, 0) + count

    def _write(self, size: int, whole: str, target: Entry | None) -> None:
        """An object is written, in one request or in parts between a beginning and a completion."""
        name, parts = self._route.storage_class, self._parts(size)
        self._writes += 1
        if parts == 1:
            self._ask(whole, name, 1)
        else:
            self._ask("part", name, parts)
            self._ask("post", name, 2)
        price = self._price(name)
        self._monthly += max(size, price.minimum_bytes) / GIB * price.per_gb_month
        if target is not None:
            self._end(target)

    def _read(self, source: Entry) -> None:
        self._retrieval += source.size / GIB * self._price(source.storage_class).retrieval_per_gb

    def _end(self, target: Entry) -> None:
        """An object ceases to be stored, and is paid for until its least age."""
        price = self._price(target.storage_class)
        monthly = max(target.size, price.minimum_bytes) / GIB * price.per_gb_month
        self._monthly -= monthly
        if price.minimum_days:
            days = max(0, self._now_ns - target.mtime_ns) / _DAY_NS
            self._early += monthly * max(0.0, price.minimum_days - days) / _MONTH_DAYS


_FREE = ClassPrice(0.0, 0.0, 0.0)
