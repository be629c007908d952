"""What labelling tools export, found out by its keys and made into the fields that this project reads.

Sources: the export formats in the documentation of Label Studio, doccano, Argilla and Prodigy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from pipeline.rows import Unanswered

Record = Mapping[str, object]


@dataclass(frozen=True)
class Preset:
    """One tool's export.

    Attributes:
        told: what it is, in words.
        found: whether records with these keys are of it; given the first records, too.
        fields: a record as this project reads it, or why it cannot be learned.
    """

    told: str
    found: Callable[[Collection[str], list[Record]], bool]
    fields: Callable[[Record], dict[str, object] | str]


_ABOUT_AN_ANNOTATION = frozenset(
    [
        "text",
        "id",
        "annotator",
        "annotation_id",
        "created_at",
        "updated_at",
        "lead_time",
        "agreement",
        "kind",
        "inner_id",
        "meta",
    ]
)


def _label_studio_flat(record: Record) -> dict[str, object] | str:
    """JSON-MIN and CSV: the label is under the name of the labelling configuration's control."""
    choices = {name: value for name, value in record.items() if name not in _ABOUT_AN_ANNOTATION and value}
    if "label" in choices:
        return dict(record)
    if not choices:
        return Unanswered("has no label in Label Studio")
    if len(choices) != 1:
        names = ", ".join(choices)
        return f"expected one column of labels beside Label Studio's own, found {names}. Set ingest.columns.label"
    (label,) = choices.values()
    return {**record, "label": label["choices"] if isinstance(label, dict) and "choices" in label else label}


def _label_studio(record: Record) -> dict[str, object] | str:
    """JSON: the first annotation that was not cancelled."""
    data, annotations = record.get("data"), record.get("annotations")
    if not isinstance(data, dict) or not isinstance(annotations, list):
        return "expected Label Studio's data and annotations"
    made = [a for a in annotations if isinstance(a, dict) and not a.get("was_cancelled")]
    labels = {label for annotation in made for label in _choices(annotation)}
    if len(labels) != 1:
        reason = f"expected one label, found {len(labels)} in {len(made)} annotation(s)"
        return reason if labels else Unanswered(reason)
    return {
        "id": record.get("id"),
        "created_at": made[0].get("created_at", record.get("created_at")),
        **data,
        "label": labels.pop(),
    }


def _choices(annotation: Record) -> list[str]:
    found = annotation.get("result")
    return [
        str(choice)
        for part in (found if isinstance(found, list) else [])
        if isinstance(part, dict) and isinstance(part.get("value"), dict)
        for choice in part["value"].get("choices", [])
    ]


def _argilla(record: Record) -> dict[str, object] | str:
    """The one question that was answered; answers that were discarded or differ are no label."""
    fields, responses = record.get("fields"), record.get("responses")
    if not isinstance(fields, dict):
        return "expected Argilla's fields"
    if record.get("status") == "discarded":
        return Unanswered("was discarded in Argilla")
    answers = responses if isinstance(responses, dict) else {}
    values = {
        str(answer["value"])
        for given in answers.values()
        for answer in (given if isinstance(given, list) else [given])
        if isinstance(answer, dict) and answer.get("value") and answer.get("status") != "discarded"
    }
    if not values:
        return Unanswered("has no answer in Argilla")
    if len(values) != 1:
        return f"expected one answer in Argilla's responses, found {len(values)}"
    (label,) = values
    text = fields.get("text", next(iter(fields.values()), None) if len(fields) == 1 else None)
    own = {"id": record.get("id"), "created_at": record.get("inserted_at"), "text": text, "label": label}
    return {**fields, **own} | {key: record[key] for key in ("kind", "created_at") if record.get(key)}


def _prodigy(record: Record) -> dict[str, object] | str:
    """Only what was accepted: a rejected label is one that the text does not have."""
    answer = record.get("answer")
    if answer in ("reject", "ignore"):
        return Unanswered(f"the answer is {answer!r} in Prodigy: only what was accepted is learned")
    if answer != "accept":
        return f"the answer is {answer!r} in Prodigy: only what was accepted is learned"
    chosen = record.get("accept")
    fields = dict(record)
    if isinstance(chosen, list):
        fields["label"] = chosen
    if fields.get("created_at") is None and record.get("_timestamp") is not None:
        fields["created_at"] = record["_timestamp"]
    return fields


def _intents(record: Record) -> dict[str, object] | str:
    return {**record, "label": record.get("intent")}


def _labels(record: Record) -> dict[str, object] | str:
    return {**record, "label": record.get("labels")}


PRESETS = (
    Preset(
        "it is Label Studio's JSON export",
        lambda keys, first: {"data", "annotations"} <= set(keys),
        _label_studio,
    ),
    Preset(
        "it is Label Studio's flat export",
        lambda keys, first: (
            {"annotator", "lead_time"} <= set(keys) or {"annotation_id", "lead_time"} <= set(keys)
        ),
        _label_studio_flat,
    ),
    Preset(
        "it is Argilla's export",
        lambda keys, first: "fields" in keys and bool({"responses", "suggestions"} & set(keys)),
        _argilla,
    ),
    Preset(
        "it is Prodigy's export: only accepted answers are learned",
        lambda keys, first: (
            any(r.get("answer") in ("accept", "reject", "ignore") for r in first)
            and bool({"label", "accept", "_timestamp", "_task_hash"} & set(keys))
        ),
        _prodigy,
    ),
    Preset(
        "its label is under intent, as in Rasa's training data",
        lambda keys, first: "intent" in keys and "entities" in keys and "label" not in keys,
        _intents,
    ),
    Preset(
        "its labels are lists, as doccano's are",
        lambda keys, first: "labels" in keys and "label" not in keys,
        _labels,
    ),
)
"""The first that is found is taken."""
