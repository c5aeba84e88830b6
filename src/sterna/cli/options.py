"""Declare the options that commands share, in groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from sterna.cli.exit_codes import epilog
from sterna.cli.faults import refuse_without_room
from sterna.cli.invocation import Invocation
from sterna.cli.values import (
    ORDER,
    header_text,
    memory_value,
    metadata_pairs,
    part_size_value,
    said_in_order,
    single_part_value,
    size_value,
    speed_value,
    tag_pairs,
)

F = TypeVar("F", bound=Callable[..., Any])

SIDE = "Where the bucket is, and who we are there"
UPLOADED = "What uploaded objects are given"
RUNNING = "How it is done"
CHOOSING = "What is looked at; the rest is invisible on both sides"
COMPARING = "When it counts as there already"
DELETING = "What is deleted at the destination"
EVIDENCE = "What is left as evidence"
BACKING_UP = "What a backup keeps, and how it sends"
SPEAKING = "What is said"
ROLES = ("source", "destination")


class GroupedOption(click.Option):
    """An option that knows the heading of the help text that it belongs under, and whether it is one side's twin."""

    def __init__(self, *names: Any, group: str = "", is_twin: bool = False, **attributes: Any) -> None:
        super().__init__(*names, **attributes)
        self.group = group
        self.is_twin = is_twin


