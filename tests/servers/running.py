"""Hold a started server together with the processes and folders that end with it."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.servers.process import Child, Folder
from tests.servers.server import Server


class Running:
    """A server and what it is made of. ``stop()`` ends the children in the order given, then removes the folder."""

    def __init__(self, server: Server, children: Iterable[Child], folder: Folder) -> None:
        self.server = server
        self.children = tuple(children)
        self.folder = folder

    def __repr__(self) -> str:
        return f"<{self.server.name} at {self.server.endpoint_url}: {', '.join(map(repr, self.children))}>"

    @property
    def is_running(self) -> bool:
        return all(child.is_running for child in self.children)

    def stop(self) -> None:
        for child in self.children:
            child.stop()
        self.folder.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
