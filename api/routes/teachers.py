"""Teachers: uploaded checkpoints and graphs, checked by a worker before a job can use them."""

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
from api.schemas import TeacherCreate, TeacherList, TeacherView
from api.views import checked_view, tag_of, with_etag
from core import checks, db, queue
from models.spec.teachers import TeacherSpec
from models.tables import Teacher

router = APIRouter(prefix="/teachers", tags=["teachers"], route_class=JsonRoute)


@router.post(
    "",
    status_code=201,
    operation_id="create_teacher",
    summary="Make a teacher of an upload",
    response_model=TeacherView,
    responses=documented(400, 409, 413),
)
def create_teacher(
    body: Annotated[TeacherCreate, Body(openapi_examples=examples.TEACHERS)], who: Who, once: Post
) -> Any:
    """The upload is checked and converted by a worker: the teacher is `checking`, then `ready` or `rejected`.

    `architecture` is an entry of GET /catalog/students, or `{"type": "onnx"}` for a graph. `input` says how the teacher
    wants its images; a wrong one is the usual reason for a teacher that scores at chance.
    """
    spec = TeacherSpec.model_validate(body.model_dump(exclude={"name", "upload"}, exclude_unset=True))
    with once.transaction() as session:
        require_upload(session, who.owner, body.upload)
        teacher = checks.submit_teacher(session, body.name, body.upload, spec, owner=who.owner)
        view = checked_view(TeacherView, teacher)
        answer = once.answer(view, location=f"/teachers/{view.id}", etag=tag_of(view))
    queue.wake_check("teachers", view.id)
    return answer


@router.get("", operation_id="list_teachers", summary="Teachers, newest first", responses=documented())
def list_teachers(who: Who, limit: Limit = 50, cursor: Cursor = None) -> TeacherList:
    """A page of teachers; `next_cursor` leads to the next one and is null on the last."""
    with db.session() as session:
        found = page(session, Teacher, who.owner, select(Teacher), limit, cursor)
        return TeacherList(items=[checked_view(TeacherView, row) for row in found.rows], next_cursor=found.next_cursor)


@router.get(
    "/{teacher_id}",
    operation_id="get_teacher",
    summary="One teacher and the verdict on it",
    response_model=TeacherView,
    responses={304: {"description": "Not changed since the ETag in If-None-Match"}, **documented(404, 412)},
    openapi_extra=ON_GET,
)
def get_teacher(teacher_id: str, request: Request, who: Who) -> Any:
    """`report.checks` lists each check with its verdict; beside it stand parameters, FLOPs, shapes and taps."""
    with db.session() as session:
        view = checked_view(TeacherView, get(session, Teacher, who.owner, teacher_id))
    return with_etag(request, view)


@router.post(
    "/{teacher_id}/recheck",
    status_code=202,
    operation_id="recheck_teacher",
    summary="Check a teacher again, by the rules as they are now",
    response_model=TeacherView,
    responses=documented(404, 409, 412),
)
def recheck_teacher(teacher_id: str, who: Who, once: Post, if_match: IfMatch = None) -> Any:
    """The present verdict counts until the new one takes its place, at once and as a whole; `is_rechecking` says so.

    Jobs that were accepted keep the teacher as they were accepted with it. 409 `upload_gone` where the file as it was
    handed in is not stored any more.
    """
    with once.transaction() as session:
        teacher = held(session, get(session, Teacher, who.owner, teacher_id), TeacherView, if_match)
        recheck(session, teacher)
        view = checked_view(TeacherView, teacher)
        answer = once.answer(view, etag=tag_of(view))
    queue.wake_check("teachers", view.id)
    return answer


@router.delete(
    "/{teacher_id}",
    status_code=204,
    response_class=Response,
    operation_id="delete_teacher",
    summary="Delete a teacher",
    responses=documented(404, 409, 412),
)
def delete_teacher(teacher_id: str, who: Who, if_match: IfMatch = None) -> None:
    """Refused (409) while a job names it, because a job says for good what it was made from; the ids are listed."""
    with db.session() as session:
        teacher = held(session, get(session, Teacher, who.owner, teacher_id), TeacherView, if_match)
        remove(session, teacher)
