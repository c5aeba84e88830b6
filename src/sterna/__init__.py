"""Sterna carries files between folders and S3 buckets, and proves that they arrived.

    import sterna
    summary = sterna.sync("folder", "s3://bucket/prefix", on_event=print)
    summary.exit_code, summary.uploaded, summary.failures

Nothing prints, and nothing but ``__version__`` is loaded before it is asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would import typing: 5 ms, of which the library's import and --version are most
if TYPE_CHECKING:
    from sterna.jobs.library import (
        async_backup,
        async_copy,
        async_restore,
        async_retry,
        async_sync,
        backup,
        copy,
        restore,
        retry,
        sync,
    )
    from sterna.jobs.settings import Settings
    from sterna.model.errors import SternaError
    from sterna.model.events import Summary

__version__ = "0.1.0"
__all__ = ["Settings", "SternaError", "Summary", "__version__", "async_backup", "async_copy", "async_restore",
           "async_retry", "async_sync", "backup", "copy", "restore", "retry", "sync"]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'sterna' has no attribute {name!r}")
    from importlib import import_module

    homes = {"Settings": "jobs.settings", "SternaError": "model.errors", "Summary": "model.events"}
    home = f"sterna.{homes.get(name, 'jobs.library')}"
    return getattr(import_module(home), name)
