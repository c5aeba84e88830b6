"""Compile many sequences into one quick question: does any of them match this key?"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator

from sterna.planning.patterns import Chars, Sequence, Token, Wild, complement, units

Test = Callable[[str], object]  # of a key; what it gives is true or false

_FEW = 8  # texts that startswith and endswith go through faster than a search in order finds one
_LAST = 0x10FFFF


def never(key: str) -> object:
    """No key."""
    return False


def always(key: str) -> object:
    """Every key."""
    return True


def compiled(sequences: Iterable[Sequence]) -> Test:
    """Whether any of the sequences matches a key, found out in a microsecond or less for the usual ones.

    What people write is nearly always a name, an end or a beginning: those are looked up, and only the rest goes into
    one regular expression. ``plain`` says the same, slowly; a law holds the two together.
    """
    exact: set[str] = set()
    names: set[str] = set()  # the last name of a key
    folders: set[str] = set()  # any other name of it
    beginnings: set[str] = set()
    ends: set[str] = set()
    inside: set[str] = set()
    wild_names: list[Sequence] = []
    rest: list[Sequence] = []
    for sequence in sequences:
        match sequence:
            case Sequence((Wild.PATH,)):
                return always
            case Sequence((), floating=False):
                exact.add("")
            case Sequence((str(text),), floating=False):
                exact.add(text)
            case Sequence((str(text), Wild.PATH), floating=False):
                beginnings.add(text)
            case Sequence((Wild.PATH, str(text))):
                ends.add(text)
            case Sequence((Wild.PATH, str(text), Wild.PATH)):
                inside.add(text)
            case Sequence((str(text),), floating=True):
                if "/" not in text:
                    names.add(text)
                else:
                    exact.add(text)
                    ends.add("/" + text)
            case Sequence((str(text), Wild.PATH), floating=True):
                if text.find("/") == len(text) - 1:
                    folders.add(text[:-1])
                else:
                    beginnings.add(text)
                    inside.add("/" + text)
            case Sequence(tokens, floating=True) if not any(
                token is Wild.PATH or (isinstance(token, str) and "/" in token) for token in tokens
            ):
                wild_names.append(Sequence(tokens))
            case _:
                rest.append(sequence)
    tests: list[Test] = []
    if exact:
        tests.append(exact.__contains__)
    if ends:
        tests.append(_ends_with(ends))
    if beginnings:
        tests.append(_begins_with(beginnings))
    if names:
        tests.append(lambda key: key[key.rfind("/") + 1 :] in names)
    if wild_names:
        at_name = _joined(wild_names).match
        tests.append(lambda key: at_name(key, key.rfind("/") + 1))
    if folders:
        tests.append(_below(folders))
    if inside:
        tests.append(_holding(inside))
    if rest:
        tests.append(_joined(rest).match)
    return _any(tests)


def _joined(sequences: list[Sequence]) -> re.Pattern[str]:
    return re.compile("|".join(map(expression, sequences)), re.DOTALL)


def _any(tests: list[Test]) -> Test:
    """One test out of several; written out, since a call for each of them would cost as much as they do."""
    match tests:
        case []:
            return never
        case [a]:
            return a
        case [a, b]:
            return lambda key: a(key) or b(key)
        case [a, b, c]:
            return lambda key: a(key) or b(key) or c(key)
        case [a, b, c, *others]:
            rest = _any(others)
            return lambda key: a(key) or b(key) or c(key) or rest(key)
        case _:
            raise AssertionError(tests)


def _begins_with(texts: set[str]) -> Test:
    return Heads(texts).begin


def _ends_with(texts: set[str]) -> Test:
    if len(texts) <= _FEW:
        few = tuple(texts)
        return lambda key: key.endswith(few)
    backwards = Heads({text[::-1] for text in texts}).begin
    return lambda key: backwards(key[::-1])


def _below(folders: set[str]) -> Test:
    if len(folders) == 1:
        (name,) = folders
        head, within = name + "/", f"/{name}/"
        return lambda key: key.startswith(head) or within in key
    apart = folders.isdisjoint
    return lambda key: not apart(key.split("/")[:-1])


def _holding(texts: set[str]) -> Test:
    if len(texts) == 1:
        (text,) = texts
        return lambda key: text in key
    return re.compile("|".join(map(re.escape, texts))).search


class Heads:
    """Some texts, and whether a key begins with one of them: by a search in order where they are many."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.ordered: list[str] = []
        for text in sorted(texts):  # one that begins with another says nothing new
            if not (self.ordered and text.startswith(self.ordered[-1])):
                self.ordered.append(text)
        self._few = tuple(self.ordered)
        self.begin: Test = self._begin_few if len(self._few) <= _FEW else self._begin_many

    def _begin_few(self, key: str) -> bool:
        return key.startswith(self._few)

    def _begin_many(self, key: str) -> bool:
        # A head of this key is at or before it in order. Between the two could only stand what begins with the head,
        # and of that there is none.
        at = bisect_right(self.ordered, key)
        return at > 0 and key.startswith(self.ordered[at - 1])


