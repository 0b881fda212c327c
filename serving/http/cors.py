"""CORS: lets web pages of other origins call the server, where that is enabled.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from serving.http.application import Middleware
from serving.http.request import Request
from serving.http.response import Response
from serving.http.router import RequestHandler

ANY = "*"
EXPOSED = {"access-control-expose-headers": "inference-header-content-length, retry-after, x-request-id"}
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": (
        "authorization, content-encoding, content-type, inference-header-content-length, x-request-id"
    ),
    "access-control-max-age": "600",
}


def cors_middleware(origins: str) -> Middleware:
    """Return middleware that lets pages of these origins read responses.

    It responds to preflight requests itself, because they carry no key.

    Args:
        origins: separated by commas; `*` for all.
    """
    allowed = {origin.strip() for origin in origins.split(",")} - {""}

    def wrap(handler: RequestHandler) -> RequestHandler:
        async def handle(request: Request) -> Response:
            origin = request.header(b"origin")
            if ANY in allowed:
                sharing = {"access-control-allow-origin": ANY}
            elif origin in allowed:
                sharing = {"access-control-allow-origin": origin, "vary": "origin"}
            else:
                return _with_headers(await handler(request), {"vary": "origin"})
            if request.method == "OPTIONS" and request.head.has_header(b"access-control-request-method"):
                return Response(b"", headers=sharing | PREFLIGHT)
            return _with_headers(await handler(request), sharing | EXPOSED)

        return handle

    return wrap


def _with_headers(response: Response, headers: dict[str, str]) -> Response:
    return response._replace(headers={**(response.headers or {}), **headers})
