"""Print the protocol's OpenAPI document, for schemathesis; runs in an environment of its own, see `test_clients.py`.

No package carries the document itself,
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_rest.yaml,
but the models of `open-inference-openapi` are generated from it. Its paths stand here, and so does what it leaves out:
paths without a version, errors other than 400, that `data` may be missing, as it is of a binary tensor, and that null
is as good as nothing.
"""

import json
import sys

from open_inference.openapi import types
from pydantic.v1.schema import schema

REFERENCES = "#/components/schemas/"
MODEL = "/v2/models/{model}"
ERRORS = (400, 401, 404, 405, 408, 413, 415, 503, 504)


def content(model):
    return {"content": {"application/json": {"schema": {"$ref": REFERENCES + model.__name__}}}}


def operation(answer=None, request=None):
    right = {"description": "OK", **(content(answer) if answer else {})}
    wrong = {"description": "an error", **content(types.MetadataServerErrorResponse)}
    body = {"requestBody": {"required": True, **content(request)}} if request else {}
    return body | {"responses": {"200": right, **{str(status): wrong for status in ERRORS}}}


def paths():
    yield "/v2", {"get": operation(types.MetadataServerResponse)}
    for health in ("live", "ready"):
        yield f"/v2/health/{health}", {"get": operation()}
    for path, names in ((MODEL, ["model"]), (f"{MODEL}/versions/{{version}}", ["model", "version"])):
        string = {"in": "path", "required": True, "schema": {"type": "string"}}
        shared = {"parameters": [{"name": name, **string} for name in names]}
        yield path, {"get": operation(types.MetadataModelResponse), **shared}
        yield f"{path}/ready", {"get": operation(), **shared}
        yield f"{path}/infer", {"post": operation(types.InferenceResponse, types.InferenceRequest), **shared}


def document():
    models = [getattr(types, name) for name in types.__all__ if name != "Parameters"]
    schemas = schema(models, ref_prefix=REFERENCES)["definitions"]
    for tensor in (types.RequestInput, types.ResponseOutput):
        schemas[tensor.__name__]["required"].remove("data")
    for model in (types.InferenceRequest, types.RequestInput, types.RequestOutput):
        for name in schemas[model.__name__]["properties"].keys() & {"id", "parameters", "outputs"}:
            schemas[model.__name__]["properties"][name]["nullable"] = True
    return {
        "openapi": "3.0.0",
        "info": {"title": "Open Inference Protocol", "version": "2.0"},
        "paths": dict(paths()),
        "components": {"schemas": schemas},
    }


if __name__ == "__main__":
    json.dump(document(), sys.stdout)
