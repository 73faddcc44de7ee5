"""The worked examples of what the API answers with, by the name of the schema; and of what its parameters take."""

from typing import Any

_AT, _LATER = "2026-03-01T09:30:00Z", "2026-03-01T09:41:12Z"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_JOB, _UPLOAD = "job_V1StGXR8Z5jdHi6Bmyt2Lq3x", "upl_7Yc0QmZr1WbT4kPn8sVhXe2A"
_TEACHER, _DATASET = "tch_Rk2mW9sQx4LpZ7vB1cYt8HnD", "dst_Gt5hJ3kV8wNq2XrM6zPb9LcS"
_WEBHOOK, _DELIVERY = "whk_4Tn8bXw2QmZr7LpYc1VsKd9H", "whd_8sQx4LpZ7vB1cYt8HnDRk2mW"

_FILE = {
    "name": "student.pth",
    "size": 1_105_372,
    "sha256": _SHA256,
    "media_type": "application/octet-stream",
    "url": f"/jobs/{_JOB}/artifacts/student.pth",
    "created_at": _LATER,
}

_SPEC = {
    "teacher": {"type": "stored", "id": _TEACHER},
    "dataset": _DATASET,
    "student": {"type": "resnet", "depth": 20},
    "loss": [{"type": "kd", "T": 4.0, "weight": 0.9}],
    "hard": 0.1,
}

_TAKES: dict[str, Any] = {
    "seconds": {"low": 540.0, "likely": 600.0, "high": 700.0},
    "memory_bytes": {"low": 800_000_000, "likely": 900_000_000, "high": 1_100_000_000},
    "device_memory_bytes": None,
    "basis": "measured",
    "measured": 3,
    "reason": "The same work was measured in 3 jobs; rows and epochs scale it.",
}

_VIEW = {
    "id": _JOB,
    "name": "r56-to-r20",
    "labels": {"team": "vision"},
    "status": "succeeded",
    "phase": None,
    "is_terminal": True,
    "progress": {"epoch": 30, "epochs": 30, "percent": 100.0, "eta_s": 0.0},
    "queue": None,
    "attempt": 1,
    "error": None,
    "spec": _SPEC,
    "result": {
        "test": {"teacher": {"accuracy": 0.934}, "student": {"accuracy": 0.921}, "control": {"accuracy": 0.912}}
    },
    "estimate": {
        **_TAKES,
        "ran_s": 672.0,
        "ratio": 1.12,
        "within": True,
        "peak_bytes": 918_000_000,
        "memory_ratio": 1.02,
    },
    "artifacts": [_FILE],
    "created_at": _AT,
    "started_at": _AT,
    "finished_at": _LATER,
    "retry_of": None,
}

_CHECKED = {
    "status": "ready",
    "is_rechecking": False,
    "upload": _UPLOAD,
    "sha256": _SHA256,
    "size": 3_401_220,
    "created_at": _AT,
    "checked_at": _LATER,
}

_TEACHER_VIEW = {
    "id": _TEACHER,
    "name": "resnet56",
    **_CHECKED,
    "spec": {"architecture": {"type": "resnet", "depth": 56}, "accuracy": 0.934},
    "report": {
        "checks": [{"id": "file", "result": "pass", "detail": "A checkpoint of 284 tensors and nothing else"}],
        "parameters": 855_770,
    },
}

_DATASET_VIEW = {
    "id": _DATASET,
    "name": "photos",
    **_CHECKED,
    "spec": {"task": "image_classification", "format": "auto"},
    "report": {
        "checks": [{"id": "file", "result": "pass", "detail": "Class folders of 60,000 images"}],
        "counts": {"train": 45_000, "val": 5_000, "test": 10_000},
    },
}

_WEBHOOK_VIEW = {
    "id": _WEBHOOK,
    "url": "https://example.com/hook",
    "events": ["job.succeeded", "job.failed"],
    "description": "",
    "status": "enabled",
    "notice": None,
    "failing_since": None,
    "secret": None,
    "created_at": _AT,
}

