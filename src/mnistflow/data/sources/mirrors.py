"""Mirrors: locations of the files of a data set.

A mirror is one of:

- `public`: the base URLs in the data set's entry, which contain the files directly;
- a folder, relative to the checkout, or a `file://` URL;
- an `http://` or `https://` base URL.

A folder or URL configured by a user contains one folder per data set: `<mirror>/<data set>/<file>`. Such a folder,
served over HTTP, is a mirror for other machines.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mnistflow.data.config import FetchConfig
from mnistflow.data.entry import Entry, source_of

MIRRORS_VARIABLE = "MNISTFLOW_MIRRORS"
PUBLIC = "public"

Location = Path | str  # of a file; a string is a URL


def configured_mirrors(config: FetchConfig, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the mirrors in the order of use: `MNISTFLOW_MIRRORS`, separated by spaces, else those of `config`."""
    return tuple(environ.get(MIRRORS_VARIABLE, "").split()) or config.mirrors


def locations(entry: Entry, file_name: str, mirrors: Iterable[str], checkout: Path) -> tuple[Location, ...]:
    """Return the possible locations of a file, in the order of the mirrors.

    Args:
        entry: the data set.
        file_name: of one of its files.
        mirrors: in the order of use.
        checkout: folder that relative mirrors start from.
    """
    found = (location for mirror in mirrors for location in _of_mirror(mirror, entry, file_name, checkout))
    return tuple(dict.fromkeys(found))


def _of_mirror(mirror: str, entry: Entry, file_name: str, checkout: Path) -> Iterator[Location]:
    name = source_of(entry.name)
    if mirror == PUBLIC:
        yield from (f"{base.rstrip('/')}/{file_name}" for base in entry.mirrors)
    elif mirror.startswith(("http://", "https://")):
        yield f"{mirror.rstrip('/')}/{name}/{file_name}"
    elif mirror.startswith("file://"):
        yield Path(url2pathname(urlsplit(mirror).path)) / name / file_name
    else:
        yield (checkout / Path(mirror).expanduser()).resolve() / name / file_name
