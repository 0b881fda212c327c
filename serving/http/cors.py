"""Lets pages of other origins call the server, where that is switched on.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from serving.http.request import Request
from serving.http.router import RequestHandler, Response

ANY = "*"
EXPOSED = {"access-control-expose-headers": "inference-header-content-length, retry-after, x-request-id"}
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": (
        "authorization, content-encoding, content-type, inference-header-content-length, x-request-id"
    ),
    "access-control-max-age": "600",
}


def cors_middleware(answering: RequestHandler, *, origins: str) -> RequestHandler:
    """Return what answers requests so that pages of these origins may read it.

    Args:
        answering: answers all but preflights, which carry no key.
        origins: with commas between; `*` for all.
    """
    allowed = {origin.strip() for origin in origins.split(",")} - {""}

    async def answer(request: Request) -> Response:
        origin = request.header(b"origin")
        if ANY in allowed:
            sharing = {"access-control-allow-origin": ANY}
        elif origin in allowed:
            sharing = {"access-control-allow-origin": origin, "vary": "origin"}
        else:
            return _with_headers(await answering(request), {"vary": "origin"})
        if request.method == "OPTIONS" and request.has(b"access-control-request-method"):
            return Response(b"", headers=sharing | PREFLIGHT)
        return _with_headers(await answering(request), sharing | EXPOSED)

    return answer


def _with_headers(answer: Response, headers: dict[str, str]) -> Response:
    return answer._replace(headers={**(answer.headers or {}), **headers})
