"""With what the last run saw, the plan misses no change: whatever was done to either side, and whatever the times say."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.synced import Seen, Synced
from sterna.planning.collide import Collisions
from sterna.planning.compare import difference, plan_downloads, plan_uploads
from sterna.planning.known import OTHER_TIME

_S = 1_000_000_000
_SYNCED_S = 1_700_000_000  # when both sides were the same


class _File(NamedTuple):
    content: int  # two contents of one size
    mtime_ns: int
    ctime_ns: int
    inode: int


class _Object(NamedTuple):
    content: int
    stored_ns: int
    own_ns: int | None  # the time that it keeps of the file that it was made of

    @property
    def etag(self) -> str:
        return f"{self.content:032x}"


_TIMES = st.integers((_SYNCED_S - 3) * _S, (_SYNCED_S + 3) * _S) | st.integers(-3, 3).map(
    lambda s: (_SYNCED_S + s) * _S
)
_CHANGES = st.sampled_from(["nothing", "edit", "edit and put the time back", "replace", "touch", "chmod"])


def _changed(draw: st.DrawFn, file: _File) -> _File:
    """The same file after one of the things that happen to files; any of them moves its ctime."""
    change = draw(_CHANGES)
    later_ns = file.ctime_ns + draw(st.integers(1, 3 * _S))
    match change:
        case "nothing":
            return file
        case "edit":
            return _File(1 - file.content, later_ns, later_ns, file.inode)
        case "edit and put the time back":
            return file._replace(content=1 - file.content, ctime_ns=later_ns)
        case "replace":
            return _File(draw(st.integers(0, 1)), draw(_TIMES), later_ns, file.inode + 1)
        case "touch":
            return file._replace(mtime_ns=draw(_TIMES), ctime_ns=later_ns)
        case _:
            return file._replace(ctime_ns=later_ns)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[_File, _Object, Synced, bool]:
    """What both sides have now, what they had when they were the same, and whether the file is the source."""
    is_upload = draw(st.booleans())
    file = _File(0, draw(_TIMES), _SYNCED_S * _S, 7)
    thing = _Object(0, draw(_TIMES) // _S * _S, draw(st.sampled_from([None, file.mtime_ns])))
    seen = Seen(4, file.mtime_ns, ctime_ns=file.ctime_ns, inode=file.inode), Seen(4, etag=thing.etag)
    row = Synced("k", *(seen if is_upload else seen[::-1]))
    for _ in range(draw(st.integers(0, 2))):
        file = _changed(draw, file)
    if draw(st.booleans()):  # somebody else stored it anew
        thing = _Object(draw(st.integers(0, 1)), draw(_TIMES) // _S * _S, draw(st.none() | _TIMES))
    return file, thing, row, is_upload


@given(case=_cases())
def test_H23_no_change_is_missed_where_an_earlier_run_saw_both_sides(
    case: tuple[_File, _Object, Synced, bool],
) -> None:
    file, thing, row, is_upload = case
    local = Entry("k", 4, file.mtime_ns, "", "", "", file.ctime_ns, file.inode)
    remote = Entry("k", 4, thing.stored_ns, thing.etag)
    now_ns, known = (_SYNCED_S + 9) * _S, {"k": row}
    if is_upload:
        plan = plan_uploads([(local, remote)], now_ns, known=known)
    else:
        plan = plan_downloads([(remote, local)], Collisions(lambda path: None), known=known)
    moves = [action for action in plan.actions if _moves(action, file, thing, local, remote, is_upload=is_upload)]
    assert plan.kept + len(plan.actions) == 1
    assert file.content == thing.content or moves, "both sides stay different"
    is_as_it_was = (file.mtime_ns, file.ctime_ns, file.inode) == (
        (row.source if is_upload else row.target).mtime_ns,  # type: ignore[union-attr]
        _SYNCED_S * _S,
        7,
    )
    if is_as_it_was and thing.etag == f"{0:032x}":
        assert plan.kept == 1, "what is as it was needs no look"


def _moves(action: Action, file: _File, thing: _Object, local: Entry, remote: Entry, *, is_upload: bool) -> bool:
    """What comes of an action once it is settled, as a carrier does it."""
    verb = Verb.UPLOAD if is_upload else Verb.DOWNLOAD
    match action.verb:
        case Verb.COMPARE:
            edited = action.because == OTHER_TIME and difference(verb, local, remote, remote, thing.own_ns) is not None
            return edited or file.content != thing.content
        case Verb.LOOK:
            return difference(verb, local, remote, remote, thing.own_ns) is not None
        case _:
            return action.verb is verb
