"""Bind the state file of a run to the folder that it is of, and to the place that the run goes to."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from sterna.jobs.memory import route_of
from sterna.jobs.settings import Settings
from sterna.jobs.sides import open_bucket
from sterna.journal.places import state_directory
from sterna.journal.route import Route
from sterna.model.errors import WrongSetting
from sterna.model.events import Tally
from sterna.model.location import BucketPath, LocalPath, Location
from sterna.model.units import printable
from sterna.reporting.statefile import StateFile


async def route_now(source: Location, destination: Location, settings: Settings) -> Route:
    """The route that a run with these settings is on: by the endpoints that they and the environment name. Nothing is
    asked of a bucket.
    """
    ends, sides = (source, destination), (settings.source, settings.destination)
    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(open_bucket(end, side, settings, Tally()))
            if isinstance(end, BucketPath)
            else None
            for end, side in zip(ends, sides, strict=True)
        ]
        return await route_of(ends, stores, state_directory(settings.journal.directory))


async def state_file(
    path: str, source: Location, destination: Location, settings: Settings, route: Route | None = None
) -> StateFile | None:
    """The state file of a run, if there is to be one; ``route`` is the run's, where that is known already. Raises
    WrongSetting where there can be none.
    """
    if not path:
        return None
    if not isinstance(source, LocalPath):
        raise WrongSetting(
            f"--state-file names the files of a folder, and {printable(str(source))} is none; leave it off."
        )
    for option, value in (
        ("--symlinks store", settings.symlinks == "store"),
        ("--on-collision escape", settings.escapes),
    ):
        if value:
            raise WrongSetting(
                f"--state-file names files by their paths, and with {option} objects have other names; leave one off."
            )
    route = route or await route_now(source, destination, settings)
    return StateFile(Path(path), source.path, route.destination)
