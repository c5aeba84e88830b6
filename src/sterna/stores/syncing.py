"""Turn groups of drafts into files that a power cut leaves alone."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import threading
from collections.abc import Sequence
from typing import Generic, TypeVar

from sterna.model.entry import Entry
from sterna.model.errors import LocalFault, ObjectChanged, SternaError
from sterna.model.units import printable
from sterna.stores.draft import Draft, libc, sync_descriptor
from sterna.stores.folder import Directory, Folder, translate
from sterna.stores.names import folders_of

Token = TypeVar("Token")


class Syncing:
    """Puts what was written below a folder on disk: one flush for any number of files (H47).

    On Linux one syncfs for each file system that the drafts lie on (a folder may hold mount points); where that is
    absent, or does not tell errors (before Linux 5.8), an fsync for each file and directory. A flush that fails is
    never tried again: the kernel tells of a lost page once, and of whose it was not at all. So from then on nothing
    on that file system is called done by this object (H50). With ``durable=False`` nothing is flushed. Threads may
    share it.
    """

    def __init__(self, folder: Folder, durable: bool = True) -> None:
        self.folder = folder
        self.durable = durable
        self._has_syncfs = libc("syncfs") is not None and _syncfs_tells_errors(platform.release())
        # Open from before the first write, and ours alone: an error is told once to each descriptor that was open then.
        try:
            self._volumes: dict[int, Directory] = {folder.root.device: _opened_again(folder.root)}
        except OSError as error:
            raise translate(error, "open", str(folder.path)) from error
        self._lost: dict[int, SternaError] = {}
        self._flushing = threading.Lock()

    def __repr__(self) -> str:
        way = "nothing" if not self.durable else "syncfs" if self._has_syncfs else "fsync"
        return f"<Syncing {self.folder.path} by {way}, {len(self._lost)} file systems lost>"

    def cover(self, draft: Draft) -> SternaError | None:
        """Tell of a sealed draft, so that the file system it lies on is flushed too; an error if that cannot be."""
        if draft.device not in self._volumes:
            try:
                self._volumes.setdefault(draft.device, _opened_again(self.folder.directory(draft.parent)))
            except OSError as error:
                return translate(error, "put on disk", draft.shown, draft.key)
            except SternaError as error:
                return error
        return None

    def commit(self, drafts: Sequence[Draft], expectations: Sequence[Entry | None]) -> list[SternaError | None]:
        """Data to disk, then the names, then the names to disk; for each draft None once it is durable, or its error.

        A draft that fails before it has its name is discarded, and what stood there stands.
        """
        results, _ = self.flush_groups(drafts, ())
        for at, (draft, expect) in enumerate(zip(drafts, expectations, strict=True)):
            results[at] = _publish(draft, expect, results[at])
        named = [at for at, result in enumerate(results) if result is None]
        _, errors = self.flush_groups((), [drafts[at] for at in named])
        for at, error in zip(named, errors, strict=True):
            results[at] = error
        return results

    def flush_groups(
        self, data: Sequence[Draft], names: Sequence[Draft]
    ) -> tuple[list[SternaError | None], list[SternaError | None]]:
        """Put the bytes of sealed drafts and the names of published ones on disk; None or an error for each.

        For the names it is checked too that their paths still lead to where they were put: somebody may have moved
        the folder away meanwhile.
        """
        data_errors: list[SternaError | None] = [None] * len(data)
        name_errors: list[SternaError | None] = [None] * len(names)
        if self.durable and (data or names):
            if self._has_syncfs:
                data_errors = [self.cover(draft) for draft in data]
                errors = self._flush_volumes({draft.device for draft in (*data, *names)} & self._volumes.keys())
                data_errors = [found or errors[draft.device] for draft, found in zip(data, data_errors, strict=True)]
                name_errors = [errors[draft.device] for draft in names]
            else:
                data_errors = [_error_of_sync(draft) for draft in data]
                paths = {path for draft in names for path in folders_of(draft.key)}
                of_path = {path: self._sync_directory(path) for path in paths}
                name_errors = [next(filter(None, map(of_path.get, folders_of(draft.key))), None) for draft in names]
        is_current = {
            (path, where): self.folder.leads_to(path, *where)
            for path, where in {(one.parent, one.put_in) for one in names}
        }
        root_is_current = not names or self.folder.is_current("")
        for at, draft in enumerate(names):
            if name_errors[at] is None and not (root_is_current and is_current[draft.parent, draft.put_in]):
                sentence = f"{printable(draft.shown)}: its folder was moved or replaced while it was put there."
                name_errors[at] = ObjectChanged(sentence, operation="put in place", key=draft.key)
        return data_errors, name_errors

    def _flush_volumes(self, devices: set[int]) -> dict[int, SternaError | None]:
        syncfs = libc("syncfs") if self._has_syncfs else None
        with self._flushing:  # two flushes at once would share one report of an error
            for device in devices - self._lost.keys():
                volume = self._volumes[device]
                try:
                    if syncfs is None:
                        sync_descriptor(volume.fd)
                    elif syncfs(volume.fd) != 0:
                        number = ctypes.get_errno()
                        raise OSError(number, os.strerror(number))
                except OSError as error:
                    self._lost[device] = _not_on_disk(error, str(self.folder.path))
            return {device: self._lost.get(device) for device in devices}

    def _sync_directory(self, path: str) -> SternaError | None:
        try:
            sync_descriptor(self.folder.directory(path).fd)
        except OSError as error:
            return _not_on_disk(error, self.folder.shown(path))
        except SternaError as error:
            return error
        return None


def commit(
    folder: Folder, drafts: Sequence[Draft], expectations: Sequence[Entry | None], durable: bool = True
) -> list[SternaError | None]:
    """Commit one group by itself; see ``Syncing.commit``. Who has many keeps one Syncing for all."""
    return Syncing(folder, durable).commit(drafts, expectations)


class Committer(Generic[Token]):
    """Group commit without a pause: one flush puts the names of the last group and the data of the next on disk.

    ``stage`` sealed drafts at any time, from any thread; call ``cycle`` again and again until ``is_idle``. It has no
    thread of its own. With ``durable=False`` a draft gets its name at once, and ``cycle`` only tells.
    """

    def __init__(self, syncing: Syncing) -> None:
        self._syncing = syncing
        self._staged: list[tuple[Draft, Entry | None, Token]] = []  # data may not be on disk
        self._named: list[tuple[Draft, Token]] = []  # data on disk, the name may not be
        self._failed: list[tuple[Token, SternaError | None]] = []
        self._changing = threading.Lock()
        self._cycling = threading.Lock()

    def __repr__(self) -> str:
        return f"<Committer, {len(self._staged)} staged, {len(self._named)} named>"

    @property
    def waiting(self) -> int:
        """How many drafts were staged and not told of yet."""
        return len(self._staged) + len(self._named) + len(self._failed)

    @property
    def is_idle(self) -> bool:
        return self.waiting == 0

    def stage(self, draft: Draft, expect: Entry | None, token: Token) -> None:
        """Hand over a sealed draft; ``cycle`` will give the token back once, with None or an error."""
        if self._syncing.durable:
            error = self._syncing.cover(draft)
            if error is not None:
                draft.discard()
        else:
            error = _publish(draft, expect)
        with self._changing:
            if error is None and self._syncing.durable:
                self._staged.append((draft, expect, token))
            elif error is None:
                self._named.append((draft, token))
            else:
                self._failed.append((token, error))

    def cycle(self) -> list[tuple[Token, SternaError | None]]:
        """Flush once, name what has its data on disk; returns what became durable by this flush, and what failed.

        Where it raises, which nobody foresees, all that it had in hand is here again, for ``drop``.
        """
        with self._cycling:
            with self._changing:
                staged, self._staged = self._staged, []
                named, self._named = self._named, []
                failed, self._failed = self._failed, []
            try:
                results, now_named = self._cycle(staged, named)
            except BaseException:
                with self._changing:
                    self._staged[:0], self._named[:0], self._failed[:0] = staged, named, failed
                raise
            with self._changing:
                self._named.extend(now_named)
            return failed + results

    def _cycle(
        self, staged: list[tuple[Draft, Entry | None, Token]], named: list[tuple[Draft, Token]]
    ) -> tuple[list[tuple[Token, SternaError | None]], list[tuple[Draft, Token]]]:
        data_errors, name_errors = self._syncing.flush_groups(
            [draft for draft, _, _ in staged], [draft for draft, _ in named]
        )
        results = [(token, error) for (_, token), error in zip(named, name_errors, strict=True)]
        now_named = []
        for (draft, expect, token), flushed in zip(staged, data_errors, strict=True):
            error = _publish(draft, expect, flushed)
            if error is None:
                now_named.append((draft, token))
            else:
                results.append((token, error))
        return results, now_named

    def abandon(self) -> list[Draft]:
        """Take back the drafts that have no name yet: the run ends without them."""
        with self._changing:
            staged, self._staged = self._staged, []
        return [draft for draft, _, _ in staged]

    def drop(self) -> list[Token]:
        """Give up on all that was staged and not told of, and give its tokens."""
        with self._changing:
            staged, self._staged = self._staged, []
            named, self._named = self._named, []
            failed, self._failed = self._failed, []
        for draft, _, _ in staged:
            draft.discard()
        return [token for *_, token in staged] + [token for _, token in named] + [token for token, _ in failed]


def _publish(draft: Draft, expect: Entry | None, flushed: SternaError | None = None) -> SternaError | None:
    """Publish, unless the flush of the data failed: then the draft is discarded."""
    if flushed is not None:
        draft.discard()
        return flushed
    try:
        draft.publish(expect)
    except SternaError as error:
        return error
    return None


def _opened_again(directory: Directory) -> Directory:
    """The same directory by a descriptor of its own."""
    return Directory(os.open(".", os.O_RDONLY | getattr(os, "O_CLOEXEC", 0), dir_fd=directory.fd))


def _error_of_sync(draft: Draft) -> SternaError | None:
    try:
        draft.sync()
    except SternaError as error:
        return error
    return None


def _not_on_disk(error: OSError, path: str) -> SternaError:
    """A failed flush. Whatever the errno, it is of this machine, and no reason to try the same again."""
    found = translate(error, "put on disk what was written to", path)
    if isinstance(found, LocalFault):
        return found
    return LocalFault(found.sentence, operation=found.operation, key=found.key, code=found.code, words=found.words)


def _syncfs_tells_errors(release: str) -> bool:
    """Since Linux 5.8 syncfs returns an error when pages were lost; before, it says that all is well."""
    version = re.match(r"(\d+)\.(\d+)", release)
    return version is not None and (int(version[1]), int(version[2])) >= (5, 8)
