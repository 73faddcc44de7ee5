"""Data sets: uploaded archives and tables, checked and converted by a worker before a job can use them."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from sqlalchemy import select

from api import examples
from api.body import JsonRoute
from api.callers import Who
from api.checked import held, recheck, remove, require_upload
from api.conditions import ON_GET, IfMatch
from api.deps import get
from api.errors import documented
from api.idempotency import Post
from api.paging import Cursor, Limit, page
from api.schemas import DatasetCreate, DatasetList, DatasetView
from api.views import checked_view, tag_of, with_etag
from core import checks, db, queue
from models.spec.data import DatasetSpec
from models.tables import Dataset

router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=JsonRoute)


@router.post(
    "",
    status_code=201,
    operation_id="create_dataset",
    summary="Make a data set of an upload",
    response_model=DatasetView,
    responses=documented(400, 409, 413),
)
def create_dataset(
    body: Annotated[DatasetCreate, Body(openapi_examples=examples.DATASETS)], who: Who, once: Post
) -> Any:
    """The upload is checked and converted by a worker: the data set is `checking`, then `ready` or `rejected`.

    `format` is told from the content where it is left out. A missing validation or test split is cut by a seeded,
    stratified rule, which the report names.
    """
    spec = DatasetSpec.model_validate(body.model_dump(exclude={"name", "upload"}, exclude_unset=True))
    with once.transaction() as session:
        require_upload(session, who.owner, body.upload)
        dataset = checks.submit_dataset(session, body.name, body.upload, spec, owner=who.owner)
        view = checked_view(DatasetView, dataset)
        answer = once.answer(view, location=f"/datasets/{view.id}", etag=tag_of(view))
    queue.wake_check("datasets", view.id)
    return answer


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
    openapi_extra=ON_GET,
)
def get_dataset(dataset_id: str, request: Request, who: Who) -> Any:
    """`report.checks` lists each check with its verdict; beside it stand counts, classes, shapes and rejected rows."""
    with db.session() as session:
        view = checked_view(DatasetView, get(session, Dataset, who.owner, dataset_id))
    return with_etag(request, view)


@router.post(
    "/{dataset_id}/recheck",
    status_code=202,
    operation_id="recheck_dataset",
    summary="Check a data set again, by the rules as they are now",
    response_model=DatasetView,
    responses=documented(404, 409, 412),
)
def recheck_dataset(dataset_id: str, who: Who, once: Post, if_match: IfMatch = None) -> Any:
    """The present verdict counts until the new one takes its place, at once and as a whole; `is_rechecking` says so.

    Jobs that were accepted keep the data set as they were accepted with it. 409 `upload_gone` where the file as it was
    handed in is not stored any more.
    """
    with once.transaction() as session:
        dataset = held(session, get(session, Dataset, who.owner, dataset_id), DatasetView, if_match)
        recheck(session, dataset)
        view = checked_view(DatasetView, dataset)
        answer = once.answer(view, etag=tag_of(view))
    queue.wake_check("datasets", view.id)
    return answer


@router.delete(
    "/{dataset_id}",
    status_code=204,
    response_class=Response,
    operation_id="delete_dataset",
    summary="Delete a data set",
    responses=documented(404, 409, 412),
)
def delete_dataset(dataset_id: str, who: Who, if_match: IfMatch = None) -> None:
    """Refused (409) while a job names it, because a job says for good what it was made from; the ids are listed."""
    with db.session() as session:
        dataset = held(session, get(session, Dataset, who.owner, dataset_id), DatasetView, if_match)
        remove(session, dataset)
