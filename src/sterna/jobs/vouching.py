"""Say of each key of a run what is known of its object: from the journal, else by a look, else from the file."""

from __future__ import annotations

import asyncio
import base64
import threading
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sterna.jobs.contents import sums_of_object
from sterna.jobs.job import Opened
from sterna.jobs.settings import Manifesting
from sterna.jobs.summing import hexadecimal, sums_of_file
from sterna.jobs.witness import Met
from sterna.model.entry import Entry, Trouble
from sterna.model.errors import Interrupted, NotProven, ObjectChanged, SternaError, out_of
from sterna.model.outcomes import Outcome, Status
from sterna.model.synced import Seen, Synced
from sterna.model.units import printable
from sterna.moving.disk import Disk
from sterna.planning.manifest import FAILED, KEPT, UNREAD, Row
from sterna.planning.unknown import Unknown
from sterna.stores.local import LocalStore
from sterna.stores.mtime import mtime_text
from sterna.stores.s3 import S3Store

if TYPE_CHECKING:
    from sterna.journal.journal import Journal
    from sterna.journal.run import Run

CRC = "CRC64NVME"


class Vouching:
    """Turns what was met into rows, each with what is known of it: from the journal, else by a look, else from the file."""

    def __init__(
        self,
        run: Opened,
        bucket: S3Store,
        folder: LocalStore,
        asked: Manifesting,
        disk: Disk,
        ended: threading.Event,
    ) -> None:
        self.run = run
        self.bucket = bucket
        self._folder = folder
        self._wants_sha256 = asked.sha256
        self._disk = disk
        self._ended = ended
        self._unread = Unknown()  # what the source could not list, so far: pages come in key order
        self.unread_folders = self.kept = self.unread = 0

    async def rows(self, page: Met, after: str, journal: Journal, kept: Run) -> list[Row]:
        """The rows of a page; what failed since the key ``after`` is among them."""
        from sterna.journal import questions

        summary = self.run.ledger.summary
        not_done: dict[str, str] = {}
        if summary.failed or summary.left or summary.skipped:
            not_done = await journal.ask(questions.not_done_between, kept.number, after, page.last)
        saw = {}
        if page.last:
            first = min([*page.keys[:1], *(key for key, _, _ in page.others[:1])])
            saw = {row.key: row for row in await journal.rows_between(first, page.last)}
        failed = [key for key, status in not_done.items() if status in (Status.FAILED.value, Status.LEFT.value)]
        rows = {key: Row(key, state=FAILED) for key in failed}
        self._could_not_list(page, not_done)
        at_both = [key for key in page.keys if key not in rows and (key in saw or key not in not_done)]
        there_only = [one[0] for one in page.others if one[0] not in rows and _is_as_it_was(saw.get(one[0]), one)]
        unread = [key for key in there_only if self._unread.covers(key)] if self._unread else []
        kept_here = [key for key in there_only if not self._unread.covers(key)] if unread else there_only
        asked = []
        for keys, state in ((at_both, ""), (kept_here, KEPT), (unread, UNREAD)):
            for key in keys:
                one = saw.get(key)
                if one is not None and one.source and one.target and self._is_known(one.source, one.target):
                    rows[key] = _row(
                        key, one.source, one.target, state
                    )  # without a task, which would cost ten times that
                else:
                    asked.append(self._row(key, one, state))
        try:
            async with asyncio.TaskGroup() as asking:
                tasks = [asking.create_task(one) for one in asked]
        except BaseExceptionGroup as errors:
            raise out_of(errors) from None
        vouched = [task.result() for task in tasks]
        rows.update((row.key, row) for row, _ in vouched)
        kept.done([news for _, news in vouched if news is not None])  # so that the next run need not find it out again
        for row in rows.values():
            self.kept += row.state == KEPT
            self.unread += row.state == UNREAD
        return [rows[key] for key in sorted(rows)]

    def _could_not_list(self, page: Met, not_done: dict[str, str]) -> None:
        """Remember the names that the source met and could not list: they ended badly, and are none of its keys."""
        lost = set(not_done).difference(page.keys)
        self._unread.add(Trouble(key, "") for key in lost)
        self.unread_folders += sum(key.endswith("/") and not_done[key] == Status.FAILED.value for key in lost)

    async def _row(self, key: str, saw: Synced | None, state: str) -> tuple[Row, Synced | None]:
        """What is vouched for, and what of it the journal does not have. A key of which nothing can be said has failed,
        and the run with it."""
        try:
            if saw is None or saw.source is None or saw.target is None:
                raise NotProven(f"{printable(key)}: the journal does not know what is at both sides.", key=key)
            source, target = await self._known(key, saw.source, saw.target, is_kept=bool(state))
        except Interrupted:
            raise
        except SternaError as error:
            self.run.ledger.record([Outcome("manifest", key, Status.FAILED).fail(error)], unplanned=True)
            return Row(key, state=FAILED), None
        is_news = not state and (source, target) != (saw.source, saw.target)
        return _row(key, source, target, state), Synced(key, source, target) if is_news else None

    def _is_known(self, source: Seen, target: Seen) -> bool:
        """Whether nothing has to be asked or read."""
        return _has_crc(source, target) and bool(source.sha256 or not self._wants_sha256)

    async def _known(self, key: str, source: Seen, target: Seen, *, is_kept: bool) -> tuple[Seen, Seen]:
        """Both sides with the sums that are wanted. Where only size and time have said so far that the two are the same, the
        file is summed in any case, and held against what the server shows."""
        is_same = is_sure = True
        is_proved = bool(target.checksum or source.checksum)
        if not is_proved:
            seen, target, is_sure = target, *await self._looked(key, target)
            is_same = target.etag == seen.etag
        name, _, value = target.checksum.partition(":")
        if is_kept:
            if not is_same:
                raise _replaced(key)
            if not is_sure:
                target = replace(target, checksum="")
        elif not (is_proved and self._is_known(source, target)):
            names = [CRC, *(["SHA256"] if self._wants_sha256 else []), *([name] if name not in ("", CRC) else [])]
            sums, _ = await self._disk.slow(sums_of_file, self._folder, key, names, self._ended, source)
            if not is_same and sums.get(name) != value:
                raise _replaced(key)
            if name and sums[name] != value:
                if is_sure or sums[CRC] != (there := await self._crc_there(key, target)):
                    raise NotProven(
                        f"{printable(key)}: the object has another content than the file, though it has its size and"
                        " time; look at both, and remove the one that is wrong.",
                        key=key,
                    )
                target = replace(target, checksum=f"{CRC}:{there}")
            sha256 = hexadecimal(sums["SHA256"]) if self._wants_sha256 else source.sha256
            source = replace(source, checksum=f"{CRC}:{sums[CRC]}", sha256=sha256)
        return source, target

    async def _crc_there(self, key: str, target: Seen) -> str:
        """What an object sums up to, read: no other way is left to tell whether it is the file."""
        entry = Entry(key, target.size, 0, target.etag)
        return (await sums_of_object(self.bucket, entry, [CRC], self.run.carrier.buffers, self._disk))[CRC]

    async def _looked(self, key: str, target: Seen) -> tuple[Seen, bool]:
        """The object with the best sum that its server shows, and whether that is one: an ETag that has the form of an MD5
        may be none, and says something only where it is that of the file (H14)."""
        look = await self.bucket.head(key)
        if look is None or look.entry.size != target.size:
            raise _replaced(key)
        checksum, is_sure = f"{look.checksum_name}:{look.checksum}" if look.whole else "", True
        if not checksum and look.plain_md5:
            checksum = f"MD5:{base64.b64encode(bytes.fromhex(look.entry.etag)).decode('ascii')}"
            is_sure = self.bucket.learned.etag_is_md5 and "sterna-token" not in look.metadata
        return replace(target, etag=look.entry.etag, checksum=checksum, version=look.version), is_sure


def _is_as_it_was(saw: Synced | None, shown: tuple[str, int, str]) -> bool:
    """Whether an earlier run brought what the source has no more, and the listing shows it still as it was."""
    _, size, etag = shown
    if saw is None or saw.source is None or saw.target is None or not etag:
        return False
    return (saw.target.size, saw.target.etag) == (size, etag)


def _row(key: str, source: Seen, target: Seen, state: str) -> Row:
    return Row(
        key,
        target.size,
        mtime_text(source.mtime_ns),
        _value(target, CRC) or _value(source, CRC),
        source.sha256,
        target.etag,
        target.version,
        state,
        "" if target.checksum or not source.checksum else "file",
    )


def _has_crc(source: Seen, target: Seen) -> bool:
    return bool(_value(target, CRC) or _value(source, CRC))


def _value(seen: Seen, name: str) -> str:
    said, _, value = seen.checksum.partition(":")
    return value if said == name else ""


def _replaced(key: str) -> ObjectChanged:
    return ObjectChanged(f"{printable(key)}: another object stands there by now; run again.", key=key)
