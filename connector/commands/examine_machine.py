"""What `doctor` looks at on the machine itself: the disk, and whether the data folder outlives a restart."""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from connector.commands.answers import in_bytes
from connector.commands.findings import Finding, fail, ok, warn

FSYNC_TRIES = 5
SLOW_FSYNC_SECONDS = 0.05  # at twenty commits a second a burst begins to queue
HOPELESS_FSYNC_SECONDS = 1.0  # Customer.io waits 4 s for its answer, and storing may take 3 of them
COMFORT = 4  # times the reserve: below it, it is time to look for space
CONTAINER_SIGNS = ("/.dockerenv", "/run/.containerenv")
CONTAINER_WORDS = ("docker", "kubepods", "containerd", "libpod", "lxc")
VOLATILE = ("overlay", "tmpfs", "ramfs", "aufs", "rootfs")
OVER_A_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.s3fs", "glusterfs", "ceph")


def examine_disk(folder: Path, reserve_bytes: int) -> list[Finding]:
    """Is there room, may we write, and how long does it take until what is written is safe?"""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        seconds = fsync_seconds(folder)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        reason = f"{folder} cannot be written: {error.strerror}"
        return [fail("disk", reason, "give the service's user the right to write there, or name another folder")]
    return [_room(folder, free, reserve_bytes), _speed(seconds)]


def _room(folder: Path, free: int, reserve_bytes: int) -> Finding:
    text = f"{in_bytes(free)} free at {folder}, the reserve is {in_bytes(reserve_bytes)}"
    if free <= reserve_bytes:
        return fail("disk", f"{text}: every event is answered 503", "free some space; nothing else has to be done")
    if free < COMFORT * reserve_bytes:
        return warn("disk", text, "free some space, or set a limit: retention in connector.yaml")
    return ok("disk", text)


def _speed(seconds: float) -> Finding:
    text = f"a commit takes {seconds * 1000:.1f} ms to be safe"
    if seconds > HOPELESS_FSYNC_SECONDS:
        return fail("disk", text, "Customer.io waits 4 s only: use a local disk with a faster fsync")
    if seconds > SLOW_FSYNC_SECONDS:
        return warn("disk", text, "bursts may have to wait: a local SSD takes a few milliseconds")
    return ok("disk", text)


def fsync_seconds(folder: Path) -> float:
    """The median over a few writes."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        for _ in range(FSYNC_TRIES):
            begun = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begun)
    return sorted(times)[FSYNC_TRIES // 2]


def examine_home(folder: Path, in_container: bool, filesystem: str) -> Finding:
    """Does the data folder outlive a restart, and can SQLite work on its file system?"""
    about = "data folder"
    if filesystem in OVER_A_NETWORK:
        return fail(
            about,
            f"{folder} is on {filesystem}, a network file system; SQLite's write-ahead log does not work there",
            "use a local disk: CONNECTOR_DATA_DIR names the folder",
        )
    if in_container and filesystem in VOLATILE:
        return fail(
            about,
            f"{folder} is inside the container ({filesystem}): its next restart loses every event",
            "mount a volume there, as compose.yaml does",
        )
    if filesystem in ("tmpfs", "ramfs"):
        return fail(about, f"{folder} is in memory ({filesystem}): a restart of the machine loses it", "use a disk")
    where = f"on {filesystem}" if filesystem else "on a file system that could not be told"
    return ok(about, f"{folder.resolve()} is {where}")


def is_in_container(environment: Mapping[str, str], root: Path = Path("/")) -> bool:
    if any((root / sign.lstrip("/")).exists() for sign in CONTAINER_SIGNS):
        return True
    if "KUBERNETES_SERVICE_HOST" in environment or "container" in environment:
        return True
    try:
        groups = (root / "proc/1/cgroup").read_text("utf-8", "replace")
    except OSError:
        return False
    return any(word in groups for word in CONTAINER_WORDS)


def filesystem_of(folder: Path, mounts: str) -> str:
    """The type of the file system that holds the folder, by the text of /proc/self/mounts; "" if untold."""
    best, found = Path(), ""
    resolved = folder.resolve()
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if (resolved == point or point in resolved.parents) and len(point.parts) >= len(best.parts):
            best, found = point, fields[2]
    return found


def read_mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text("utf-8", "replace")
    except OSError:
        return ""
