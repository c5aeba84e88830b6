"""Fork a process with everything imported for each run of the command that is asked for: a program, not a module to use.

Orders come in as lines of JSON; each is answered by the number of the process that carries it out, at once, and by its
status as ``os.waitpid`` gives it, once it has ended. There are no threads here, so that forks are sound.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from importlib import import_module
from typing import Any

import msgspec

import sterna
from tests.crash import hooks
from tests.crash.orders import Order

_SKIPPED = ("sterna.__main__", "sterna.cli.reference")


def import_everything() -> None:
    """All of ours, and what is imported where it is first used."""
    for module in pkgutil.walk_packages(sterna.__path__, "sterna."):
        if module.name not in _SKIPPED:
            import_module(module.name)
    for name in ("uvloop", "botocore.session", "botocore.credentials", "concurrent.futures.thread", "encodings.idna"):
        import_module(name)


def serve(orders: Any, answers: int) -> None:
    decoder = msgspec.json.Decoder(Order)
    for line in orders:
        order = decoder.decode(line)
        pid = os.fork()
        if pid == 0:
            orders.close()
            os.close(answers)
            _carry_out(order)
        os.write(answers, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(answers, b"%d\n" % status)


def _carry_out(order: Order) -> None:
    """Be the command, from here to its end."""
    status = 70
    try:
        for number, path, flags in (
            (0, order.stdin, os.O_RDONLY),
            (1, f"{order.beside}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (2, f"{order.beside}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ):
            fd = os.open(path, flags, 0o600)
            os.dup2(fd, number)
            os.close(fd)
        trace = os.open(f"{order.beside}.trace", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.environ.clear()
        os.environ.update(order.env)
        os.chdir(order.root)
        jobs = _jobs(order)
        hooks.install(order, trace, sys.addaudithook)
        from sterna.cli.main import main

        status = main(order.args, jobs)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _jobs(order: Order) -> Any:
    from msgspec.structs import replace

    from sterna.cli.jobs import Jobs

    if order.copy_threshold is None:
        return Jobs()
    threshold = order.copy_threshold

    class InParts(Jobs):
        async def sync(self, source: Any, destination: Any, settings: Any, **others: Any) -> Any:
            limits = replace(settings.limits, copy_threshold=threshold)
            return await super().sync(source, destination, replace(settings, limits=limits), **others)

    return InParts()


if __name__ == "__main__":
    orders, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    import_everything()
    serve(orders, answers)
