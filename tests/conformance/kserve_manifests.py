"""Do KServe's own models know all that an InferenceService says? In an environment of its own, see `test_clients.py`.

`python kserve_manifests.py FILE ...` names the files that say what the models do not know, or in another type.
"""

import re
import sys
from pathlib import Path

import kserve
import kubernetes.client
import yaml

PLAIN = {"str": str, "int": int, "float": float, "bool": bool}


def taken(kind, value):
    """Return what a model takes of a value; raises ValueError when something is missing."""
    if parts := re.fullmatch(r"list\[(.+)\]", kind):
        return [taken(parts[1], each) for each in value]
    if parts := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return {name: taken(parts[1], each) for name, each in value.items()}
    if kind in PLAIN:
        return PLAIN[kind](value)
    if model := getattr(kserve, kind, None):
        names = {name: key for name, key in model.attribute_map.items() if key in value}
        fields = {name: taken(model.openapi_types[name], value[key]) for name, key in names.items()}
        model(**fields)
        return {names[name]: field for name, field in fields.items()}
    model = getattr(kubernetes.client, kind)
    return kubernetes.client.ApiClient().sanitize_for_serialization(model.from_dict(value))


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        if any(
            taken("V1beta1InferenceService", manifest) != manifest for manifest in yaml.safe_load_all(file.read_text())
        ):
            sys.stdout.write(f"{file.name}\n")
