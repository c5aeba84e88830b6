"""Sum a plan up before anybody carries it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sterna.jobs.identity import AWS
from sterna.model.actions import Action, Verb
from sterna.model.location import BucketPath, parse_location
from sterna.model.plans import Review
from sterna.moving.parts import LARGEST_OBJECT, part_size, range_size
from sterna.moving.settings import Limits
from sterna.planning.estimate import ASSUMED, NO_PRICES, Estimator, Prices, Route, default_prices
from sterna.planning.planfile import Header, PlanFile
from sterna.planning.summary import Summarizer


class Reviewer:
    """Takes the actions of a plan page by page. What planning itself has cost is no part of what it says."""

    def __init__(self, header: Header, prices: Prices | None = None) -> None:
        self._header = header
        self._summarizer = Summarizer()
        ends = parse_location(header.source), parse_location(header.destination)
        places = zip(ends, (header.source_at, header.destination_at), strict=True)
        self._buckets = [at for end, at in places if isinstance(end, BucketPath)]
        if prices is None:
            prices = default_prices() if all(at == AWS for at in self._buckets) else NO_PRICES
        self._is_download = not isinstance(ends[1], BucketPath)
        route = Route(not self._is_download, header.storage_class or "STANDARD")
        self._estimator = Estimator(
            route, prices, _gets_for if self._is_download else _puts_for, header.created_s * 10**9
        )
        self._todo = 0

    def add(self, actions: Sequence[Action]) -> None:
        """Take a page."""
        self._summarizer.add(actions)
        self._estimator.add(actions)
        self._todo += sum(action.verb is not Verb.REFUSE for action in actions)

    def requests(self) -> dict[str, int]:
        """The estimate of their number by operation."""
        return self._estimator.requests()

    def review(self, kept: int, kept_bytes: int) -> Review:
        """All that was added, and what stays as it is. To be asked for once, at the end."""
        if self._todo:
            for _ in self._buckets:
                self._estimator.listed(self._todo)  # each action is looked at again before it is carried out
        return Review(
            source=self._header.source,
            destination=self._header.destination,
            created_s=self._header.created_s,
            settings=self._header.settings,
            summary=self._summarizer.summary(),
            estimate=self._estimator.estimate(ASSUMED, leaves_provider=self._is_download),
            kept=kept,
            kept_bytes=kept_bytes,
        )


def review(
    file: PlanFile, prices: Prices | None = None, each: Callable[[Sequence[Action]], object] | None = None
) -> Review:
    """Read a plan through; ``each`` is given its pages as they pass."""
    reviewer = Reviewer(file.header, prices)
    for page in file.pages():
        reviewer.add(page)
        if each is not None:
            each(page)
    return reviewer.review(file.footer.kept, file.footer.kept_bytes)


def _puts_for(size: int) -> int:
    """The requests that carry an object of a size to a bucket; 1 where it travels whole."""
    if size <= Limits().part_threshold:
        return 1
    return -(-size // part_size(min(size, LARGEST_OBJECT)))


def _gets_for(size: int) -> int:
    """The same from one."""
    return 1 if size <= Limits().part_threshold else -(-size // range_size(size))
