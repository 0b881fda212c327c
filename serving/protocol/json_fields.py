"""JSON fields: decodes JSON, and checks the types of objects, parameters and flags in it."""

from typing import Any

import orjson

from serving.errors import InvalidRequestError

# Types that the protocol allows for parameters.
SCALARS = frozenset((str, int, float, bool))


class InvalidJsonError(InvalidRequestError):
    """The body is not JSON."""


def parse_json(content: bytes) -> Any:
    """Decode JSON.

    Raises:
        InvalidJsonError: with the position of the error.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InvalidJsonError(f"the body is not valid JSON: {error.msg} (at character {error.pos})") from None


def as_object(value: Any, what: str) -> dict[str, Any]:
    """Return a value that has to be a JSON object; `what` names it in the error.

    Raises:
        InvalidRequestError: it is not an object.
    """
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{what} must be a JSON object")
    return value


def parameters(owner: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the `parameters` of a request or tensor; empty if it has none.

    Raises:
        InvalidRequestError: they are not an object of strings, numbers and booleans.
    """
    given = owner.get("parameters")
    if given is None:
        return {}
    values = as_object(given, f"parameters of {what}")
    if not SCALARS.issuperset(map(type, values.values())):
        raise InvalidRequestError(f"parameters of {what} must be strings, numbers or booleans")
    return values


def flag(values: dict[str, Any], name: str, default: bool) -> bool:
    """Return a boolean field.

    Raises:
        InvalidRequestError: it is not a boolean.
    """
    value = values.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{name} must be true or false")
    return value