class Verb(click.Command):
    """A command whose help text has its options under headings; twins are told of in one sentence."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        attributes.setdefault("epilog", epilog())
        super().__init__(*arguments, **attributes)

    def make_parser(self, ctx: click.Context) -> Any:
        """Click's own parser, which also notes in which order the options were given: for filters that is a meaning."""
        parser = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_and_note(args: list[str]) -> Any:
            values, rest, order = parse(args)
            ctx.meta[ORDER] = [parameter.name for parameter in order]
            return values, rest, order

        parser.parse_args = parse_and_note  # type: ignore[method-assign]
        return parser

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self, ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        refuse_without_room()
        return super().invoke(ctx)


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The options of a command under their headings; of twins, one sentence."""
    for heading, options in option_groups(command, ctx):
        single = [option for option in options if not is_twin(option)]
        with formatter.section(heading):
            formatter.write_dl([record for option in single if (record := option.get_help_record(ctx))])
            if len(single) < len(options):
                formatter.write_paragraph()
                formatter.write_text(TWINS)


def is_twin(option: click.Option) -> bool:
    """Whether an option is another one for one side alone."""
    return isinstance(option, GroupedOption) and option.is_twin


TWINS = (
    "Each of these also as --source-… and --destination-… (--source-region, --destination-endpoint-url, …), "
    "for that side alone; it wins over the plain one."
)


def option_groups(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, list[click.Option]]]:
    """The options of a command under their headings, in the order of declaration, ``Options`` first."""
    groups: dict[str, list[click.Option]] = {"Options": []}
    for option in command.get_params(ctx):
        if isinstance(option, click.Option) and not option.hidden:
            groups.setdefault(getattr(option, "group", "") or "Options", []).append(option)
    yield from ((heading, options) for heading, options in groups.items() if options)


def verb(short_help: str) -> Callable[[Callable[..., int]], Verb]:
    """Make a command of a function; its long help is the docstring."""
    return click.command(cls=Verb, short_help=short_help, context_settings={"max_content_width": 100})


def side_options(*, twins: bool = False) -> Callable[[F], F]:
    """Where a bucket is and as whom it is reached; with ``twins`` also for each of two sides by itself."""

    def declare(function: F) -> F:
        for names, attributes in reversed(_SIDE_OPTIONS):
            if twins:
                for role in reversed(ROLES):
                    twin = attributes | {"help": f"--{names[2:]}, for the {role} alone."}
                    function = _option(SIDE, f"--{role}-{names[2:]}", is_twin=True, **twin)(function)
            function = _option(SIDE, names, **attributes)(function)
        return function

    return declare


def upload_options(function: F) -> F:
    """What uploaded objects are given beside their bytes."""
    return _declared(UPLOADED, _UPLOAD_OPTIONS, function)


def filter_options(function: F) -> F:
    """Which keys, and which of them by size, time and class."""
    return _declared(CHOOSING, _FILTER_OPTIONS, function)


def comparison_options(function: F) -> F:
    """By what it is decided that the destination has something already."""
    return _declared(COMPARING, _COMPARISON_OPTIONS, function)


def looking_options(function: F) -> F:
    """Of ``run_options``, what concerns a command that reads on both sides and moves nothing."""
    return _declared(RUNNING, tuple(one for one in _RUN_OPTIONS if one[0] in _OF_LOOKING), function)


def deletion_options(function: F) -> F:
    """Whether what the source lacks is deleted, and which guards are overridden."""
    return _declared(DELETING, _DELETION_OPTIONS, function)


def manifest_options(function: F) -> F:
    """Whether an upload leaves a manifest of what it vouches for."""
    return _declared(EVIDENCE, _MANIFEST_OPTIONS, function)


def backup_options(function: F) -> F:
    """What a backup is told beside what an upload is."""
    function = _declared(COMPARING, _PROVING_OPTIONS, function)
    function = _declared(EVIDENCE, _MANIFEST_OPTIONS[1:], function)
    return _declared(BACKING_UP, _BACKUP_OPTIONS, function)


def upload_run_options(function: F) -> F:
    """``run_options`` of a command that only uploads."""
    others = tuple(one for one in _RUN_OPTIONS if one[0] not in ("--no-fsync", "--on-collision"))
    return _declared(RUNNING, (*others, *_ESCAPE_OPTIONS), function)


def repeating_options(function: F) -> F:
    """Of ``run_options``, what a run that is tried again may be told otherwise than then."""
    return _declared(RUNNING, tuple(one for one in _RUN_OPTIONS if one[0] not in _AS_THEN), function)


def run_options(function: F) -> F:
    """How much of the machine a run takes, and how it reads and writes files."""
    return _declared(RUNNING, _RUN_OPTIONS, function)


def sync_options(function: F) -> F:
    """All that a sync takes; so does a command that plans or explains one."""
    for declare in (side_options(twins=True), run_options, upload_options, deletion_options, comparison_options):
        function = declare(function)
    return filter_options(function)


def global_options(function: F) -> F:
    """What every command takes, and ``sterna`` itself before the verb."""
    return _declared(SPEAKING, _GLOBAL_OPTIONS, function)


def _declared(group: str, options: tuple[tuple[Any, dict[str, Any]], ...], function: F) -> F:
    for names, attributes in reversed(options):
        function = _option(group, *(names if isinstance(names, tuple) else (names,)), **attributes)(function)
    return function


def _option(group: str, *names: str, **attributes: Any) -> Callable[[F], F]:
    return click.option(*names, cls=GroupedOption, group=group, **attributes)


def _into_invocation(fill: Callable[[Invocation, Any], None]) -> Callable[..., None]:
    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            fill(ctx.find_root().ensure_object(Invocation), value)

    return callback


def _fill_verbosity(invocation: Invocation, value: int) -> None:
    invocation.verbosity += value
    _refuse_both(invocation)


def _fill_quiet(invocation: Invocation, value: bool) -> None:
    invocation.quiet = True
    _refuse_both(invocation)


def _refuse_both(invocation: Invocation) -> None:
    if invocation.quiet and invocation.verbosity:
        raise click.UsageError("--verbose and --quiet exclude each other; leave one of them off.")


def _fill_json(invocation: Invocation, value: bool) -> None:
    invocation.json = True


def _fill_log_file(invocation: Invocation, value: str) -> None:
    invocation.log_file = value


def _fill_progress(invocation: Invocation, value: bool) -> None:
    invocation.progress = False


_GLOBAL_OPTIONS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (
        "--json",
        {"is_flag": True, "expose_value": False, "callback": _into_invocation(_fill_json)}
        | {"help": "Write JSON lines to standard output instead of words."},
    ),
    (
        "--log-file",
        {"metavar": "FILE", "expose_value": False, "callback": _into_invocation(_fill_log_file)}
        | {"help": "Append a line for each object to FILE."},
    ),
    (
        ("-v", "--verbose"),
        {"count": True, "expose_value": False, "callback": _into_invocation(_fill_verbosity)}
        | {"help": "Name each object as it ends; twice (-vv) also shows where an unexpected error came from."},
    ),
    (
        ("-q", "--quiet"),
        {"is_flag": True, "expose_value": False, "callback": _into_invocation(_fill_quiet)}
        | {"help": "Say nothing unless something is wrong."},
    ),
    (
        "--no-progress",
        {"is_flag": True, "expose_value": False, "callback": _into_invocation(_fill_progress)}
        | {"help": "Show no live display and no lines of progress."},
    ),
)

_SIDE_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "--endpoint-url",
        {"metavar": "URL", "multiple": True, "help": "Server to speak to instead of AWS."},  # a second one is refused
    ),
    ("--region", {"metavar": "NAME", "callback": header_text, "help": "Region to sign for, and of AWS to go to."}),
    ("--profile", {"metavar": "NAME", "help": "Profile of the AWS configuration files to take credentials from."}),
    ("--role-arn", {"metavar": "ARN", "help": "Role to assume."}),
    ("--role-session-name", {"metavar": "NAME", "help": "Name of the session in which the role is assumed."}),
    (
        "--role-duration",
        {"metavar": "SECONDS", "type": int, "help": "How long the role is assumed for before it is renewed."},
    ),
    ("--external-id", {"metavar": "ID", "help": "What the owner of the role asks for beside its name."}),
    (
        "--ca-bundle",
        {"metavar": "PATH", "help": "File or folder of certificates to trust instead of the system's."},
    ),
    ("--no-verify-ssl", {"is_flag": True, "help": "Trust any certificate. Whoever is in between can read and change."}),
    ("--no-sign-request", {"is_flag": True, "help": "Use no credentials: for public buckets."}),
    ("--request-payer", {"is_flag": True, "help": "Pay for the requests to a bucket whose owner does not."}),
    (
        "--expected-bucket-owner",
        {"metavar": "ACCOUNT", "callback": header_text, "help": "Refuse the bucket if another account owns it."},
    ),
    (
        "--addressing-style",
        {"type": click.Choice(["auto", "path", "virtual"])}
        | {"help": "Where the bucket's name stands in a request: auto is path for --endpoint-url, virtual for AWS."},
    ),
    ("--dualstack", {"is_flag": True, "help": "Use AWS's hosts that also speak IPv6."}),
    ("--fips", {"is_flag": True, "help": "Use AWS's hosts with FIPS 140 cryptography."}),
    ("--accelerate", {"is_flag": True, "help": "Use S3 Transfer Acceleration."}),
)

_UPLOAD_OPTIONS: tuple[tuple[Any, dict[str, Any]], ...] = (
    ("--storage-class", {"metavar": "CLASS", "callback": header_text, "help": "For example STANDARD_IA or GLACIER."}),
    (
        "--sse",
        {"type": click.Choice(["AES256", "aws:kms", "aws:kms:dsse"]), "help": "Encryption that the server does."},
    ),
    (
        "--sse-kms-key-id",
        {"metavar": "ID", "callback": header_text, "help": "Key for that; implies --sse aws:kms."},
    ),
    (
        "--acl",
        {"metavar": "NAME", "callback": header_text}
        | {"help": "Canned access list: private, public-read, bucket-owner-full-control, …"},
    ),
    (
        "--metadata",
        {"metavar": "NAME=VALUE", "multiple": True, "callback": metadata_pairs}
        | {"help": "Metadata of one's own. Repeatable."},
    ),
    (
        "--tag",
        {"metavar": "NAME=VALUE", "multiple": True, "callback": tag_pairs, "help": "Tag; ten at most. Repeatable."},
    ),
    ("--cache-control", {"metavar": "TEXT", "callback": header_text, "help": "How long others may keep a copy."}),
    ("--content-type", {"metavar": "TYPE", "callback": header_text, "help": "Type of every object, not guessed."}),
    ("--content-encoding", {"metavar": "TEXT", "callback": header_text, "help": "For example gzip, if they are."}),
    ("--content-disposition", {"metavar": "TEXT", "callback": header_text, "help": "How browsers present it."}),
    ("--no-guess-mime-type", {"is_flag": True, "help": "Do not derive the type from the name."}),
)

_FILTER_OPTIONS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (
        "--exclude",
        {"metavar": "PATTERN", "multiple": True, "callback": said_in_order}
        | {"help": "Leave out keys that match, as with aws s3: * and ? match slashes too. Repeatable; the last wins."},
    ),
    (
        "--include",
        {"metavar": "PATTERN", "multiple": True, "callback": said_in_order}
        | {"help": "Take keys that match after all, though an earlier option leaves them out. Repeatable."},
    ),
    (
        "--filter-from",
        {"metavar": "FILE", "multiple": True, "callback": said_in_order}
        | {"help": "Rules as rclone's, one a line: + PATTERN, - PATTERN; the first that matches decides. Repeatable."},
    ),
    (
        "--files-from",
        {"metavar": "FILE", "multiple": True}
        | {"help": "Take only the keys that FILE lists, a line each or between NULs; - is standard input. Repeatable."},
    ),
    ("--min-size", {"metavar": "SIZE", "callback": size_value, "help": "Leave out what is smaller: 10KiB, 1M, …"}),
    ("--max-size", {"metavar": "SIZE", "callback": size_value, "help": "Leave out what is larger."}),
    (
        "--newer-than",
        {"metavar": "TIME"}
        | {"help": "Leave out what was changed before: 7d or 12h ago, 2026-03-01, 2026-03-01T12:30Z, …"},
    ),
    ("--older-than", {"metavar": "TIME", "help": "Leave out what was changed then or later."}),
    (
        "--storage-class-is",
        {"metavar": "CLASS", "multiple": True, "help": "Take only objects of this class. Repeatable."},
    ),
)

_COMPARISON_OPTIONS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (
        "--compare",
        {"type": click.Choice(["auto", "size", "mtime", "checksum", "exists"])}
        | {
            "help": "By what: auto (size and time, as the listings tell them), size, mtime (the time that objects keep), "
            "checksum (the content), exists (nothing is written over). (auto)"
        },
    ),
)

_PROVING_OPTIONS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (
        "--compare",
        {"type": click.Choice(["auto", "checksum"])}
        | {
            "help": "By what: auto (what an earlier run has proved and both sides still are, else the content), checksum "
            "(the content of everything, each time). (auto)"
        },
    ),
)

_DELETION_OPTIONS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (
        "--delete",
        {"is_flag": True}
        | {
            "help": "Delete what the source lacks, last, when all else has arrived; nothing moves before all is listed."
        },
    ),
    (
        "--max-delete",
        {"metavar": "N|N%|none"}
        | {"help": "Delete nothing where more would go. (100, or a tenth of the destination, whichever is more.)"},
    ),
    (
        "--trash",
        {"metavar": "PREFIX|DIR"}
        | {"help": "Move there what would be deleted or written over: a prefix of the bucket, a folder of that disk."},
    ),
    ("--allow-empty-source", {"is_flag": True, "help": "Delete also where the source is empty."}),
    (
        "--allow-shrunken-source",
        {"is_flag": True, "help": "Delete also where the source has less than half of what it had."},
    ),
    ("--allow-swapped", {"is_flag": True, "help": "Delete also where the two look as if they were swapped."}),
    ("--allow-overlap", {"is_flag": True, "help": "Delete also where one of the two is inside the other."}),
    (
        "--allow-whole-machine",
        {"is_flag": True, "help": "Delete also where the destination is a root or a home folder."},
    ),
    (
        "--allow-other-file-system",
        {"is_flag": True, "help": "Delete also where another file system is under the same path than before."},
    ),
    (
        "--allow-changed-filters",
        {"is_flag": True, "help": "Delete also where the filters are others than at the last run that deleted."},
    ),
    (
        "--allow-lost-journal",
        {
            "is_flag": True,
            "help": "Delete also where the journal was damaged, so that nothing is known of earlier runs.",
        },
    ),
)

_MANIFEST_OPTIONS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (
        "--manifest",
        {"is_flag": True}
        | {
            "help": "Uploads: write a manifest of all that is at the destination, by which anybody can prove it later; "
            "beside the data, and here."
        },
    ),
    (
        "--manifest-file",
        {"metavar": "FILE", "help": "Where it is written here. (manifests/ in the state folder)"},
    ),
    ("--sha256", {"is_flag": True, "help": "With the SHA-256 of each file in the manifest."}),
)

_BACKUP_OPTIONS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (
        "--state-file",
        {"metavar": "FILE"}
        | {
            "help": "Keep a JSON list of all files in FILE, each with uploadedSuccess 1 or 0, true while the run goes on."
        },
    ),
    (
        ("--retry-failed", "--crashrun"),
        {"is_flag": True}
        | {
            "help": "Look only at what the last backup did not do: by the state file, where one is given, else by the "
            "journal."
        },
    ),
    (
        "--md5",
        {
            "is_flag": True,
            "help": "Send files in one part, up to --single-part-max, with an MD5 that the server checks.",
        },
    ),
    (
        "--single-part-max",
        {"metavar": "SIZE", "callback": single_part_value, "help": "For --md5; larger files go in parts. (1GiB)"},
    ),
    ("--no-manifest", {"is_flag": True, "help": "Leave no manifest at the end."}),
)

_ESCAPE_OPTIONS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (
        "--on-collision",
        {"type": click.Choice(["escape"])}
        | {"help": "Give objects the names that a download with escape had to write otherwise in this folder."},
    ),
)

_AS_THEN = ("--symlinks", "--on-collision", "--one-file-system", "--no-fsync", "--no-journal")

_OF_LOOKING = ("--sse-c-key-file", "--workers", "--max-memory", "--symlinks", "--on-collision")

_RUN_OPTIONS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (
        "--sse-c-key-file",
        {"metavar": "FILE"}
        | {"help": "Key of one's own (SSE-C) to write and read objects with: 32 bytes, or the same in base64."},
    ),
    ("--no-fsync", {"is_flag": True, "help": "Downloads: leave it to the system when files reach the disk."}),
    (
        "--workers",
        {"metavar": "N", "type": click.IntRange(1, 10_000)}
        | {"help": "Requests in flight at most (256); it starts with fewer and takes more while they help."},
    ),
    (
        "--processes",
        {"metavar": "N", "type": click.IntRange(1, 64)}
        | {"help": "How many processes may carry at once. (As many as there are processors, up to 4, if they help.)"},
    ),
    (
        "--max-memory",
        {"metavar": "SIZE", "callback": memory_value, "help": "All buffers together at most (384MiB)."},
    ),
    (
        "--bwlimit",
        {"metavar": "RATE", "callback": speed_value}
        | {
            "help": "Bytes of objects a second at most: 10MiB, UP:DOWN (1MiB:off), or by the time of day "
            '("08:00,512KiB 19:00,10MiB Sat-00:00,off"). (off)'
        },
    ),
    (
        "--max-requests-per-second",
        {"metavar": "N", "type": click.IntRange(1, 1_000_000), "help": "Requests begun in a second at most."},
    ),
    (
        "--control",
        {"metavar": "FILE"}
        | {
            "help": "File that is read while the run goes on, whenever it changes: bwlimit, max-requests-per-second, "
            "workers, max-memory as NAME = VALUE."
        },
    ),
    (
        "--state-dir",
        {"metavar": "FOLDER"}
        | {"help": "Where the journals are: what earlier runs saw. (STERNA_STATE_DIR, or the user's own state folder)"},
    ),
    (
        "--no-journal",
        {"is_flag": True, "help": "Know nothing of earlier runs, and leave nothing to later ones; lock nothing."},
    ),
    (
        "--part-size",
        {"metavar": "SIZE", "callback": part_size_value}
        | {"help": "Size of the parts of large objects; larger where 10,000 would not do. (By the object's size.)"},
    ),
    (
        "--symlinks",
        {"type": click.Choice(["skip", "follow", "store"])}
        | {
            "help": "Symbolic links: skip them, follow them (uploads), or store them as what they are; with store, "
            "downloads make them again. (skip)"
        },
    ),
    (
        "--one-file-system",
        {"is_flag": True, "help": "Uploads: leave out by name what is mounted below the folder."},
    ),
    (
        "--on-collision",
        {"type": click.Choice(["fail", "skip", "escape"])}
        | {
            "help": "Downloads: refuse keys that the folder cannot hold, alone or beside each other (fail), leave them "
            "out, or write them under other names, which uploads and verify with escape turn back. (fail)"
        },
    ),
)
