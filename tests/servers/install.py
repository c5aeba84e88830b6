"""Turn `python -m tests.servers.install ceph|versitygw` into an installed server; at once where it is there already."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers import ceph, versitygw
from tests.servers.server import CannotBeHad


def install_ceph() -> str:
    try:
        ceph.require()
    except CannotBeHad:
        pass
    else:
        return f"ceph {ceph.release()} is there"
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise CannotBeHad(f"ceph needs Debian or Ubuntu and root: apt-get install {' '.join(ceph.PACKAGES)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [
        *("apt-get", "install", "-y", "-qq", "--no-install-recommends"),
        *("-o", "DPkg::Lock::Timeout=300", *ceph.PACKAGES),
    ]
    if subprocess.run(install, env=env, stdin=subprocess.DEVNULL).returncode:
        subprocess.run(["apt-get", "update", "-qq"], env=env, stdin=subprocess.DEVNULL, check=True)
        subprocess.run(install, env=env, stdin=subprocess.DEVNULL, check=True)
    ceph.require()
    return f"ceph {ceph.release()} installed"


def install_versitygw() -> str:
    target = versitygw.cached_program()
    if target.exists():
        return f"versitygw is there: {target}"
    go = shutil.which("go")
    if go is None:
        if found := shutil.which("versitygw"):
            return f"versitygw is there: {found}"
        raise CannotBeHad("versitygw is built with Go 1.25 or newer, and there is no `go` here: https://go.dev/dl")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Built aside and moved into place: a build that is cut short leaves nothing that looks finished.
    with tempfile.TemporaryDirectory(dir=target.parent) as aside:
        module = f"github.com/versity/versitygw/cmd/versitygw@{versitygw.VERSION}"
        subprocess.run(
            [go, "install", module], env={**os.environ, "GOBIN": aside}, stdin=subprocess.DEVNULL, check=True
        )
        Path(aside, "versitygw").replace(target)
    return f"versitygw {versitygw.VERSION} built: {target}"


_INSTALLERS = {"ceph": install_ceph, "versitygw": install_versitygw}


def main(names: list[str]) -> int:
    if not names or any(name not in _INSTALLERS for name in names):
        print(f"usage: python -m tests.servers.install {'|'.join(_INSTALLERS)} ...", file=sys.stderr)
        return 2
    for name in names:
        try:
            print(_INSTALLERS[name]())
        except (CannotBeHad, subprocess.CalledProcessError) as cannot:
            print(f"{name}: {cannot}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