# One sequence as a regular expression


def expression(sequence: Sequence) -> str:
    """A regular expression, for DOTALL and match, that cannot run away: at most quadratic in the length of a key.

    Between two ``**`` the first place that fits is as good as any later one, since the second ``**`` takes whatever is
    left; the same holds for ``*`` within a name. So these are atomic, and nothing is tried twice. Only what follows
    the last ``**`` is tried at each place, as it has to reach the end.
    """
    segments = list(_split(sequence.tokens, Wild.PATH))
    pieces = []
    for number, segment in enumerate(segments):
        if number == len(segments) - 1:
            lead = ".*" if number else "(?:.*/)?" if sequence.floating else ""
            pieces.append(lead + _segment(segment, last=True) + r"\Z")
        else:
            lead = ".*?" if number else "(?:.*?/)??" if sequence.floating else ""
            pieces.append(f"(?>{lead}{_segment(segment, last=False)})")
    return "".join(pieces)


def _segment(tokens: tuple[Token, ...], *, last: bool) -> str:
    first, *others = _split(tokens, Wild.NAME)
    pieces = [_fixed(first)]
    for number, part in enumerate(others, 1):
        if last and number == len(others):
            pieces.append("[^/]*" + _fixed(part))
        else:
            pieces.append(f"(?>[^/]*?{_fixed(part)})")
    return "".join(pieces)


def _split(tokens: tuple[Token, ...], at: Wild) -> Iterator[tuple[Token, ...]]:
    start = 0
    for number, token in enumerate(tokens):
        if token is at:
            yield tokens[start:number]
            start = number + 1
    yield tokens[start:]


def _fixed(tokens: tuple[Token, ...]) -> str:
    return "".join(
        re.escape(token) if isinstance(token, str) else _characters(token)
        for token in tokens
        if not isinstance(token, Wild)
    )


def _characters(chars: Chars) -> str:
    ranges, negation = chars.ranges, ""
    if ranges and ranges[-1][1] == _LAST:  # shorter, and faster, the other way round
        ranges, negation = complement(ranges), "^"
        if not ranges:
            return "."
    if not ranges:
        return "(?!)"
    members = (re.escape(chr(low)) + (f"-{re.escape(chr(high))}" if low < high else "") for low, high in ranges)
    return f"[{negation}{''.join(members)}]"


def plain(sequence: Sequence, key: str) -> bool:
    """Whether a sequence matches a key, by following all its tokens through the key at once."""
    tokens = tuple(units(sequence))
    starts = [0, *(at + 1 for at, character in enumerate(key) if character == "/")] if sequence.floating else [0]
    return any(len(tokens) in _reached(tokens, key[start:]) for start in starts)


# Below a folder


def covers(sequence: Sequence) -> bool:
    """Whether a sequence that matches a text matches whatever begins with it as well."""
    return bool(sequence.tokens) and sequence.tokens[-1] is Wild.PATH


def reaching(sequences: Iterable[Sequence]) -> Test:
    """Whether any of the sequences can match a key that begins with a text. In doubt it can."""
    heads: set[str] = set()
    open_heads: set[str] = set()  # whatever begins so can match
    rest: dict[str, list[tuple[Token, ...]]] = {}  # by head: what may follow it
    for sequence in sequences:
        head = sequence.tokens[0] if sequence.tokens and isinstance(sequence.tokens[0], str) else ""
        after = sequence.tokens[1:] if head else sequence.tokens
        if sequence.floating or (after[:1] == (Wild.PATH,) and not head):
            return always
        heads.add(head)
        if after[:1] == (Wild.PATH,):
            open_heads.add(head)
        elif after:
            rest.setdefault(head, []).append(tuple(units(Sequence(after))))
    ordered = sorted(heads)
    begins_open = Heads(open_heads).begin
    lengths = sorted({len(head) for head in rest})

    def reach(prefix: str) -> bool:
        at = bisect_left(ordered, prefix)
        if at < len(ordered) and ordered[at].startswith(prefix):
            return True
        if begins_open(prefix):
            return True
        return any(_reached(tokens, prefix[length:]) for length in lengths for tokens in rest.get(prefix[:length], ()))

    return reach


def _reached(tokens: tuple[Token, ...], text: str) -> set[int]:
    """Which tokens could come next after a text, by number; the number after the last one is the end."""
    places = _with_skipped(tokens, {0})
    for character in text:
        after = set()
        for place in places:
            token = tokens[place] if place < len(tokens) else ""
            if isinstance(token, Wild):
                if token is Wild.PATH or character != "/":
                    after.add(place)
            elif token == character or (isinstance(token, Chars) and token.holds(character)):
                after.add(place + 1)
        if not after:
            return after
        places = _with_skipped(tokens, after)
    return places


def _with_skipped(tokens: tuple[Token, ...], places: set[int]) -> set[int]:
    reached = set()
    for place in places:
        reached.add(place)
        while place < len(tokens) and isinstance(tokens[place], Wild):
            place += 1
            reached.add(place)
    return reached
