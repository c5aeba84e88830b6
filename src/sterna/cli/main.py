"""Turn the arguments of the command line into a command, and whatever comes of it into an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from sterna.cli.exit_codes import ExitCode, epilog
from sterna.cli.faults import is_interrupt, known_error, sentence_and_code
from sterna.cli.invocation import Invocation
from sterna.cli.jobs import Jobs
from sterna.cli.options import global_options, write_options
from sterna.cli.slips import option_sentence, verb_hint
from sterna.cli.speech import complain, never_stumble, silence_output
from sterna.model.descriptors import take_what_is_allowed
from sterna.model.units import printable

# In the order of the help text: each is ``command`` in ``cmd_<verb>``, imported when it is asked for.
VERBS = ("sync", "copy", "backup", "restore", "retry", "plan", "plan show", "apply", "verify", "why", "runs",
         "runs show", "ls", "du", "rm", "uploads", "mb", "check", "demo")  # fmt: skip


class Verbs(click.Group):
    """Commands that are imported one at a time, so that each start pays for one."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        write_options(self, ctx, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = import_module(f"sterna.cli.cmd_{cmd_name.replace(' ', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"No such command {args[0]!a}.{verb_hint(args[0], VERBS)}", ctx)
        if (two := " ".join(args[:2])) in VERBS and len(args) > 1:  # a verb of two words, ``plan show``
            return two, self.get_command(ctx, two), args[2:]
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from sterna import __version__

        click.echo(f"sterna {__version__}")
        ctx.exit()


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    subcommand_metavar="VERB …",
    context_settings={"max_content_width": 100},
    epilog=epilog(),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Say which version this is.",
)
@global_options
@click.pass_context
def sterna(ctx: click.Context) -> int:
    """Move files between folders and S3 buckets, and prove that they arrived.

    The options below are taken before the verb and after it. Credentials come from the environment, from the profiles
    of the AWS tools, or from the machine; never from the command line.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return ExitCode.USAGE
    return ExitCode.DONE


def _fill_standard_descriptors() -> None:
    """Open what was closed of standard input, output and error: else the next file or socket takes its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one


def main(arguments: Sequence[str] | None = None, jobs: Jobs | None = None) -> int:
    """Run the command and give its exit code. It never raises, and tells of an error in one sentence.

    ``jobs`` is what the commands start; tests pass their own.
    """
    _fill_standard_descriptors()
    take_what_is_allowed()
    never_stumble()
    invocation = Invocation(jobs)
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments), invocation)
    except BrokenPipeError:
        silence_output()
        code = ExitCode.SOME_FAILED
    except BaseException as error:
        code = _tell_of(error, invocation)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        silence_output()
    except (OSError, ValueError) as error:
        silence_output()
        complain(f"Standard output is not complete: {getattr(error, 'strerror', None) or error}.")
        code = code or ExitCode.SOME_FAILED
    return int(code)


def _run(arguments: list[str], invocation: Invocation) -> int:
    try:
        code: Any = sterna.main(arguments, prog_name="sterna", standalone_mode=False, obj=invocation)
    except click.UsageError as error:
        complain(_usage_sentence(error))
        return ExitCode.USAGE
    except click.ClickException as error:
        complain(" ".join(error.format_message().split()))
        return error.exit_code
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except SystemExit as end:  # shell completion ends so
        code = end.code
    return code if isinstance(code, int) else ExitCode.DONE


def _usage_sentence(error: click.UsageError) -> str:
    told = option_sentence(error) if isinstance(error, click.NoSuchOption) else error.format_message()
    words = " ".join(told.split())
    if words and words[-1] not in ".?!)":
        words += "."
    path = error.ctx.command_path if error.ctx is not None else "sterna"
    return f"{words} See {path} --help."


def _tell_of(error: BaseException, invocation: Invocation) -> int:
    sentence, code = sentence_and_code(error)
    complain(sentence)
    if invocation.is_debugging and not is_interrupt(error):
        from sterna.cli.speech import tell
        from sterna.reporting.scrub import scrub

        for line in scrub(_details(error)).splitlines():
            tell(line)
    return int(code)


def _details(error: BaseException) -> str:
    """Of an error of ours, what the server said beside the sentence; of a surprise, where it came from."""
    known = known_error(error)
    if known is not None:
        return "\n".join(f"  {name}: {printable(str(value))}" for name, value in known.facts().items())
    from traceback import format_exception

    return "".join(format_exception(error))


if __name__ == "__main__":
    sys.exit(main())
