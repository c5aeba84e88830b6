"""Start a Ceph object gateway: one monitor, one OSD that keeps everything in memory, and radosgw in front of them.

A fresh cluster at each start, in about 12 s. It checks signatures, payload hashes and clocks, and takes every key.
Debian 12's release, 16.2, is our old server: it knows no x-amz-checksum-*.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid
from pathlib import Path

from tests.servers.process import Child, Folder, free_ports, plain_environment, run_to_the_end
from tests.servers.running import Running
from tests.servers.server import ACCESS_KEY, SECRET_KEY, CannotBeHad, Facts, Server

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-common")
PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "ceph-authtool", "monmaptool")
_GATEWAY, _MONITOR, _DAEMONS, _PORTS = 0, 1, 3, 40  # offsets in one block of free ports

# The object gateway wants `secure` towards the monitors by default, which cannot be had without authentication; and
# without tcp_nodelay each small answer waits 40 ms for the client's ACK.
_CONF = """
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{monitor},v1:127.0.0.1:{monitor_v1}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_port_min = {daemons}
ms_bind_port_max = {last}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
pid_file =
keyring = {folder}/keyring
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 2000

[mon]
mon_data = {folder}/mon
mon_data_avail_crit = 1
mon_data_avail_warn = 2

[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 6442450944
osd_max_object_name_len = 2048

[client]
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{gateway} tcp_nodelay=1
rgw_crypt_require_ssl = false
rgw_thread_pool_size = 64
rgw_enable_usage_log = false
"""


def facts_of(release: int) -> Facts:
    knows_checksums = release >= 20
    return Facts(
        checks_checksums=knows_checksums,
        echoes_checksums=knows_checksums,
        returns_checksums=knows_checksums,
        combines_crc64nvme=False,
        completes_with_etag=knows_checksums,
        encodes_versions=False,  # control characters are written as references that XML does not know
    )


def release() -> int:
    """The main number of the installed release: 16 is Pacific, 20 Tentacle."""
    said = subprocess.run(["radosgw", "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    found = re.search(r"version (\d+)\.", said)
    return int(found[1]) if found else 0


def require() -> None:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise CannotBeHad(
            f"ceph is not installed (no {', '.join(missing)}): python -m tests.servers.install ceph"
            " (Debian or Ubuntu, as root)"
        )


def start() -> Running:
    require()
    folder, first, fsid = Folder("ceph"), free_ports(_PORTS), str(uuid.uuid4())
    children: list[Child] = []
    try:
        _start(folder.path, first, fsid, children)
    except BaseException:
        for child in reversed(children):
            child.stop()
        folder.remove()
        raise
    server = Server("ceph", f"http://127.0.0.1:{first + _GATEWAY}", facts=facts_of(release()))
    return Running(server, reversed(children), folder)


def _start(folder: Path, first: int, fsid: str, children: list[Child]) -> None:
    monitor, monitor_v1 = first + _MONITOR, first + _MONITOR + 1
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    conf, keyring, monmap = folder / "ceph.conf", folder / "keyring", folder / "monmap"
    conf.write_text(
        _CONF.format(
            fsid=fsid,
            folder=folder,
            monitor=monitor,
            monitor_v1=monitor_v1,
            daemons=first + _DAEMONS,
            last=first + _PORTS - 1,
            gateway=first + _GATEWAY,
        )
    )
    env = plain_environment(folder, CEPH_CONF=str(conf))

    def do(*words: str | Path, timeout_s: float = 60) -> str:
        return run_to_the_end(words, env=env, timeout_s=timeout_s)

    def leave_running(*words: str | Path) -> Child:
        # Memory is all they keep: nothing is gained by letting them end in their own time.
        child = Child(words, log=folder / f"{words[0]}.out", env=env, grace_s=0.2)
        children.append(child)
        return child

    do("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    addresses = f"[v2:127.0.0.1:{monitor},v1:127.0.0.1:{monitor_v1}]"
    do("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, monmap)
    do("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
    leave_running("ceph-mon", "-f", "-i", "a")
    osd = str(uuid.uuid4())
    do("ceph", "--connect-timeout", "60", "osd", "new", osd, timeout_s=90)
    do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
    leave_running("ceph-osd", "-f", "-i", "0")
    do(
        *("radosgw-admin", "user", "create", "--uid", "test", "--display-name", "test"),
        *("--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY),
        timeout_s=120,
    )
    leave_running("radosgw", "-f", "-n", "client.rgw").wait_until_it_answers(first + _GATEWAY, 120)
