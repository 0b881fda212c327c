"""The door for people: a page to draw on, from files read once."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

STATIC = Path(__file__).parent / "static"
FILES = {
    "/": ("index.html", "text/html"),
    "/page/style.css": ("style.css", "text/css"),
    "/page/script.js": ("script.js", "text/javascript"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class PageDoor:
    """Endpoint / and the files it needs; nothing comes from elsewhere."""

    def __init__(self) -> None:
        self._responses = {
            path: Response((STATIC / name).read_bytes(), headers=HEADERS, media_type=media)
            for path, (name, media) in FILES.items()
        }

    def routes(self) -> list[BaseRoute]:
        return [Route(path, self.show) for path in FILES]

    async def show(self, request: Request) -> Response:
        return self._responses[request.scope["path"]]
