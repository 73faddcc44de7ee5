"""Rules between fields, in words of JSON Schema: the models of models.spec keep them, and pydantic's schemas tell none.

What has no words there is not in here: sums and ratios of fields, and what is stored under an id.
"""

from typing import Any, get_args

from api.pointers import models_in, tags_of
from models.spec.losses.menu import Loss
from models.spec.losses.term import LossTerm
from models.spec.students import TIMM_SETS
from models.spec.teaching import Ensemble, Regime, Teacher

Schema = dict[str, Any]

_PRESENT: Schema = {"not": {"type": "null"}}
_NULL: Schema = {"type": "null"}


def tell(schemas: dict[str, Any]) -> None:
    """Add the rules to the document's schemas, in place."""
    for name, rules in _rules(schemas).items():
        assert not schemas[name].keys() & rules.keys(), name
        schemas[name].update(rules)


def _rules(schemas: dict[str, Any]) -> dict[str, Schema]:
    return {
        "ResNet": _ladder(schemas["ResNet"]),
        "WideResNet": _ladder(schemas["WideResNet"]),
        "Timm": {"dependentSchemas": {"kwargs": _field("kwargs", {"propertyNames": {"not": {"enum": TIMM_SETS}}})}},
        "SGD": _where("momentum", {"const": 0}, _with("nesterov", {"const": False})),
        "Step": {"dependentSchemas": {"milestones": _field("milestones", {"uniqueItems": True})}},
        "Ensemble": {**_weights(schemas["Ensemble"]), **_each_once()},
        "BornAgain": _where("generations", {"const": 1}, _with("teacher", _PRESENT)),
        "Train": {"not": _both({"mixup": _PRESENT, "teacher_cache": {"type": "object", "required": ["views"]}})},
        "DatasetCreate": _where("labels", {"const": "none"}, _without_labels()),
        "JobSpec": {"allOf": [_who_is_named(), _who_hears_features(), _who_has_assistants(), _who_knows_labels()]},
    }


def _field(name: str, schema: Schema) -> Schema:
    return {"properties": {name: schema}}


def _both(fields: dict[str, Schema]) -> Schema:
    """All of these fields, each as said."""
    return {"required": list(fields), "properties": fields}


def _with(name: str, schema: Schema) -> Schema:
    return _both({name: schema})


def _where(name: str, schema: Schema, then: Schema) -> Schema:
    return {"if": _with(name, schema), "then": then}


def _ladder(schema: Schema) -> Schema:
    """Depths are six apart."""
    depth = schema["properties"]["depth"]
    rungs = list(range(int(depth["minimum"]), int(depth["maximum"]) + 1, 6))
    return {"dependentSchemas": {"depth": _field("depth", {"enum": rungs})}}


def _weights(schema: Schema) -> Schema:
    """One for each teacher, where they are combined by weights."""
    teachers = schema["properties"]["teachers"]
    each = [
        _both({"teachers": _exactly(number), "weights": _exactly(number)})
        for number in range(int(teachers["minItems"]), int(teachers["maxItems"]) + 1)
    ]
    then = {"anyOf": each, **_field("weights", _PRESENT)}
    return {**_where("combine", {"const": "weights"}, then), "else": _field("weights", _NULL)}


def _exactly(number: int) -> Schema:
    return {"minItems": number, "maxItems": number}


def _each_once() -> Schema:
    return {"dependentSchemas": {"teachers": _field("teachers", {"uniqueItems": True})}}


def _without_labels() -> Schema:
    """A data set without any label: who tells its classes, and that there is no target."""
    of_outputs = _with("task", {"const": "teacher_outputs"})
    of_numbers = _with("task", {"const": "tabular_regression"})
    no_target = _field("table", _field("target", _NULL))
    return {
        "anyOf": [
            of_outputs,
            {"allOf": [of_numbers, no_target]},
            {"allOf": [_with("classes", _PRESENT), no_target]},
        ]
    }


def _by(*types: str) -> Schema:
    """A job whose teacher is of one of these types."""
    return _with("teacher", {"type": "object", **_with("type", {"enum": list(types)})})


def _terms(schema: Schema) -> Schema:
    """What each loss term is, whether there is one or a list."""
    return {**schema, "items": schema}


_ASSISTED: Schema = _with("assistants", {"type": "array", "minItems": 1})


def _who_is_named() -> Schema:
    """A loss term names one out of an ensemble that it listens to itself, and so the ensemble is before it."""
    nobody = _terms(_field("teacher", _NULL))
    job, assistants = _field("loss", nobody), _field("assistants", {"items": _field("loss", nobody)})
    after_the_first = _field("assistants", {"prefixItems": [True], "items": _field("loss", nobody)})
    return {
        "if": _by(*tags_of(Ensemble)),
        "then": {"if": _ASSISTED, "then": {"allOf": [job, after_the_first]}},
        "else": {"allOf": [job, assistants]},
    }


def _who_hears_features() -> Schema:
    """Terms that read features or embeddings need a teacher that has them; of an ensemble, one that they name."""
    needy = [tag for term in _losses() if term.needs_taps or term.needs_embedding for tag in tags_of(term)]
    reads = _with("type", {"enum": needy})
    silent = [tag for regime in _regimes() if regime.outputs_alone for tag in tags_of(regime)]
    return {
        "if": _ASSISTED,
        "else": {
            "if": _by(*silent),
            "then": _field("loss", _terms({"not": reads})),
            "else": {
                "if": _by(*tags_of(Ensemble)),
                "then": _field("loss", _terms({"if": reads, "then": _with("teacher", _PRESENT)})),
            },
        },
    }


def _who_has_assistants() -> Schema:
    """They stand between a teacher that was handed in and the student."""
    own = [tag for regime in _regimes() if not regime.handed_in for tag in tags_of(regime)]
    return {"if": _by(*own), "then": _field("assistants", {"maxItems": 0})}


def _who_knows_labels() -> Schema:
    """Where the teacher learns too, somebody has to learn from the labels."""
    moving = [tag for regime in _regimes() if regime.moving for tag in tags_of(regime)]
    return {"if": _by(*moving), "then": _field("hard", {"not": {"const": 0}})}


def _losses() -> list[type[LossTerm]]:
    return [model for model in models_in(Loss) if issubclass(model, LossTerm)]


def _regimes() -> list[type[Regime]]:
    return [model for annotation in get_args(Teacher) for model in models_in(annotation) if issubclass(model, Regime)]
