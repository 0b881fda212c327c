"""Entries of tar archives, extracted only where they stay in their folder."""

import tarfile
from pathlib import Path


def extract(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> None:
    """Extract an entry into a folder.

    Raises:
        tarfile.TarError: the entry leads out of the folder, or is neither a file nor a folder nor a link.
    """
    if hasattr(tarfile, "data_filter"):
        archive.extract(entry, folder, filter="data")
        return
    # Before Python 3.11.4, as Debian 12 has it, there are no filters.
    places = [folder / entry.name]
    if entry.issym() or entry.islnk():
        places.append((places[0].parent if entry.issym() else folder) / entry.linkname)
    is_inside = all(place.resolve().is_relative_to(folder.resolve()) for place in places)
    if not is_inside or not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
        raise tarfile.TarError(f"{entry.name!r} leads out of the folder, or is a device")
    archive.extract(entry, folder)
