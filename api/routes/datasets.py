"""Data sets: uploaded archives and tables, checked and converted by a worker before a job can use them."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from sqlalchemy import select

from api import examples
from api.body import JsonRoute
from api.callers import Who
from api.checked import remove, require_upload
from api.deps import get
from api.errors import documented
from api.paging import Cursor, Limit, page
from api.schemas import DatasetCreate, DatasetList, DatasetView
from api.views import checked_view, with_etag
from core import checks, db, queue
from models.spec.data import DatasetSpec
from models.tables import Dataset

router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=JsonRoute)


@router.post(
    "",
    status_code=201,
    operation_id="create_dataset",
    summary="Make a data set of an upload",
    responses=documented(400, 413),
)
def create_dataset(
    body: Annotated[DatasetCreate, Body(openapi_examples=examples.DATASETS)], response: Response, who: Who
) -> DatasetView:
    """The upload is checked and converted by a worker: the data set is `checking`, then `ready` or `rejected`.

    `format` is told from the content where it is left out. A missing validation or test split is cut by a seeded,
    stratified rule, which the report names.
    """
    spec = DatasetSpec.model_validate(body.model_dump(exclude={"name", "upload"}, exclude_unset=True))
    with db.session() as session:
        require_upload(session, who.owner, body.upload)
        dataset = checks.submit_dataset(session, body.name, body.upload, spec, owner=who.owner)
        session.flush()
        session.refresh(dataset)
        view = checked_view(DatasetView, dataset)
    queue.wake_check("datasets", view.id)
    response.headers["Location"] = f"/datasets/{view.id}"
    return view


@router.get("", operation_id="list_datasets", summary="Data sets, newest first", responses=documented())
def list_datasets(who: Who, limit: Limit = 50, cursor: Cursor = None) -> DatasetList:
    """A page of data sets; `next_cursor` leads to the next one and is null on the last."""
    with db.session() as session:
        found = page(session, Dataset, who.owner, select(Dataset), limit, cursor)
        return DatasetList(items=[checked_view(DatasetView, row) for row in found.rows], next_cursor=found.next_cursor)


@router.get(
    "/{dataset_id}",
    operation_id="get_dataset",
    summary="One data set and the verdict on it",
    response_model=DatasetView,
    responses={304: {"description": "Not changed since the ETag in If-None-Match"}, **documented(404, 412)},
)
def get_dataset(dataset_id: str, request: Request, who: Who) -> Any:
    """`report.checks` lists each check with its verdict; beside it stand counts, classes, shapes and rejected rows."""
    with db.session() as session:
        view = checked_view(DatasetView, get(session, Dataset, who.owner, dataset_id))
    return with_etag(request, view)


@router.delete(
    "/{dataset_id}",
    status_code=204,
    operation_id="delete_dataset",
    summary="Delete a data set",
    responses=documented(404, 409),
)
def delete_dataset(dataset_id: str, who: Who) -> None:
    """Refused (409) while a job names it, because a job says for good what it was made from; the ids are listed."""
    with db.session() as session:
        remove(session, Dataset, who.owner, dataset_id)
