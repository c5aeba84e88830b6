"""Leave a manifest of what an upload run has seen at its destination: beside the data, and on this machine."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sterna import __version__
from sterna.jobs.carriers import upload_carrier
from sterna.jobs.job import Flow, Opened, carried, carry_over
from sterna.jobs.settings import Manifesting, Settings
from sterna.jobs.vouching import CRC, Vouching
from sterna.jobs.witness import Met, SummingProver, Witness
from sterna.model.actions import Action, Verb
from sterna.model.errors import Interrupted, JournalUnusable, SternaError, WrongSetting
from sterna.model.events import ManifestWritten, Summary, Tally
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.model.outcomes import Outcome, Status
from sterna.model.units import printable
from sterna.moving.disk import Disk
from sterna.moving.settings import UploadOptions
from sterna.planning.compare import Compare
from sterna.planning.manifest import Head, ManifestWriter
from sterna.reporting.words import count_words, unread_words
from sterna.stores.beside import FOLDER, SUFFIX, is_reserved, manifest_key
from sterna.stores.folder import translate_given
from sterna.stores.local import LocalStore
from sterna.stores.names import is_abandoned
from sterna.stores.s3 import OneObject, S3Store

if TYPE_CHECKING:
    from sterna.journal.journal import Journal
    from sterna.journal.run import Run

_KEPT_HERE = 1 << 30  # bytes of manifests on this machine: the oldest go, and are still beside their data
_KEPT_AT_LEAST = 10


def with_manifest(settings: Settings, source: Location, destination: Location) -> Flow:
    """The flow of an upload that ends with a manifest. Raises WrongSetting where there can be none."""
    asked = settings.manifest
    assert asked is not None
    if not (isinstance(source, LocalPath) and isinstance(destination, BucketPath)):
        raise WrongSetting("--manifest is for uploads of a folder, and this is none; leave it off.")
    if is_reserved(destination.path):
        raise WrongSetting(
            f"{printable(str(destination))} is where Sterna keeps manifests ({FOLDER}), which no run takes for data; give"
            " another destination."
        )
    if source.is_stream or source.path.is_file():
        raise WrongSetting(f"--manifest is of a folder, and {printable(str(source))} is none; leave it off.")
    if not settings.journal.is_kept:
        raise WrongSetting("--manifest is written from the journal, so it cannot go with --no-journal; leave one off.")
    if settings.compare not in (Compare.AUTO, Compare.CHECKSUM):
        raise WrongSetting(
            f"--manifest vouches for the content, and --compare {settings.compare.value} does not look at it; compare by"
            " auto or checksum."
        )
    if asked.file and not Path(asked.file).absolute().parent.is_dir():
        raise WrongSetting(
            f"--manifest-file {printable(asked.file)} is in a folder that does not exist; make it first."
        )

    async def flow(run: Opened) -> Summary:
        return await carry_over(run) if run.dry_run else await _carry_over(run, settings, asked)

    return flow


async def _carry_over(run: Opened, settings: Settings, asked: Manifesting) -> Summary:
    """list → compare → plan → guard → move → prove → record → vouch → report."""
    carrier, ledger = run.carrier, run.ledger
    assert carrier.folder is not None
    assert isinstance(run.target, S3Store)
    ended, disk = threading.Event(), Disk()
    run.stop.on_request(ended.set)
    try:
        with Witness() as witness:
            prover = carrier.prover
            if asked.sha256 and prover is not None:
                prover = SummingProver(prover, run.target, carrier.folder, disk, ended)
            await carried(run._replace(carrier=witness.beside(carrier, prover)))
            vouching = Vouching(run, run.target, carrier.folder, asked, disk, ended)
            await _leave(vouching, witness, settings, asked)
    finally:
        ended.set()
        disk.close()
    return await ledger.settle(durable=carrier.is_durable)


async def _leave(vouching: Vouching, witness: Witness, settings: Settings, asked: Manifesting) -> None:
    """Write the manifest, and put it beside the data. That it could not be is a failure of the run, by name."""
    run, bucket, ledger = vouching.run, vouching.bucket, vouching.run.ledger
    key = FOLDER
    try:
        kept_by = run.memory.kept_by
        if kept_by is None:
            raise JournalUnusable("The manifest is written from the journal, and there is none.")
        key = manifest_key(kept_by[1].name)
        path = Path(asked.file) if asked.file else _usual_path(settings, kept_by[1].name)
        _check(run)
        written = await _written(vouching, witness, path, asked, kept_by)
        await _uploaded(run, bucket, settings, path, key)
    except Interrupted:
        ledger.notice("No manifest was written, since the run was ended early.", "warning", "manifest")
        return
    except SternaError as error:
        ledger.record([Outcome("manifest", key, Status.FAILED).fail(error)], unplanned=True)
        return
    written = replace(written, location=str(BucketPath(bucket.bucket, bucket.prefix + key)))
    ledger.summary.manifest = written
    where = f"{printable(written.location)}, and {printable(str(path))}"
    vouched = f"The manifest of {count_words(written.count)}{_beyond(vouching)} is {where};"
    lacking = "" if written.is_complete else f" it is not complete{_unread(vouching)};"
    ledger.notice(
        f"{vouched}{lacking} its root is {written.root}.", "info" if written.is_complete else "warning", "manifest"
    )


def _beyond(vouching: Vouching) -> str:
    """How many of a manifest's objects this run has not met in the source: they are not among its own counts."""
    others = []
    if vouching.kept:
        others.append(f"{vouching.kept:,} of them deleted from the source, and kept from earlier runs")
    if vouching.unread:
        others.append(f"{vouching.unread:,} of them brought by earlier runs, from what could not be read now")
    return f" ({'; '.join(others)})" if others else ""


