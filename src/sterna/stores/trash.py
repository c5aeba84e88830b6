"""Keep what would be deleted or written over in a place of its own: copies in a bucket, the files themselves in a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sterna.model.entry import Entry
from sterna.model.errors import NotProven, ObjectGone, Refused, SternaError
from sterna.model.location import BucketPath
from sterna.model.units import printable, size_words
from sterna.stores.draft import look_then_rename
from sterna.stores.folder import Directory, Folder, check_expected, translate
from sterna.stores.look import Look
from sterna.stores.named import NamedFolder
from sterna.stores.s3 import S3Store

COPY_BYTES = 5 << 30
"""What one CopyObject copies at most: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html"""

# A file system without hard links, or one whose owner does not let others make them (fs.protected_hardlinks).
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EINVAL)


class BucketTrash:
    """Copies objects of a store to ``place/`` in the same bucket, a full key without its last slash; none above ``most``
    bytes.
    """

    def __init__(self, store: S3Store, place: str, *, most: int = COPY_BYTES) -> None:
        self._store = store
        self._most = most
        self._there = S3Store(store.client, BucketPath(store.bucket, place), store.own_headers)

    def __repr__(self) -> str:
        return f"<BucketTrash {self._there.location}>"

    async def keep(self, key: str) -> Look | None:
        """Copy what stands under a key now, and see that the copy is there; gives what was copied, None for nothing.

        The copy is of the object that is given and no other, by the condition of the request and by its ETag. Raises
        SternaError where it cannot be made or seen; the object is then as it was.
        """
        found = await self._store.head(key)
        if found is None:
            return None
        name = printable(key)
        if found.entry.size > self._most:
            raise Refused(
                f"{name} has {size_words(found.entry.size)}, and a server copies at most {size_words(self._most)} in one"
                " request, so it cannot go to the trash; it is left.", operation="Copy", key=key,
            )  # fmt: skip
        headers = self._store.copy_source(key, found.entry.etag)
        if found.entry.storage_class:
            headers["x-amz-storage-class"] = found.entry.storage_class
        async with self._store.client.gate:
            etag, _, _ = await self._there.copy(key, headers)
        copy = await self._there.head(key)
        if copy is None:
            raise NotProven(f"{name}: the server says that it is copied to the trash, and does not have it there.",
                            operation="Copy", key=key, code="NotStored")  # fmt: skip
        if copy.entry.size != found.entry.size or copy.entry.etag not in (etag, found.entry.etag):
            raise NotProven(f"{name}: what the trash has of it is not what was copied.",
                            operation="Copy", key=key, code="NotStored")  # fmt: skip
        return found


class FolderTrash:
    """Takes files of a folder into another one on the same file system, with their times: they are not copied.

    The folder of the run is made when the first file comes. Threads may share it.
    """

    def __init__(self, folder: Folder, place: Path) -> None:
        self._folder = folder
        self._path = place
        self._there: Folder | None = None
        self._making = threading.Lock()

    def __repr__(self) -> str:
        return f"<FolderTrash {self._path}>"

    def close(self) -> None:
        """Let go of the descriptors."""
        if self._there is not None:
            self._there.close()

    def take(self, key: str, expected: Entry) -> tuple[Directory, str]:
        """Move a file that still is what was listed; gives where it is now. What was put in its place at the last moment
        goes back there.

        Raises ObjectChanged for another file, ObjectGone where there is none.
        """
        path = self._folder.path_of(key) if isinstance(self._folder, NamedFolder) else key
        shown = self._folder.shown(path)
        directory, name = self._folder.locate(path)
        try:
            check_expected(os.stat(name, dir_fd=directory.fd, follow_symlinks=False), expected, shown)
        except OSError as error:
            raise translate(error, "look at", shown, key) from error
        there, kept = self._place_of(key)
        try:
            os.rename(name, kept, src_dir_fd=directory.fd, dst_dir_fd=there.fd)
            try:
                check_expected(os.stat(kept, dir_fd=there.fd, follow_symlinks=False), expected, shown)
            except SternaError:
                look_then_rename(there.fd, kept, name, directory.fd)
                raise
        except OSError as error:
            raise self._said(error, shown, key) from error
        return there, kept

    @contextmanager
    def keeping(self, directory: Directory, name: str, key: str) -> Iterator[None]:
        """Keep a file whose name is about to be given to another one, inside this ``with``.

        By a second name for it, so that at no time nothing stands there; by moving it where the file system has no such
        names. Where the other one does not come, all is as it was.
        """
        shown = self._folder.shown(key)
        there, kept = self._place_of(key)
        try:
            is_moved = _link_or_rename(directory, name, there, kept)
        except FileNotFoundError:
            yield  # nothing is left to be kept
            return
        except OSError as error:
            raise self._said(error, shown, key) from error
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                if is_moved:
                    look_then_rename(there.fd, kept, name, directory.fd)
                else:
                    os.unlink(kept, dir_fd=there.fd)
            raise

    def _place_of(self, key: str) -> tuple[Directory, str]:
        with self._making:
            if self._there is None:
                self._there = Folder.open(self._path, create=True)
        return self._there.locate(key, create=True)

    def _said(self, error: OSError, shown: str, key: str) -> SternaError:
        if error.errno == errno.EXDEV:
            sentence = (
                f"{printable(shown)} is on another file system than the trash {printable(str(self._path))}; it is left."
            )
            return Refused(sentence, operation="trash", key=key, code="EXDEV")
        if error.errno == errno.ENOENT:
            return ObjectGone(f"{printable(shown)} vanished.", operation="trash", key=key)
        return translate(error, "move to the trash", shown, key)


def _link_or_rename(directory: Directory, name: str, there: Directory, kept: str) -> bool:
    """Whether it had to be moved."""
    try:
        os.link(name, kept, src_dir_fd=directory.fd, dst_dir_fd=there.fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(name, kept, src_dir_fd=directory.fd, dst_dir_fd=there.fd)
        return True
    return False
