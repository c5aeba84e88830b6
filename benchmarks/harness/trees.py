"""Turn a number and a size of files into a folder of real random content, made once and kept."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

FILES_A_FOLDER = 200
LONG_AGO_NS = 1_735_689_600 * 10**9  # 2025-01-01: older than anything a server says, so no tool sees a newer file


@dataclass(frozen=True)
class Tree:
    """So many files of one size, 200 to a folder."""

    files: int
    size: int

    @property
    def total(self) -> int:
        return self.files * self.size

    def names(self) -> list[str]:
        return [f"dir-{i // FILES_A_FOLDER:05d}/file-{i:07d}.bin" for i in range(self.files)]

    def synthetic_keys(self) -> list[str]:
        """The keys of the null server's `layout=tree`, in its own spelling."""
        return [f"dir-{i // 200:06d}/obj-{i:09d}.bin" for i in range(self.files)]


def made(cache: Path, tree: Tree) -> Path:
    """The folder, made if it is not there whole."""
    folder = cache / "trees" / f"{tree.files}x{tree.size}"
    ready = folder.with_name(folder.name + ".ready")
    if ready.exists():
        return folder
    print(f"bench: making {tree.files} files of {tree.size} bytes …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    block = os.urandom(8 << 20)
    parent = ""
    for i, name in enumerate(tree.names()):
        if os.path.dirname(name) != parent:
            parent = os.path.dirname(name)
            (folder / parent).mkdir()
        with open(folder / name, "wb", buffering=0) as file:
            left = tree.size
            at = i * 7919 % (4 << 20)  # another stretch of the block for each file
            while left:
                piece = block[at : at + left]
                file.write(piece)
                left -= len(piece)
                at = (left * 31 + i) % 4096
        os.utime(folder / name, ns=(LONG_AGO_NS, LONG_AGO_NS))
    os.sync()
    ready.touch()
    return folder
