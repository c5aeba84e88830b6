"""A plan in a file: what was written is read, and what was cut, changed or made up is not."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import stat
from pathlib import Path

import pytest

from sterna.model.actions import Action, Verb
from sterna.model.entry import Entry
from sterna.model.errors import LocalFault, PlanUnusable, Refused, WrongSetting
from sterna.planning import frames
from sterna.planning.planfile import FORMAT, Header, PlanFile, PlanWriter
from tests.planning.plans import HEADER, deletion, read, upload, write

ACTIONS = [upload("a", 3), upload("b/c", 4), deletion("b", 5), deletion("d", 6)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan"


def test_a_plan_is_read_as_it_was_written(path: Path) -> None:
    header = Header(sterna="1", source="/\udcff", destination="s3://b", created_s=1,
                    settings={"b": "1", "a": "\udc80%20"}, filters="f")  # fmt: skip
    with PlanWriter(path, header) as writer:
        assert "open, 0 actions" in repr(writer)
        writer.write(ACTIONS[:1])
        writer.write(ACTIONS[1:])
        writer.write([])
        footer = writer.finish(requests={"put": 2}, kept=7, kept_bytes=70)
    with PlanFile.open(path) as plan:
        assert plan.header.source == "/\udcff"
        assert plan.header.settings == {"a": "\udc80%20", "b": "1"}
        assert plan.footer == footer
        assert (footer.counts, footer.bytes) == ({"upload": 2, "delete": 2}, {"upload": 7, "delete": 11})
        assert (footer.requests, footer.kept, footer.kept_bytes) == ({"put": 2}, 7, 70)
        assert [action for page in plan.pages() for action in page] == ACTIONS
        assert [action for page in plan.pages() for action in page] == ACTIONS, "it can be read twice"
        assert "4 actions" in repr(plan)


def test_an_empty_plan_is_a_plan(path: Path) -> None:
    write(path, [])
    assert read(path) == []


def test_the_same_plan_is_the_same_bytes(path: Path, tmp_path: Path) -> None:
    assert write(path, ACTIONS) == write(tmp_path / "other", ACTIONS)


def test_the_file_unpacks_to_lines_that_others_can_read(path: Path) -> None:
    data = write(path, ACTIONS)
    lines = b"".join(frames.blocks([data])).splitlines()
    assert list(map(json.loads, lines[1:-1])) == [
        {
            "verbs": ["upload", "upload", "delete", "delete"],
            "keys": ["a", "b/c", "b", "d"],
            "because": ["new", "new", "the source does not have it", "the source does not have it"],
            "source": {"sizes": [3, 4, None, None], "since_s": 0, "times_s": [0, 0, 0, 0], "times_ns": [0, 0, 0, 0],
                       "etags": ["", "", "", ""]},
            "target": {"sizes": [None, None, 5, 6], "since_s": 0, "times_s": [0, 0, 0, 0], "times_ns": [0, 0, 0, 0],
                       "etags": ["", "", "", ""]},
        }
    ]  # fmt: skip


@pytest.mark.slow
def test_a_plan_cut_at_any_byte_is_refused(path: Path) -> None:
    data = write(path, ACTIONS[1:3])
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(PlanUnusable, match=r"plan was (cut|changed)"):
            PlanFile.open(path)


@pytest.mark.slow
def test_a_plan_with_a_flipped_byte_is_refused(path: Path) -> None:
    """Also where zstd itself would not notice: a frame's head has bits that unpacking ignores."""
    data = write(path, ACTIONS[1:3])
    for place in range(len(data)):
        for flip in (0x10, 0xFF):
            path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
            with pytest.raises(PlanUnusable, match="plan was"):
                PlanFile.open(path)


def test_a_plan_with_something_behind_it_is_refused(path: Path) -> None:
    data = write(path, ACTIONS)
    for more in (b"\n", data, frames.packed(b"x\n")):
        path.write_bytes(data + more)
        with pytest.raises(PlanUnusable):
            PlanFile.open(path)


def test_two_plans_in_one_file_are_refused_by_the_last_one(path: Path) -> None:
    other = write(path, [upload("z")])
    path.write_bytes(write(path, ACTIONS) + other)
    with pytest.raises(PlanUnusable):
        PlanFile.open(path)


def seal(body: bytes, footer: bytes, path: Path) -> None:
    """Make a file whose seal is right, as somebody would who wants it so."""
    data = body + footer
    head = frames.skippable(len(body).to_bytes(8, "little") + bytes(32))[:-32]
    path.write_bytes(data + head + hashlib.sha256(data + head).digest())


