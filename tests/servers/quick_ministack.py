"""Run ministack with its CRC-32C and CRC-64/NVME in C: its own, in Python, take a second for 4 MB.

They are another library's, so before anything is served they must say of some bodies what ministack's own say.
"""

from __future__ import annotations

import sys

from awscrt import checksums
from ministack.app import main
from ministack.services import s3


def put_in_place() -> None:
    for name, quick in (("_crc32c", checksums.crc32c), ("_crc64nvme", checksums.crc64nvme)):
        own = getattr(s3, name)
        for body in (b"", b"\0", b"123456789", bytes(range(256)) * 5):
            if own(body) != quick(body):
                raise SystemExit(f"{name} of {body[:9]!r}…: ministack says {own(body)}, and awscrt {quick(body)}")
        setattr(s3, name, quick)


if __name__ == "__main__":
    put_in_place()
    sys.argv[0] = "ministack"
    main()
