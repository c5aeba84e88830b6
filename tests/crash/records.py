"""Hold what runs keep in writing, journal, state file and manifests, against what there is."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from sterna.journal import questions
from sterna.journal.database import reading
from sterna.model.synced import Synced
from sterna.planning.frames import blocks
from tests.crash.places import Place, Stand

Rows = Mapping[str, Synced]

MANIFESTS = ".sterna/manifests/"  # in the bucket


def journal_rows(state: Path, scratch: Path) -> Rows:
    """The last-synced tree by key, read from a copy: a reader of the file itself would leave its traces."""
    found: dict[str, Synced] = {}
    folder = state / "journals"
    for path in sorted(folder.glob("*.sqlite3")):
        scratch.mkdir(exist_ok=True)
        for part in folder.glob(f"{path.name}*"):
            if not part.name.endswith("-shm"):
                shutil.copy(part, scratch / part.name)
        found |= _tree(scratch / path.name)
        shutil.rmtree(scratch)
    return found


def _tree(path: Path) -> Rows:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with reading(path) as connection:
        return {row.key: row for page in questions.tree(connection) for row in page}


def must_be_so(rows: Rows, told: Rows, source: Place, target: Place) -> None:
    """What was added to the last-synced tree is so on both sides; what an earlier run had ``told`` was so then."""
    for key, row in rows.items():
        if told.get(key) == row:
            continue
        for seen, place in ((row.source, source), (row.target, target)):
            for name, value in place.mark(key).items():
                claimed = getattr(seen, name)
                is_open = name == "ctime_ns" and claimed == 0  # changed so lately that it is not relied upon
                same = str(claimed).strip('"') == str(value).strip('"')
                assert is_open or same, f"the journal says of {key} {name} {claimed}, and it is {value}"


def must_be_a_whole_list(path: Path, folder: Path, there: Stand, wanted: Stand) -> bool:
    """A state file can be read at every instant, and calls nothing uploaded that is not; whether it calls all so."""
    if not path.exists():
        return False
    records = json.loads(path.read_bytes())
    uploaded = [str(Path(one["filepath"]).relative_to(folder)) for one in records if one["uploadedSuccess"]]
    for name in uploaded:
        assert name in there, f"the state file says that {name} is uploaded, and it is not there"
        assert there[name].data == wanted[name].data, f"the state file says that {name} is uploaded, and it is another"
    return sorted(uploaded) == sorted(wanted)


def must_be_whole_manifests(here: Path, there: Stand, wanted: Stand) -> bool:
    """A manifest is whole wherever it has its name; whether one of them has all that is wanted in both places."""
    local = {path.name: path.read_bytes() for path in here.glob("*.zst")}
    remote = {name.removeprefix(MANIFESTS): kept.data for name, kept in there.items() if name.startswith(MANIFESTS)}
    has_all = False
    for name, data in [*local.items(), *remote.items()]:
        text = b"".join(blocks([data])).decode()
        keys = [record.get("key") for record in map(json.loads, text.splitlines())]
        has_all |= set(wanted) <= set(keys) and local.get(name) == remote.get(name)
    return has_all
