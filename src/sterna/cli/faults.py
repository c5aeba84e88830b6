"""Turn whatever a command raised into one sentence and an exit code."""

from __future__ import annotations

import errno

from sterna.cli.exit_codes import ExitCode
from sterna.model.descriptors import most_open
from sterna.model.errors import SternaError, WrongSetting

_LEAST_OPEN = 48  # the loop, its threads and a listing took 18, and a few downloads at once 22 more


def known_error(error: BaseException) -> SternaError | None:
    """The first error of ours in an error or a group of errors; None if anything in it is a surprise."""
    if isinstance(error, SternaError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = [known_error(each) for each in error.exceptions]
        return None if None in found else found[0]
    return None


def is_interrupt(error: BaseException) -> bool:
    """Whether somebody pressed Ctrl-C, and nothing else happened that was not foreseen."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_interrupt(each) or known_error(each) for each in error.exceptions) and any(
            is_interrupt(each) for each in error.exceptions
        )
    return isinstance(error, KeyboardInterrupt)


def refuse_without_room() -> None:
    """Raise WrongSetting where so few files may be open that not even an event loop could be had in good order."""
    most = most_open()
    if most < _LEAST_OPEN:
        raise WrongSetting(
            f"Only {most} files and connections may be open at once here; raise that limit, for example: ulimit -n 1024"
        )


def _is_out_of_descriptors(error: BaseException | None) -> bool:
    """Also where that broke an event loop, which then could not even be closed."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            return True
        error = error.__cause__ or error.__context__
    return False


def sentence_and_code(error: BaseException) -> tuple[str, ExitCode | int]:
    """What to say of an error that ended a command, and what to end with."""
    known = known_error(error)
    if known is not None:
        return known.sentence, known.exit_code
    if is_interrupt(error):
        return "interrupted", ExitCode.INTERRUPTED
    if _is_out_of_descriptors(error):
        words = "All files and connections that may be open at once are in use; raise that limit, with ulimit -n."
        return words, ExitCode.SOME_FAILED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENFILE):
        return f"This machine has run out of something: {error.strerror}.", ExitCode.SOME_FAILED
    if isinstance(error, MemoryError):
        return "The memory of this machine is used up; try a lower --max-memory.", ExitCode.SOME_FAILED
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        words = "No more threads may be started here; raise that limit, with ulimit -u, or end other programs."
        return words, ExitCode.SOME_FAILED
    words = str(error).partition("\n")[0]
    surprise = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return (
        f"Something happened that was not foreseen ({surprise}); please report it, with what -vv shows.",
        ExitCode.SOME_FAILED,
    )
