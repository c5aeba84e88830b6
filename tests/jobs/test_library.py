"""What the document of the library shows is what the library does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sterna.model.events import Summary
from tests.servers.oracle import Bucket

ONE_SERVER_IS_ENOUGH = True

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/library.md"


def example(word: str) -> str:
    """The example of the document in which this word stands."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    [found] = [block for block in blocks if word in block]
    assert isinstance(found, str)
    return found


@pytest.mark.usefixtures("side")  # whose server and keys are in the environment
def test_the_example_of_a_sync_that_deletes(bucket: Bucket, tmp_path: Path, state: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg", "mine.tmp"):
        (photos / name).write_bytes(b"x")
    for key in ("photos/a.jpg", "photos/gone.jpg", "photos/theirs.tmp"):
        bucket.put(key, b"y" * 5)
    code = example("Deletion(Allowed")
    for said, meant in (('"photos"', repr(str(photos))), ('"s3://my-bucket/photos"', repr(bucket.url("photos")))):
        assert said in code
        code = code.replace(said, meant)
    names: dict[str, object] = {}
    exec(code, names)
    summary = names["summary"]
    assert isinstance(summary, Summary)
    assert (summary.exit_code, summary.uploaded, summary.deleted) == (0, 2, 1)
    assert bucket.keys() == ["photos/a.jpg", "photos/b.jpg", "photos/theirs.tmp"]
    assert list((state / "journals").glob("*.sqlite3")), "a journal is kept, where nothing else is said"


def test_the_example_of_a_run_without_a_journal() -> None:
    exec("from sterna import Settings\n" + example("Journaling(is_kept"), {})