def test_an_edited_and_sealed_plan_is_refused_by_its_last_line(path: Path) -> None:
    """Whoever packs an edited text again needs another footer, too; the old one names the old lines."""
    text = b"".join(frames.blocks([write(path, ACTIONS)])).splitlines(keepends=True)
    header, lines, footer = text[0], text[1:-1], text[-1]
    good = frames.packed(header) + frames.packed(b"".join(lines))
    seal(good, frames.packed(footer), path)
    assert read(path) == ACTIONS
    other = lines[0].replace(b'"d"', b'"e"')
    assert other != lines[0]
    edits = [[], [other], [*lines, *lines], [b" ", *lines]]
    for edit in edits:
        seal(frames.packed(header) + frames.packed(b"".join(edit)), frames.packed(footer), path)
        with pytest.raises(PlanUnusable, match="not those of its last line"):
            PlanFile.open(path)


@pytest.mark.parametrize(
    ("header", "footer", "says"),
    [
        (b'{"format":1}\n', None, f"has format 1, and this Sterna reads format {FORMAT}"),
        (b"[]\n", None, "another kind"),
        (b"\xff\n", None, "another kind"),
        (None, b'{"counts":{}}\n', "another kind"),
        (None, b"", "another kind"),
    ],
)
def test_a_sealed_file_of_another_kind_is_refused(
    path: Path, header: bytes | None, footer: bytes | None, says: str
) -> None:
    text = b"".join(frames.blocks([write(path, [])])).splitlines(keepends=True)
    seal(
        frames.packed(text[0] if header is None else header), frames.packed(text[1] if footer is None else footer), path
    )
    with pytest.raises(PlanUnusable, match=says):
        PlanFile.open(path)


def _uneven() -> list[bytes]:
    """Lines that say something else of an action than of the others, or of no action."""
    side: dict[str, object] = {
        "sizes": [1],
        "since_s": 0,
        "times_s": [0],
        "times_ns": [0],
        "etags": [0],
        "digits": "a" * 32,
    }
    wrong: list[dict[str, object]] = [
        {"digits": "a" * 31},
        {"digits": "a" * 33},
        {"digits": "A" * 32},
        {"digits": "a" * 31 + "\n"},
        {"etags": ["x"]},
        {"etags": [0, 0]},
        {"sizes": []},
        {"times_s": [0, 0]},
        {"versions": ["", ""]},
        {"more": 1},
    ]
    page: dict[str, object] = {"verbs": ["upload"], "keys": ["a"], "because": [""]}
    pages = [page | {"source": side | one} for one in wrong]
    pages += [page | {"target": side | one} for one in wrong]
    pages += [page | {"keys": ["a", "b"]}, page | {"tells_sizes": []}, page | {"places": ["x", "y"]}]
    return [json.dumps(one).encode() + b"\n" for one in pages]


def test_a_line_that_is_no_page_of_actions_is_refused(path: Path) -> None:
    text = b"".join(frames.blocks([write(path, [])])).splitlines(keepends=True)
    for line in (b"\xff\n", b'{"keys":["a"]}\n', b'{"verbs":["explode"],"keys":["a"],"because":[""]}\n', *_uneven()):
        footer = json.loads(text[1])
        footer["digest"] = hashlib.sha256(text[0] + line).hexdigest()
        seal(frames.packed(text[0]) + frames.packed(line), frames.packed(json.dumps(footer).encode()), path)
        with PlanFile.open(path) as plan, pytest.raises(PlanUnusable, match="has no actions"):
            list(plan.pages())


