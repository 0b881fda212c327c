"""Web pages: `/` to draw or open an image, `/generated` with new images of each class, `/review`, `/docs`."""

import re
from pathlib import Path

from serving.http.request import Request
from serving.http.response import Response
from serving.http.router import Route

STATIC = Path(__file__).parents[1] / "static"
FILES = {
    "/": ("index.html", "text/html"),
    "/page/style.css": ("style.css", "text/css"),
    "/page/script.js": ("script.js", "text/javascript"),
    "/page/models.js": ("models.js", "text/javascript"),
    "/page/reading.js": ("reading.js", "text/javascript"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
    "/generated": ("generated.html", "text/html"),
    "/page/generated.css": ("generated.css", "text/css"),
    "/page/generated.js": ("generated.js", "text/javascript"),
    "/review": ("review.html", "text/html"),
    "/page/review.css": ("review.css", "text/css"),
    "/page/review.js": ("review.js", "text/javascript"),
    "/docs": ("docs.html", "text/html"),
    "/page/docs.css": ("docs.css", "text/css"),
    "/page/docs.js": ("docs.js", "text/javascript"),
    "/openapi.json": ("openapi.json", "application/json"),
}
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class PageEndpoints:
    """Endpoints of the pages, of /openapi.json and of the files they need, which are read once, at the start."""

    def __init__(self) -> None:
        self._responses = {
            path: Response((STATIC / name).read_bytes(), media_type=f"{media_type}; charset=utf-8", headers=HEADERS)
            for path, (name, media_type) in FILES.items()
        }

    def routes(self) -> list[Route]:
        return [Route("GET", re.escape(path), self.show, is_open=True, endpoint="/page") for path in FILES]

    async def show(self, request: Request) -> Response:
        return self._responses[request.path]
