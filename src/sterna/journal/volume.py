"""Tell whether a file system is this machine's own, where SQLite may share memory between processes."""

from __future__ import annotations

import sys
from pathlib import Path

# statfs(2), and linux/magic.h. FUSE may be anything, sshfs too; 9p and virtual machines' folders belong to a host.
_NETWORK = {
    0x00006969: "nfs",
    0x0000517B: "smb",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x65735546: "fuse",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x5346414F: "afs",
    0x6B414653: "kafs",
    0x73757245: "coda",
    0x0000564C: "ncp",
    0x0BD00BD0: "lustre",
    0x47504653: "gpfs",
    0x7461636F: "ocfs2",
    0x01161970: "gfs2",
    0xAAD7AAEA: "panfs",
    0x19830326: "beegfs",
    0x786F4256: "vboxsf",
    0xBACBACBC: "vmhgfs",
}


def network_file_system(path: Path) -> str:
    """The kind of network file system that a path lies on, or would be made on; empty for a local one.

    Elsewhere than on Linux nobody is asked, and the answer is ``unknown``: what is right for a network is right, if
    slower, for a disk. (WAL needs memory that all processes share, and two machines share none:
    https://sqlite.org/wal.html; a test file there does not show it.)
    """
    if not sys.platform.startswith("linux"):
        return "unknown"
    while not path.exists() and path != path.parent:
        path = path.parent
    magic = _magic(path)
    return "unknown" if magic is None else _NETWORK.get(magic, "")


def is_shared(path: Path) -> bool:
    """Whether other machines may use the same directory; where nobody tells, it is taken for this one's own."""
    return network_file_system(path) not in ("", "unknown")


def _magic(path: Path) -> int | None:
    import ctypes  # os.statvfs does not tell the type

    class Status(ctypes.Structure):  # f_type comes first, as a long; the rest of the 120 bytes is of no interest
        _fields_ = (("f_type", ctypes.c_long), ("rest", ctypes.c_char * 504))

    status = Status()
    try:
        statfs = ctypes.CDLL(None, use_errno=True).statfs
    except (OSError, AttributeError):
        return None
    statfs.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
    if statfs(str(path).encode("utf-8", "surrogateescape"), ctypes.byref(status)) != 0:
        return None
    return int(status.f_type) & 0xFFFFFFFF
