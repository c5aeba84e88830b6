"""A kind of fault: some objects lie in an archive (Glacier), and come out of it after they were asked for."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping

from tests.faults.front.answer import Answer
from tests.faults.front.exchange import Exchange
from tests.faults.front.fault import Fault, Kind
from tests.faults.front.pages import entries, key_of, tag, with_entries
from tests.faults.front.request import CONNECT, Request
from tests.faults.front.s3 import error

_TIERS = {"GLACIER": ("Expedited", "Standard", "Bulk"), "DEEP_ARCHIVE": ("Standard", "Bulk")}
_TIERS |= {"ARCHIVE_ACCESS": _TIERS["GLACIER"], "DEEP_ARCHIVE_ACCESS": _TIERS["DEEP_ARCHIVE"]}
_EXPIRES = 'ongoing-request="false", expiry-date="Fri, 21 Dec 2040 00:00:00 GMT"'


class Archive(Kind):
    """``archived`` are full keys, each with its class, or its archive tier of INTELLIGENT_TIERING.

    They are listed with their class; a GET is refused until they have come, unless the class is only a name here
    (``is_name``). What was asked for comes after so many HEADs of it (``looks``), or, with None, when the test says so:
    ``thaw``. Declare it for all operations, always.
    """

    def __init__(self, archived: Mapping[str, str], looks: int | None = None, *, is_name: bool = False) -> None:
        self.archived = dict(archived)
        self.asked: list[tuple[str, str, int]] = []  # key, tier, days
        self.looked: list[str] = []
        self._looks = looks
        self._is_name = is_name
        self._left: dict[str, int] = {}  # of what was asked for: the HEADs until it comes
        self._readable: set[str] = set()
        self._changing = threading.RLock()

    def fits(self, operation: str) -> bool:
        return operation != CONNECT

    def ask(self, *keys: str) -> None:
        """Somebody else has asked for these."""
        with self._changing:
            for key in keys:
                self._left[key] = self._looks if self._looks is not None else -1

    def thaw(self, *keys: str) -> None:
        """These have come."""
        with self._changing:
            for key in keys or tuple(self._left):
                self._left.pop(key, None)
                self._readable.add(key)

    def cancel(self, *keys: str) -> None:
        """The server gives up on bringing these back."""
        with self._changing:
            for key in keys:
                self._left.pop(key, None)

    def instead(self, exchange: Exchange, fault: Fault) -> Answer | None:
        request = exchange.request
        with self._changing:
            if request.key not in self.archived:
                return None
            if request.method == "POST" and "restore" in request.query:
                fault.hit()
                return self._restore(request, exchange.body().decode())
            is_read = request.operation in ("Get", "GetRange") and not self._is_name
            if is_read and request.key not in self._readable:
                fault.hit()
                return error(
                    request, 403, "InvalidObjectState", "The operation is not valid for the object's storage class"
                )
        return None

    def downward(self, exchange: Exchange, fault: Fault, answer: Answer) -> None:
        request = exchange.request
        if answer.status != 200:
            return
        with self._changing:
            if request.operation == "Head" and request.key in self.archived:
                self._show(request.key, answer)
            elif request.operation in ("ListV2", "ListV1", "ListVersions"):
                self._list(answer)

    def _restore(self, request: Request, body: str) -> Answer:
        key = request.key
        kind, tier = self.archived[key], re.findall("<Tier>(.*?)</Tier>", body)
        days = [int(text) for text in re.findall("<Days>(.*?)</Days>", body)]
        if bool(days) is kind.endswith("_ACCESS") or len(tier) != 1:
            return error(request, 400, "MalformedXML", f"Days {days} and tiers {tier} for {kind}")
        if tier[0] not in _TIERS[kind]:
            return error(request, 400, "InvalidArgument", f"{kind} has no tier {tier[0]}")
        self.asked.append((key, tier[0], sum(days)))
        if key in self._readable:
            return Answer(200, [])
        if key in self._left:
            return error(request, 409, "RestoreAlreadyInProgress", "Object restore is already in progress")
        self.ask(key)
        return Answer(202, [])

    def _show(self, key: str, answer: Answer) -> None:
        kind = self.archived[key]
        in_tier = kind.endswith("_ACCESS")
        self.looked.append(key)
        if self._left.get(key) == 0:
            self.thaw(key)
        is_readable = key in self._readable
        answer.set("x-amz-storage-class", "INTELLIGENT_TIERING" if in_tier else kind)
        if in_tier and not is_readable:
            answer.set("x-amz-archive-status", kind)
        if key in self._left:
            self._left[key] -= 1
            answer.set("x-amz-restore", 'ongoing-request="true"')
        elif is_readable and not in_tier:
            answer.set("x-amz-restore", _EXPIRES)

    def _list(self, answer: Answer) -> None:
        page = answer.whole()
        is_encoded = tag(page, "EncodingType") == "url"
        shown = []
        for entry in entries(page):
            if (kind := self.archived.get(key_of(entry, is_encoded))) is not None:
                kind = "INTELLIGENT_TIERING" if kind.endswith("_ACCESS") else kind
                entry = re.sub(rb"<StorageClass>.*?</", f"<StorageClass>{kind}</".encode(), entry)
            shown.append(entry)
        answer.replace(with_entries(page, shown))
