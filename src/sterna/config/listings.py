"""Find out whether the listings of a bucket can be trusted: their order, their names and their pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from xml.etree.ElementTree import Element

from sterna.config.finding import Finding
from sterna.config.probes import Probes
from sterna.model.units import printable
from sterna.wire.encoding import decode_key
from sterna.wire.xml import parse_document

# Neighbours whose order tells apart: UTF-8 bytes, UTF-16 units (emoji before U+FFFD), locales (A beside a), file
# trees (a- and a. inside or after a/). In the right order here.
_ORDERED = ("A", "a", "a-", "a.", "a/b", "aa", "x y+z%2B", "é", "\ufffd", "\U0001f600")


async def order(probes: Probes) -> AsyncIterator[Finding]:
    """Order, encoding and pages of a listing of names that are chosen to differ."""
    if not (probes.may.get("put") and probes.may.get("list")):
        return
    names = [name for name in _ORDERED if await probes.is_put(f"/{name}")]
    prefix = f"{probes.base}/"
    query = [("list-type", "2"), ("prefix", prefix), ("encoding-type", "url")]
    response = await probes.ask("List", "GET", query=query)
    answer = parse_document(response.body, "ListBucketResult", "List")
    is_encoded = answer.findtext("EncodingType") == "url"
    seen = [name.removeprefix(prefix) for name in _keys(answer)]
    missing = [name for name in names if name not in seen]
    refused = [name for name in _ORDERED if name not in names]
    if seen != sorted(seen):
        words = f"not that of UTF-8 bytes: {' '.join(printable(name) for name in seen)}."
        advice = "Syncs sort what comes, so they begin later and may need room on disk; rm --recursive refuses."
        yield Finding("listing order", None, words, advice)
    else:
        yield Finding("listing order", True, "that of UTF-8 bytes, as it must be.")
    if is_encoded:
        yield Finding("listing encoding", True, "encoding-type=url is obeyed: every key can be listed.")
    else:
        words = "encoding-type=url is ignored: keys with control characters cannot be listed, or as others."
        yield Finding("listing encoding", None, words, "Rename such objects, if there are any.")
    if refused or missing:
        words = "; ".join(
            f"{what}: {' '.join(printable(name) for name in some)}"
            for what, some in (
                ("refused beside the others", refused),
                ("stored and not listed under their names", missing),
            )
            if some
        )
        advice = "This server keeps keys as paths of files; `sterna sync` names what does not fit."
        yield Finding("odd keys", None, f"{words}.", advice)
    else:
        yield Finding("odd keys", True, f"all {len(names)} that were tried are stored and listed as written.")
    yield await _pages(probes, query, seen)


async def _pages(probes: Probes, query: list[tuple[str, str]], whole: list[str]) -> Finding:
    """Whether pages of two keys add up to the listing, and their counts are true."""
    prefix, token, counts_right = f"{probes.base}/", "", True
    together: list[str] = []
    for _ in range(len(whole) + 2):
        more = [("continuation-token", token)] if token else []
        response = await probes.ask("List", "GET", query=[*query, ("max-keys", "2"), *more])
        answer = parse_document(response.body, "ListBucketResult", "List")
        keys = [key.removeprefix(prefix) for key in _keys(answer)]
        together += keys
        counts_right = counts_right and answer.findtext("KeyCount") in (None, str(len(keys)))
        token = answer.findtext("NextContinuationToken") or ""
        if (answer.findtext("IsTruncated") or "").strip().lower() != "true":
            break
        if not token:
            words = "A page says that more follows, and not where: listings of more than a page cannot be trusted."
            return Finding("listing pages", False, words, "Do not use this server with more than 1,000 objects.")
    if together != whole:
        lost = sorted(set(whole) - set(together))
        words = f"Pages of two keys give {len(together)} keys, where the whole listing has {len(whole)}"
        words += f"; missing: {' '.join(printable(name) for name in lost)}." if lost else "."
        return Finding(
            "listing pages", False, words, "Syncs of more than 1,000 objects would miss some; update the server."
        )
    counts = "" if counts_right else " KeyCount is not always that of the keys shown."
    return Finding("listing pages", True, f"add up to the whole.{counts}")


def _keys(answer: Element) -> list[str]:
    encoded = answer.findtext("EncodingType") == "url"
    keys = [node.findtext("Key") or "" for node in answer.findall("Contents")]
    return [decode_key(key) for key in keys] if encoded else keys
