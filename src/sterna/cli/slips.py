"""Say what to write instead of a command or an option that does not exist."""

from __future__ import annotations

from collections.abc import Sequence

import click

_CLOSE = 0.8  # of 1: a letter too many, too few or swapped; below it stand words that only share some letters

# What others call a command: aws s3 cp, s5cmd, rsync, mc.
_OTHER_VERBS = {
    "cp": "copy",
    "list": "ls",
    "delete": "rm",
    "remove": "rm",
    "mirror": "sync",
    "upload": "copy",
    "put": "copy",
    "cmp": "verify",
    "diff": "verify",
    "explain": "why",
}

# What others call an option.
_OTHER_OPTIONS = (
    dict.fromkeys(("--concurrency", "--jobs", "--numworkers", "--parallel", "--threads", "--transfers"), "--workers")
    | {"--endpoint": "--endpoint-url", "--chunk-size": "--part-size", "--multipart-chunk-size-mb": "--part-size"}
    | dict.fromkeys(("--bandwidth-limit", "--limit-rate", "--max-bandwidth", "--throttle"), "--bwlimit")
    | {"--tpslimit": "--max-requests-per-second"}
)

# Options that people look for, since other tools have them, and what is the case here.
_ABSENT = (
    (
        ("--delete-after", "--delete-before", "--delete-during", "--delete-excluded", "--remove"),
        "here: sync --delete deletes what the source lacks, last; what filters leave out is never deleted",
    ),
    (
        ("--checksum", "--exact-timestamps", "--ignore-existing", "--ignore-times", "--size-only", "--update"),
        "here: --compare says by what it is decided: auto, size, mtime, checksum or exists",
    ),
    (("--continue", "--partial", "--resume"), "and no need: the same command goes on where the last one ended"),
    (("--recursive",), "and no need: of a folder or a prefix, all that is below is taken"),
    (("--watch",), "yet: give the command again, from cron for example"),
    (("--summarize",), "here: sterna du counts objects and bytes"),
)


def verb_hint(word: str, verbs: Sequence[str]) -> str:
    """`` Did you mean copy?``, or nothing."""
    from difflib import get_close_matches

    close = [_OTHER_VERBS[word]] if word in _OTHER_VERBS else get_close_matches(word, verbs, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def option_sentence(error: click.NoSuchOption) -> str:
    """What is the case with an option that a command does not have; another one is named only where it is close."""
    from difflib import get_close_matches

    name = error.option_name
    ours = [option for parameter in error.ctx.command.params for option in parameter.opts] if error.ctx else []
    other = _OTHER_OPTIONS.get(name, "")
    close = [other] if other in ours else get_close_matches(name, ours, n=1, cutoff=_CLOSE)
    if close:
        return f"No such option {name}. Did you mean {close[0]}?"
    for names, what_is in _ABSENT:
        if name in names:
            return f"There is no {name} {what_is}."
    if error.ctx is not None and error.ctx.info_name == "apply":
        from sterna.cli.cmd_plan import command

        if any(name in parameter.opts for parameter in command.params):
            return f"There is no {name} for apply: that is settled by the plan; make another with sterna plan."
    return f"No such option {name}."
