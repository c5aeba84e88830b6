"""Laws of plan files: any plan comes back, and none that was cut or changed."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.model.actions import Action
from sterna.model.errors import PlanUnusable
from sterna.planning.frames import blocks, packed
from sterna.planning.planfile import Header, PlanFile, PlanWriter
from tests.planning.plans import TEXTS, plans, read, write


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(plans(), st.integers(1, 5))
def test_any_plan_is_read_as_it_was_written(actions: list[Action], each: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "plan"
        whole = write(path, actions)
        assert read(path) == actions
        header = Header(sterna="1.0", source="/data", destination="s3://bucket/data", created_s=1_800_000_000)
        with PlanWriter(path, header) as writer:
            for start in range(0, len(actions), each):
                writer.write(actions[start : start + each])
            writer.finish()
        assert path.read_bytes() == whole, "however it was given, it is the same plan"


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=3), TEXTS)
def test_any_header_is_read_as_it_was_written(
    source: str, destination: str, told: dict[str, str], filters: str
) -> None:
    header = Header(sterna="1", source=source, destination=destination, created_s=0, settings=told, filters=filters)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "plan"
        write(path, [], header)
        with PlanFile.open(path) as plan:
            found = plan.header
    assert (found.source, found.destination, found.settings, found.filters) == (source, destination, told, filters)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(plans(4), st.data())
def test_no_plan_that_was_cut_or_changed_is_read(actions: list[Action], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "plan"
        whole = write(path, actions)
        cut = data.draw(st.integers(0, len(whole) - 1), "cut")
        flip = data.draw(st.integers(1, 255), "flip")
        for changed in (whole[:cut], whole[:cut] + bytes([whole[cut] ^ flip]) + whole[cut + 1 :], whole[cut + 1 :]):
            path.write_bytes(changed)
            with pytest.raises(PlanUnusable):
                PlanFile.open(path)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 50))
def test_blocks_come_back_from_frames_however_these_are_cut(written: list[bytes], each: int) -> None:
    data = b"".join(packed(block) for block in written)
    pieces = [data[start : start + each] for start in range(0, len(data), each)]
    assert list(blocks(pieces)) == written