def test_a_plan_that_changes_while_it_is_read_is_noticed(path: Path) -> None:
    etags = [hashlib.sha256(bytes([number % 251, number // 251])).hexdigest() for number in range(40_000)]
    actions = [
        Action(Verb.COPY, f"{number:06}", "new", Entry(f"{number:06}", 1, 1, etag)) for number, etag in enumerate(etags)
    ]
    data = write(path, actions)
    with PlanFile.open(path) as plan:
        pages = plan.pages()
        next(pages)
        with open(path, "r+b") as file:
            file.seek(len(data) // 2)
            file.write(b"\0\1\2\3")
        with pytest.raises(PlanUnusable, match="damaged"):
            list(pages)
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(PlanUnusable, match="shorter"):
            list(plan.pages())


def test_what_is_no_plan_is_refused_by_name(tmp_path: Path) -> None:
    picture = tmp_path / "picture\n.png"
    picture.write_bytes(b"\x89PNG" + bytes(1000))
    with pytest.raises(PlanUnusable, match=r"picture\\x0a\.png was cut, or is no plan of Sterna; make it anew"):
        PlanFile.open(picture)


def test_a_missing_plan_a_folder_or_a_pipe_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="Cannot read the plan"):
        PlanFile.open(tmp_path / "nothing")
    with pytest.raises(Refused, match="it is a folder"):
        PlanFile.open(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # into which nobody writes
    with pytest.raises(PlanUnusable, match="no regular file"):
        PlanFile.open(tmp_path / "pipe")


def test_a_bomb_is_refused(path: Path) -> None:
    text = b"".join(frames.blocks([write(path, [])])).splitlines(keepends=True)
    seal(frames.packed(text[0]) + frames.packed(bytes(frames.LARGEST_BLOCK + 1)), frames.packed(text[1]), path)
    with pytest.raises(PlanUnusable, match="unpacks to more"):
        PlanFile.open(path)


def test_the_file_appears_whole_and_for_its_owner_only(path: Path) -> None:
    old = os.umask(0)
    try:
        with PlanWriter(path, HEADER) as writer:
            writer.write(ACTIONS)
            assert not path.exists()
            (temporary,) = path.parent.iterdir()
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
            writer.finish()
    finally:
        os.umask(old)
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_plan_that_was_not_finished_leaves_nothing_and_the_old_one_stays(path: Path) -> None:
    before = write(path, ACTIONS)

    def fail() -> None:
        with PlanWriter(path, HEADER) as writer:
            writer.write(ACTIONS)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before
    assert write(path, []) != before, "and a new one takes its place"


@pytest.mark.parametrize("most", [10, 1_000])
def test_a_plan_that_finds_no_room_is_told_and_leaves_nothing(path: Path, most: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        with pytest.raises(LocalFault, match="Cannot write the plan"), PlanWriter(path, HEADER) as writer:
            writer.write([upload(f"{number:06}", number**3) for number in range(20_000)])
            writer.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(path.parent.iterdir()) == []


def test_only_a_regular_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "link", "pipe"):
        with pytest.raises(WrongSetting, match="no regular file"):
            PlanWriter(tmp_path / name, HEADER)
    with pytest.raises(WrongSetting, match="Cannot write the plan"):
        PlanWriter(tmp_path / "missing" / "plan", HEADER)


@pytest.mark.parametrize(
    "actions",
    [
        [upload("b"), upload("a")],
        [upload("a"), upload("a")],
        [deletion("a"), upload("b")],
        [deletion("b"), deletion("a")],
        [upload("")],
        [Action(Verb.COPY, "a", "", Entry("b", 1, 1))],
        [Action(Verb.COPY, "a", "", None, Entry("b", 1, 1))],
    ],
    ids=["disorder", "twice", "deletions first", "deletions in disorder", "no key", "another source", "another target"],
)
def test_what_is_no_plan_is_not_written(path: Path, actions: list[Action]) -> None:
    with PlanWriter(path, HEADER) as writer, pytest.raises(ValueError):
        for action in actions:
            writer.write([action])
    assert not path.exists()


def test_a_time_of_any_size_is_held(path: Path) -> None:
    actions = [Action(Verb.UPLOAD, "a", "new", Entry("a", 1, 2**70), Entry("a", 1, -(2**70)))]
    write(path, actions)
    assert read(path) == actions


def test_a_long_plan_lies_in_many_blocks(path: Path) -> None:
    actions = [upload(f"folder/{number:09}", number) for number in range(30_000)]
    write(path, actions)
    with PlanFile.open(path) as plan:
        pages = list(plan.pages())
    assert [action for page in pages for action in page] == actions
    assert len(pages) > 1
    assert max(map(len, pages)) < 20_000


def test_where_keys_are_long_a_block_holds_fewer(path: Path) -> None:
    actions = [upload(f"{number:06}" + "k" * 3_000, number) for number in range(8_000)]
    write(path, actions)
    with PlanFile.open(path) as plan:
        pages = list(plan.pages())
    assert [action for page in pages for action in page] == actions
    assert 1_000 < max(map(len, pages)) < 4_000


def test_the_ctime_and_the_inode_of_files_are_kept_for_the_run_itself_only(path: Path) -> None:
    action = Action(Verb.UPLOAD, "a", "new", Entry("a", 1, 2, ctime_ns=2**60 + 1, inode=2**63 + 5))
    write(path, [action])
    assert read(path) == [Action(Verb.UPLOAD, "a", "new", Entry("a", 1, 2))]
    with PlanWriter(path, HEADER, exact=True) as writer:
        writer.write([action])
        writer.finish()
    assert read(path) == [action]


def test_an_action_takes_under_fifty_bytes_also_with_random_etags(path: Path) -> None:
    """Ten million of them are to be below 500 MB (``benchmarks/plans.py``)."""
    chance = random.Random(1)

    def stored(key: str, etag: str = "") -> Entry:
        at_s = 1_790_000_000 + chance.randrange(31_536_000)
        return Entry(key, chance.randrange(10**6), at_s * 10**9, etag or f"{chance.getrandbits(128):032x}", "STANDARD")

    def one(number: int) -> Action:
        source, target = stored(f"photos/{number:08}.jpg"), stored(f"photos/{number:08}.jpg")
        because = f"the sizes differ: {source.size} here, {target.size} there"
        return Action(Verb.COPY, source.key, because, source, target)

    assert len(write(path, [one(number) for number in range(20_000)])) < 50 * 20_000
