"""A copy of an embedded store as it was, before its tables are changed: hard links, so it takes no time and no space.

The engine never changes a data file once it is written; all else is copied. A copy lies in `backups/version-N` of
the store's directory and opens like any store. To go back, start the Assay of that version with --store on it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

LINKED = {".bin", ".cmrk2", ".cmrk3", ".cmrk4", ".mrk2", ".mrk3", ".mrk4", ".idx", ".cidx", ".dat"}
KEPT = 2


def back_up(directory: Path, version: int) -> Path:
    """Where the copy of the store is; one that is already there is kept, for the store may be half changed by now.

    The store must be quiet: no writes, no merges. Raises OSError, and leaves no half copy that looks whole.
    """
    backups = directory / "backups"
    target = backups / f"version-{version}"
    if not target.exists():
        unfinished = backups / f".version-{version}"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(
            directory,
            unfinished,
            symlinks=True,
            ignore=lambda folder, _: {"backups", "assay.lock", "tmp"} if Path(folder) == directory else set(),
            copy_function=_link_or_copy,
        )
        _repoint(unfinished, directory.resolve(), target.resolve())
        unfinished.rename(target)
    for old in sorted(backups.glob("version-*"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old)
    return target


def _link_or_copy(source: str, target: str) -> None:
    if Path(source).suffix in LINKED:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _repoint(copy: Path, original: Path, target: Path) -> None:
    """Links that lead into the original store lead into the copy."""
    for link in (path for path in copy.rglob("*") if path.is_symlink()):
        leads_to = link.readlink()
        if leads_to.is_absolute() and leads_to.is_relative_to(original):
            link.unlink()
            link.symlink_to(target / leads_to.relative_to(original))
