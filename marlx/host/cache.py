"""The folder of compiled programs that JAX fills: damaged entries go, and the oldest where there are too many.

JAX writes an entry in its place, without a lock. A kill or a full disk leaves a part of one, and as JAX replaces no
entry every later run would warn and compile anew. (JAX's own bound on the folder locks it, but does not write whole
either, and after a kill between an entry and the file of its time every later write fails.)
"""

import stat
import zlib
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 4_000_000_000  # of all entries; one is some 100 kB on a CPU


def tidy(folder: Path, most: int = MOST_BYTES) -> None:
    """Removes damaged entries, then those that were not used for longest until `most` bytes are left.

    An entry that was found whole is made read-only, so each is looked through once. Other processes may be at work in
    the folder: one that is being written looks damaged and goes, and is compiled anew by whoever wants it next.
    """
    entries = []
    for path in folder.glob("*-cache"):
        with suppress(OSError):  # another process tidies too
            found = path.stat()
            if found.st_mode & stat.S_IWUSR:
                if not _is_whole(path.read_bytes()):
                    path.unlink()
                    continue
                path.chmod(stat.S_IMODE(found.st_mode) & ~0o222)
            entries.append((max(found.st_atime, found.st_mtime), found.st_size, path))
    excess = sum(size for _, size, _ in entries) - most
    for _, size, path in sorted(entries):
        if excess <= 0:
            break
        with suppress(OSError):
            path.unlink()
        excess -= size


def _is_whole(entry: bytes) -> bool:
    """Whether an entry unpacks, which its checksum answers for. JAX packs by zlib; what is packed otherwise passes."""
    if entry and entry[0] != 0x78:
        return True
    try:
        zlib.decompress(entry)
    except zlib.error:
        return False
    return True