_DELIVERY_VIEW = {
    "id": _DELIVERY,
    "webhook": _WEBHOOK,
    "message_id": "msg_2LqV1StGXR8Z5jdHi6Bmyt3x",
    "type": "job.succeeded",
    "data": {"id": _JOB, "status": "succeeded"},
    "status": "delivered",
    "attempts": 1,
    "next_at": None,
    "answer_status": 204,
    "answer_body": "",
    "error": None,
    "occurred_at": _LATER,
    "created_at": _LATER,
    "ended_at": _LATER,
}

_KEY_VIEW = {
    "id": "key_mW9sQx4LpZ7vB1cYt8HnDRk2",
    "owner": "vision",
    "role": "user",
    "name": "ci",
    "prefix": "dk_a1B2c3D4e5",
    "created_at": _AT,
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": _LATER,
}


def _page(view: dict[str, Any]) -> dict[str, Any]:
    return {"items": [view], "next_cursor": None}


ANSWERS: dict[str, dict[str, Any]] = {
    "JobView": _VIEW,
    "JobList": _page(_VIEW),
    "Validation": {"valid": True, "problems": [], "resolved": _SPEC, "pairs": {}, "estimate": _TAKES},
    "EventList": {
        "items": [{"seq": 1, "at": _AT, "attempt": 0, "type": "queued", "data": {}}],
        "next_after": 1,
    },
    "Metrics": {
        "points": [
            {
                "seq": 9,
                "at": _AT,
                "epoch": 1,
                "step": 352,
                "run": "student",
                "train": {"loss": 1.9},
                "val": {"loss": 1.7},
            }
        ],
        "total": 1,
    },
    "ArtifactList": _page(_FILE),
    "TeacherView": _TEACHER_VIEW,
    "TeacherList": _page(_TEACHER_VIEW),
    "DatasetView": _DATASET_VIEW,
    "DatasetList": _page(_DATASET_VIEW),
    "UploadView": {
        "id": _UPLOAD,
        "filename": "teacher.pth",
        "size": 3_412_804,
        "sha256": _SHA256,
        "created_at": _AT,
    },
    "CatalogList": {
        "items": [{"type": "kd", "title": "KD", "description": "Softened outputs", "defaults": {"T": 4.0}}]
    },
    "WebhookView": _WEBHOOK_VIEW,
    "WebhookList": _page(_WEBHOOK_VIEW),
    "DeliveryView": _DELIVERY_VIEW,
    "DeliveryList": _page(_DELIVERY_VIEW),
    "KeyMade": {**_KEY_VIEW, "last_used_at": None, "token": "dk_a1B2c3D4e5_and-43-characters-that-are-told-this-once"},
    "KeyList": _page(_KEY_VIEW),
    "Health": {"status": "ok"},
    "Readiness": {"status": "ready", "checks": {"database": "ok", "redis": "ok", "storage": "ok"}},
}

#: Of parameters of paths, whatever the route: what each is, and one.
IN_PATHS: dict[str, tuple[str, str]] = {
    "job_id": ("The job's id, as POST /jobs and GET /jobs tell it.", _JOB),
    "teacher_id": ("The teacher's id, as POST /teachers and GET /teachers tell it.", _TEACHER),
    "dataset_id": ("The data set's id, as POST /datasets and GET /datasets tell it.", _DATASET),
    "upload_id": ("The upload's id, as the answer that began or made it tells it.", _UPLOAD),
    "webhook_id": ("The endpoint's id, as POST /webhooks and GET /webhooks tell it.", _WEBHOOK),
    "delivery_id": ("The delivery's id, as GET /webhooks/{webhook_id}/deliveries tells it.", _DELIVERY),
    "key_id": ("The key's id, as POST /keys and GET /keys tell it.", "key_mW9sQx4LpZ7vB1cYt8HnDRk2"),
    "name": ("The file's name, as GET /jobs/{job_id}/artifacts lists it.", "report.json"),
}