def _unread(vouching: Vouching) -> str:
    return f" ({unread_words(vouching.unread_folders)})" if vouching.unread_folders else ""


async def _written(
    vouching: Vouching, witness: Witness, path: Path, asked: Manifesting, kept_by: tuple[Journal, Run]
) -> ManifestWritten:
    run, (journal, kept) = vouching.run, kept_by
    await journal.flushed(lasting=False)  # what is asked for is what is committed
    head = Head(
        algorithms=[CRC, "SHA256"] if asked.sha256 else [CRC],
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        destination=run.ledger.summary.destination,
        filters=run.ledger.summary.filtered,
        run=kept.name,
        source=os.path.abspath(run.ledger.summary.source),  # by which the folder is known again
        sterna=__version__,
    )
    with ManifestWriter(path, head) as writer:
        after = ""
        for page in _and_what_follows(witness.pages()):
            _check(run)
            writer.write(await vouching.rows(page, after, journal, kept))
            await journal.room()
            after = page.last
        end, root = await asyncio.to_thread(writer.finish)
    return ManifestWritten(
        path=str(path), location="", count=end.count, failed=end.failed, is_complete=end.complete, root=root
    )


def _check(run: Opened) -> None:
    if run.stop.is_requested:
        raise Interrupted(run.stop.reason)


def _and_what_follows(pages: Iterable[Met]) -> Iterator[Met]:
    """The pages, and an empty one for what failed behind the last key."""
    yield from pages
    yield Met([], [])


async def _uploaded(run: Opened, bucket: S3Store, settings: Settings, path: Path, key: str) -> None:
    """Carry the manifest as any file is carried, proof and all. Raises what keeps it from being there.

    Of what uploads are given it gets what protects it. It goes to the bucket's usual class: from an archive nobody could
    read it at once.
    """
    given = settings.upload
    plain = replace(
        settings,
        trash="",
        upload=UploadOptions(
            sse=given.sse, sse_kms_key_id=given.sse_kms_key_id, acl=given.acl, content_type="application/zstd"
        ),
    )
    single = OneObject(bucket.client, bucket.location, bucket.own_headers, full=bucket.key_of(key))
    single.learned = bucket.learned
    with LocalStore.open(path.absolute().parent) as folder:
        async with upload_carrier(folder, single, plain, Tally(), run.stop) as carrier:
            entry = await folder.look(path.name)
            [outcome] = await carrier.move([Action(Verb.UPLOAD, path.name, "the manifest", entry)])
            await carrier.prove([outcome])
    _check(run)
    if outcome.status is not Status.DONE:
        raise SternaError(f"The manifest is {printable(str(path))}, and not beside the data: {outcome.error}")


def _usual_path(settings: Settings, name: str) -> Path:
    """Where manifests are kept on this machine, with room made for another."""
    from sterna.journal.places import manifests_folder, private_folder, state_directory

    state = state_directory(settings.journal.directory)
    folder = private_folder(state, manifests_folder(state).name)
    held = 0
    try:
        for one in folder.iterdir():
            if is_abandoned(one.name):  # of a backup that was killed (H48)
                one.unlink(missing_ok=True)
        names = sorted((one for one in folder.iterdir() if one.name.endswith(SUFFIX)), reverse=True)
        for number, one in enumerate(names):  # a run's name begins with its time
            held += one.stat().st_size
            if number >= _KEPT_AT_LEAST and held > _KEPT_HERE:
                one.unlink(missing_ok=True)
    except OSError as error:
        raise translate_given(error, "look at the manifests in", str(folder)) from error
    return folder / f"{name}{SUFFIX}"
