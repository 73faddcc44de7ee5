"""The menu: losses, regimes, students, tasks, formats and exports, read off the spec classes so that it never lags."""

import inspect
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from api.errors import documented
from api.pointers import models_in, tags_of
from api.schemas import CatalogEntry, CatalogList
from models.spec.data import FORMATS, TASKS, DatasetSpec, TaskName
from models.spec.job import EXPORTS
from models.spec.losses.menu import Loss, family
from models.spec.losses.term import LossTerm
from models.spec.students import Architecture, Student
from models.spec.teaching import Regime, Teacher

router = APIRouter(prefix="/catalog", tags=["catalog"], responses=documented())


@router.get("/losses", operation_id="list_losses", summary="The losses a job can combine")
def losses() -> CatalogList:
    """Each loss with its formula, its paper, when to use it, its fields with bounds and defaults, and its tasks."""
    return CatalogList(items=[_loss(model) for model in _members(Loss, LossTerm)])


def _members(menu: Any, base: type[Any]) -> Iterator[type[Any]]:
    return (model for model in models_in(menu) if issubclass(model, base))


def _loss(model: type[LossTerm]) -> CatalogEntry:
    return _entry(
        model,
        family=family(model),
        tasks=sorted(model.tasks),
        needs_taps=model.needs_taps,
        needs_embedding=model.needs_embedding,
        same_outputs=model.same_outputs,
        needs_labels=model.needs_labels,
        hard_beside=model.hard_beside,
    )


def _entry(model: type[BaseModel], **more: Any) -> CatalogEntry:
    return CatalogEntry(
        type=tags_of(model)[0],
        title=model.__name__,
        description=inspect.getdoc(model) or "",
        formula=getattr(model, "formula", ""),
        paper=getattr(model, "paper", ""),
        use_when=getattr(model, "use_when", ""),
        defaults=_defaults(model),
        schema=model.model_json_schema(),
        **more,
    )


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    fields = {name: field.get_default(call_default_factory=True) for name, field in model.model_fields.items()}
    return {
        name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for name, value in fields.items()
        if value is not PydanticUndefined
    }


@router.get("/regimes", operation_id="list_regimes", summary="The ways a student can be taught")
def regimes() -> CatalogList:
    """What `teacher` of a job may be, beside a plain id: each with its fields, its paper and when to use it.

    `handed_in`: assistants may stand between this teacher and the student. `moving`: it learns while it teaches.
    """
    entries = [
        _entry(model, handed_in=model.handed_in, moving=model.moving, outputs_alone=bool(model.outputs_alone))
        for model in _members(Teacher, Regime)
    ]
    return CatalogList(items=entries)


@router.get("/students", operation_id="list_students", summary="The architectures a student or a teacher can have")
def students() -> CatalogList:
    """Each architecture family with its fields, its paper and the kind of data it takes."""
    entries = [_entry(model, takes=sorted(model.takes)) for model in _members(Architecture, Student)]
    return CatalogList(items=entries)


@router.get("/tasks", operation_id="list_tasks", summary="The tasks a data set can be for")
def tasks() -> CatalogList:
    """Each task with the losses that can be used for it."""
    entries = [
        CatalogEntry(type=task, title=_title(task), description=about, losses=_losses_for(task))
        for task, about in TASKS.items()
    ]
    return CatalogList(items=entries)


def _losses_for(task: TaskName) -> list[str]:
    return [tags_of(model)[0] for model in _members(Loss, LossTerm) if task in model.tasks]


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


@router.get("/formats", operation_id="list_formats", summary="The formats a data set can be uploaded in")
def formats() -> CatalogList:
    """Each format, and the options by which a data set of it is read."""
    schema, defaults = DatasetSpec.model_json_schema(), _defaults(DatasetSpec)
    entries = [
        CatalogEntry(type=name, title=_title(name), description=about, schema=schema, defaults=defaults)
        for name, about in FORMATS.items()
    ]
    return CatalogList(items=entries)


@router.get("/exports", operation_id="list_exports", summary="The forms a student can be handed out in")
def exports() -> CatalogList:
    """Each value that `export` of a job may hold."""
    entries = [CatalogEntry(type=name, title=_title(name), description=about) for name, about in EXPORTS.items()]
    return CatalogList(items=entries)
