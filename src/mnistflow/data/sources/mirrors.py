"""Where the files of a data set may be found.

A mirror is one of:

- `public`: the base URLs of the data set's entry, each of which holds the files directly;
- a folder, relative to the checkout, or a `file://` URL;
- an `http://` or `https://` base URL.

Folders and URLs that a user gives hold all data sets, each in a folder of its name: `<mirror>/<data set>/<file>`.
Serving such a folder over HTTP therefore makes it a mirror for other machines.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mnistflow.data.config import FetchConfig
from mnistflow.data.entry import Entry

MIRRORS_VARIABLE = "MNISTFLOW_MIRRORS"
PUBLIC = "public"

Location = Path | str  # of one file; a string is a URL


def configured_mirrors(config: FetchConfig, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the mirrors in the order to try them: those in `MNISTFLOW_MIRRORS` (apart by spaces), else `config`'s."""
    return tuple(environ.get(MIRRORS_VARIABLE, "").split()) or config.mirrors


def locations(entry: Entry, file_name: str, mirrors: Iterable[str], home: Path) -> tuple[Location, ...]:
    """Return where a file of a data set may be found, in the order of the mirrors; `home` is the checkout."""
    places = (place for mirror in mirrors for place in _of_mirror(mirror, entry, file_name, home))
    return tuple(dict.fromkeys(places))


def _of_mirror(mirror: str, entry: Entry, file_name: str, home: Path) -> Iterator[Location]:
    if mirror == PUBLIC:
        yield from (f"{base.rstrip('/')}/{file_name}" for base in entry.mirrors)
    elif mirror.startswith(("http://", "https://")):
        yield f"{mirror.rstrip('/')}/{entry.name}/{file_name}"
    elif mirror.startswith("file://"):
        yield Path(url2pathname(urlsplit(mirror).path)) / entry.name / file_name
    else:
        yield (home / Path(mirror).expanduser()).resolve() / entry.name / file_name
