"""Model card: what a model is for, how good it is, and where its limits are (Mitchell et al., arXiv:1810.03993)."""

from __future__ import annotations

from collections.abc import Iterator

from mnistflow.provenance.facts import Facts, Metric


def write(facts: Facts) -> str:
    """Return the card of a model, in Markdown."""
    return "\n\n".join(section.strip() for section in _sections(facts)) + "\n"


def _sections(facts: Facts) -> Iterator[str]:
    yield f"# {facts.name}: {facts.family}"
    yield _what(facts)
    yield _data(facts)
    metrics = [metric for metric in facts.metrics() if metric.name.count(".") <= 1]  # without single severities
    intro = "On the official test split, which takes no part in training or choice of parameters."
    yield f"## Metrics\n\n{intro}\n\n{_table(metrics)}"
    if facts.evaluation.golden:
        yield _golden(facts)
    yield _limits(facts)
    yield _reproduce(facts)


def _what(facts: Facts) -> str:
    tensors = "\n".join(
        f"| {kind[:-1]} | {one.name} | {one.datatype} | {list(one.shape)} |"
        for kind, each in facts.tensors.items()
        for one in each
    )
    classes = f" Classes: {', '.join(facts.data['classes'])}." if facts.data["classes"] else ""
    return f"""
## Model

Task {facts.task.name}, family {facts.family}, exported as one ONNX file of {facts.evaluation.file_bytes / 1e6:.2f} MB
(sha256 `{facts.evaluation.model_sha256}`) that takes raw inputs: preprocessing is part of it.{classes}

| | name | type | shape |
| --- | --- | --- | --- |
{tensors}
"""


def _data(facts: Facts) -> str:
    data = facts.data
    rows = "\n".join(
        f"| {name} | {split['examples']:,} | `{split['sha256']}` |" for name, split in data["splits"].items()
    )
    feedback = data["feedback"]["examples"]
    return f"""
## Data

Data set {data["name"]}, sha256 `{data["sha256"]}`. {feedback:,} of the training examples are users' feedback.
`croissant.json` describes it.

| split | examples | sha256 |
| --- | ---: | --- |
{rows}
"""


def _table(metrics: list[Metric]) -> str:
    rows = "\n".join(f"| {_title(one)} | {one.value:,.5g} | {_interval(one)} |" for one in metrics)
    return f"| metric | value | 95 % interval |\n| --- | ---: | --- |\n{rows}"


def _golden(facts: Facts) -> str:
    intro = "On the golden set: images of users with labels that a person has checked, which no training sees."
    return f"## Golden set\n\n{intro}\n\n{_table(list(facts.golden()))}"


def _title(metric: Metric) -> str:
    return f"{metric.name}, {metric.part}" if metric.part else metric.name.replace("_", " ")


def _interval(metric: Metric) -> str:
    return f"{metric.interval[0]:.4f} to {metric.interval[1]:.4f}" if metric.interval else ""


def limits(facts: Facts) -> Iterator[str]:
    """Yield what the model cannot do, a sentence each."""
    yield f"It has learned data set {facts.data['name']} and nothing else; metrics of other inputs are unknown."
    if facts.evaluation.by_class:
        by_class = facts.evaluation.by_class
        worst = min(by_class, key=lambda name: by_class[name])
        yield f"It is least reliable for class {worst}, with a recall of {by_class[worst]:.2%}."
    robust = {
        name: value
        for name, value in facts.evaluation.robustness.items()
        if name.startswith("robust") and name.count(".") == 1
    }
    if robust:
        worst = min(robust, key=lambda name: robust[name])
        kind = worst.partition(".")[2]
        yield f"Corrupted inputs lower {facts.task.headline.name}: to {robust[worst]:.4f} on average by {kind}."
    if facts.task.has_class_probabilities:
        yield "Its probabilities are calibrated on validation examples, and hold for inputs that resemble these."


def _limits(facts: Facts) -> str:
    listed = "\n".join(f"- {limit}" for limit in limits(facts))
    return f"## Limits\n\n{listed}"


def _reproduce(facts: Facts) -> str:
    caveat = "" if facts.is_committed else " The run keeps its sources as `sources.tar.gz`, because no commit has them."
    machine = ", ".join(f"{name} {facts.environment[name]}" for name in ("python", "tensorflow", "keras", "numpy"))
    return f"""
## Reproduce

MLflow run `{facts.run_id}`, commit `{facts.commit}`, trained on {facts.environment["cores"]} cores of
{facts.environment["cpu"]} with {machine}. `bom.json` lists all libraries.{caveat}

```
mnistflow reproduce {facts.run_id}
{facts.command}
```
"""
