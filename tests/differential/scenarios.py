"""All that is synced by both tools."""

from __future__ import annotations

from tests.differential.copies import COPIES
from tests.differential.downloads import DOWNLOADS
from tests.differential.uploads import UPLOADS

SCENARIOS = (*UPLOADS, *DOWNLOADS, *COPIES)
