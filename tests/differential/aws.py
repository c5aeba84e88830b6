"""Turn pinned packages into the `aws` command, in an environment of its own, and run it beside ours."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers.process import plain_environment
from tests.servers.server import CannotBeHad, Server

PINS = Path(__file__).with_name("aws.txt")
_BUILD = Path(__file__).resolve().parent.parent.parent / ".build"
# One request at a time: where two keys exclude each other, which of them wins is then the same each time.
_IN_ORDER = "[default]\ns3 =\n  max_concurrent_requests = 1\n"


def _environment() -> Path:
    """Where it is installed: another place for other pins and for another Python."""
    digest = hashlib.sha256(PINS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    return _BUILD / f"aws-{digest}"


def program() -> Path:
    """The installed command. Raises CannotBeHad where nobody has installed it."""
    if not (_environment() / "ready").exists():
        raise CannotBeHad("aws-cli is not installed: make differential installs it")
    return _environment() / "bin" / "aws"


def install() -> Path:
    """Install it, at once where it is there. Raises CannotBeHad with what pip says where it cannot."""
    place = _environment()
    if not (place / "ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        pip = (place / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
        only = ("--retries=2", "--require-hashes", "--only-binary=:all:", "--requirement", PINS)
        done = subprocess.run((*pip, *only), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            shutil.rmtree(place, ignore_errors=True)
            if "HASHES" in done.stderr:  # that is no missing network
                raise RuntimeError(done.stderr)
            said = [line for line in done.stderr.splitlines() if line.strip()] or ["nothing"]
            raise CannotBeHad(f"it could not be installed, pip says: {said[-1].strip()}")
        (place / "ready").touch()
    return program()


class Aws:
    """``aws s3 sync``, with a home of its own and the server's address and keys in its environment."""

    def __init__(self, home: Path, server: Server) -> None:
        self._program = program()
        home.mkdir()
        (home / "config").write_text(_IN_ORDER)
        own = {"AWS_CONFIG_FILE": str(home / "config"), "NO_PROXY": "*"}
        if not server.facts.checks_checksums:  # such a server takes the frames of a checksum for a part of the body
            own["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
        self._environment = plain_environment(home, **own, **server.environment)

    def sync(self, source: str | Path, target: str | Path, *options: str) -> tuple[int, str]:
        """Run it to its end; gives its exit code and what it said."""
        command = [self._program, "s3", "sync", "--no-progress", source, target, *options]
        done = subprocess.run(
            command, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=100
        )
        return done.returncode, (done.stdout + done.stderr).decode(errors="backslashreplace")


if __name__ == "__main__":
    try:
        print(f"aws-cli is there: {os.path.relpath(install())}")
    except CannotBeHad as cannot:
        print(f"SKIPPED aws-cli: {cannot}")
        sys.exit(os.EX_TEMPFAIL)  # 75, which make knows
