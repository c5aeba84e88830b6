"""Share out the files and connections that a process may have open at once, so that nobody takes another's."""

from __future__ import annotations

from typing import Final

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

# Kept open, of directories and of drafts that have no name yet, each: a quarter of what there is between these.
_FEWEST, _MOST = 64, 512
_OURS: Final = 24  # standard streams, event loop, log, pipes to helpers, and what libraries open for a moment
_A_REQUEST: Final = 3  # its connection, a second descriptor of that for sendfile, and the file
_ENOUGH: Final = 8192  # beyond that some systems grow tables for nothing
_UNKNOWN: Final = 1024


def most_open() -> int:
    """How many descriptors this process may have: the soft ``RLIMIT_NOFILE``."""
    if resource is None:
        return _UNKNOWN
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft


def take_what_is_allowed() -> None:
    """Raise the soft limit as far as the hard one lets us: the customary 1,024 is there for programs with select()."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS allows less than it says; what there is has to do
            return


def directories_to_keep() -> int:
    """How many directories a folder keeps open, and how many unnamed drafts."""
    most = most_open()
    return min(_MOST, max(_FEWEST, most // 4) if most >= 4 * _FEWEST else max(4, most // 8))


def requests_at_once() -> int:
    """How many requests may be in flight when each needs its connection and its file; at least one."""
    return max(1, (most_open() - 2 * directories_to_keep() - _OURS) // _A_REQUEST)
