"""Little plans and entries for tests."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.planning.planfile import Header, PlanFile, PlanWriter

HEADER = Header(sterna="1.0", source="/data", destination="s3://bucket/data", created_s=1_800_000_000)

# What a key may be made of: separators, what sorts around them, quotes, controls, astral characters, lone surrogates.
TEXTS = st.text(st.sampled_from('ab/-.0%\n\r\t\0\\"\x7fé\u2028\U0001f426\ud800\udc80\udcff'), max_size=8)
KEYS = TEXTS.filter(bool)


_HEX = "d41d8cd98f00b204e9800998ecf8427e"

# What travels as digits, with and without parts, and what looks like it.
ETAGS = ["", _HEX, f"{_HEX}-1", f"{_HEX}-10000", f"{_HEX}-0", f"{_HEX}-01", f"{_HEX}-", f"{_HEX}-x", f"{_HEX}0", _HEX[1:],
         _HEX.upper(), f"{_HEX}\n", f"{_HEX}-{'9' * 12}", "x-2", "\n\udcff"]  # fmt: skip


def entries(keys: st.SearchStrategy[str] = KEYS) -> st.SearchStrategy[Entry]:
    return st.builds(
        Entry,
        keys,
        st.integers(0, 2**50),
        st.integers(-(2**60), 2**62),
        st.sampled_from(ETAGS),
        st.sampled_from(["", "STANDARD", "GLACIER"]),
        st.sampled_from(["", "null", "v1"]),
    )


@st.composite
def plans(draw: st.DrawFn, most: int = 6) -> list[Action]:
    """Actions as a plan has them: in key order, then deletions, in key order."""
    verbs = st.sampled_from([Verb.UPLOAD, Verb.DOWNLOAD, Verb.COPY, Verb.REFUSE, Verb.LOOK])
    actions = []
    for key in sorted(draw(st.sets(KEYS, max_size=most))):
        target = draw(st.none() | entries(st.just(key)))
        source = draw(entries(st.just(key)))
        sizes = f"{source.size} here, {target.size} there" if target is not None and draw(st.booleans()) else ""
        actions.append(Action(draw(verbs), key, draw(TEXTS) + sizes, source, target, draw(TEXTS)))
    actions += [
        Action(Verb.DELETE, key, draw(TEXTS), None, draw(entries(st.just(key))))
        for key in sorted(draw(st.sets(KEYS, max_size=most)))
    ]
    return actions


def write(path: Path, actions: list[Action], header: Header = HEADER) -> bytes:
    """The bytes of the file of a plan."""
    with PlanWriter(path, header) as writer:
        writer.write(actions)
        writer.finish()
    return path.read_bytes()


def read(path: Path) -> list[Action]:
    with PlanFile.open(path) as plan:
        return [action for page in plan.pages() for action in page]


def upload(key: str, size: int = 1) -> Action:
    return Action(Verb.UPLOAD, key, "new", Entry(key, size, 0))


def deletion(key: str, size: int = 1) -> Action:
    return Action(Verb.DELETE, key, "the source does not have it", None, Entry(key, size, 0))
