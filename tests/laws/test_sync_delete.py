"""Laws of ``sync --delete``: the destination ends as the source, as filtered, and a second run does nothing."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sterna
from sterna.jobs.settings import Deletion, Settings
from sterna.model.events import Summary
from sterna.planning.filters import Filter
from sterna.planning.guard import Allowed, Guard, MaxDelete
from sterna.planning.rules import in_order, option_rule
from sterna.wire.side import Side
from tests.e2e.trees import tree
from tests.servers.oracle import Bucket
from tests.servers.server import Server

pytestmark = pytest.mark.thorough

_NAMES = st.lists(st.sampled_from(["a", "b", "é", "z!"]), min_size=1, max_size=3).map("/".join)
_TREES = st.dictionaries(_NAMES, st.binary(max_size=2), max_size=6).map(
    lambda files: {  # a folder has no file of its name
        name: body for name, body in files.items() if not any(other.startswith(name + "/") for other in files)
    }
)
_EXCLUDES = st.sampled_from(["", "b*", "*/b", "a/*"])
_ALL = Deletion(Allowed(frozenset(guard for guard in Guard if guard is not Guard.MAX_DELETE), MaxDelete()))
_runs = itertools.count()


def filter_of(exclude: str) -> Filter:
    return Filter(in_order([option_rule("--exclude", exclude)])) if exclude else Filter()


def write(root: Path, files: dict[str, bytes]) -> None:
    root.mkdir(parents=True)
    for name, body in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(body)


def empty_folders(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_dir() and not any(path.iterdir())]


def expected(source: dict[str, bytes], target: dict[str, bytes], filters: Filter) -> dict[str, bytes]:
    """What sets say: the source's where the filter lets it pass, the destination's own where it does not."""
    taken = {name: body for name, body in source.items() if filters.takes_key(name)}
    return taken | {name: body for name, body in target.items() if not filters.takes_key(name)}


def is_possible(files: dict[str, bytes]) -> bool:
    return not any(other.startswith(name + "/") for name in files for other in files)


def sizes_differ(source: dict[str, bytes], target: dict[str, bytes]) -> dict[str, bytes]:
    """The destination's files as they can be told from the source's without a clock."""
    return {name: body + b"xxx" if name in source else body for name, body in target.items()}


def does_nothing(summary: Summary) -> bool:
    return (summary.exit_code, summary.uploaded, summary.downloaded, summary.deleted, summary.failed) == (0, 0, 0, 0, 0)


@pytest.mark.slow
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(source=_TREES, target=_TREES, exclude=_EXCLUDES, trash=st.sampled_from(["", "bin"]))
def test_a_bucket_ends_as_the_filtered_folder_and_a_second_run_does_nothing(
    server: Server, bucket: Bucket, side: Side, tmp_path: Path,
    source: dict[str, bytes], target: dict[str, bytes], exclude: str, trash: str,
) -> None:  # fmt: skip
    if not server.facts.any_key:
        pytest.skip("keys are paths of a folder: one that is in another's way stays there, and is named")
    target, filters = sizes_differ(source, target), filter_of(exclude)
    number = next(_runs)
    folder, prefix = tmp_path / str(number), f"p{number}"
    write(folder, source)
    for name, body in target.items():
        bucket.put(f"{prefix}/{name}", body)
    run = Settings(source=side, destination=side, filters=filters, deletion=_ALL, trash=trash and f"{prefix}/{trash}")
    first = sterna.sync(str(folder), bucket.url(prefix), settings=run)
    assert first.exit_code == 0, first.verdict
    found = {key.removeprefix(prefix + "/"): body for key, body in bucket.contents(prefix + "/").items()}
    kept = {name.split("/", 2)[2]: body for name, body in found.items() if name.startswith("bin/")}
    after = expected(source, target, filters)
    assert {name: body for name, body in found.items() if not name.startswith("bin/")} == after
    assert kept == ({name: body for name, body in target.items() if after.get(name) != body} if trash else {})
    assert does_nothing(sterna.sync(str(folder), bucket.url(prefix), settings=run))
    shutil.rmtree(folder)


@pytest.mark.slow
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(source=_TREES, target=_TREES, exclude=_EXCLUDES, trash=st.sampled_from(["", "bin"]))
def test_a_folder_ends_as_the_filtered_bucket_and_a_second_run_does_nothing(
    server: Server, bucket: Bucket, side: Side, tmp_path: Path,
    source: dict[str, bytes], target: dict[str, bytes], exclude: str, trash: str,
) -> None:  # fmt: skip
    source = source or {"a": b"x"}
    if not server.facts.any_key:
        pytest.skip("keys are paths of a folder: one that is in another's way stays there, and is named")
    target, filters = sizes_differ(source, target), filter_of(exclude)
    number = next(_runs)
    folder, prefix = tmp_path / str(number), f"p{number}"
    write(folder, target)
    for name, body in source.items():
        bucket.put(f"{prefix}/{name}", body)
    where = str(folder / trash) if trash else ""
    run = Settings(source=side, destination=side, filters=filters, deletion=_ALL, trash=where)
    first = sterna.sync(bucket.url(prefix), str(folder), settings=run)
    found = tree(folder)
    kept = {name.split("/", 2)[2]: body for name, body in found.items() if name.startswith("bin/")}
    found = {name: body for name, body in found.items() if not name.startswith("bin/")}
    if is_possible(source | target):
        after = expected(source, target, filters)
        assert first.exit_code == 0, first.verdict
        assert found == after
        assert kept == ({name: body for name, body in target.items() if after.get(name) != body} if trash else {})
        assert not empty_folders(folder)
        assert does_nothing(sterna.sync(bucket.url(prefix), str(folder), settings=run))
    else:  # a file stands where a folder is needed, or the other way round: what could not come deletes nothing else
        assert first.exit_code in (0, 1)
        if first.failed:
            in_the_way = {name for name in target if any(key.startswith(f"{name}/") for key in source)}
            assert first.deleted <= len(in_the_way)
            assert set(target) - in_the_way <= set(found)
    shutil.rmtree(folder)
