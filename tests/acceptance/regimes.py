"""A small job for each way of teaching."""

from typing import Any

from tests.acceptance.teachers import CONV

Json = dict[str, Any]

STUDENT: Json = {"type": "mlp", "hidden": [24, 12]}
PEER: Json = {"type": "mlp", "hidden": [20, 10]}
KD: Json = {"type": "kd", "T": 2}
TRAIN: Json = {"epochs": 4, "batch_size": 64, "optimizer": {"type": "adam", "lr": 0.01}}

#: The architectures of what is handed out beside the student, by job.
STAGES: dict[str, dict[str, Json]] = {
    "assistants": {"assistant_1": CONV, "assistant_2": PEER},
    "generations": {"generation_1": STUDENT, "generation_2": STUDENT},
    "generations after a teacher": {"generation_1": STUDENT},
    "peers": {"peer_1": PEER, "peer_2": CONV},
}


def jobs(ids: dict[str, str]) -> dict[str, Json]:
    """The bodies of all of them."""
    base = {"teacher": ids["wide"], "dataset": ids["digits"], "student": STUDENT, "loss": KD, "train": TRAIN}
    return {name: {**base, **changes} for name, changes in _changes(ids).items()}


def _changes(ids: dict[str, str]) -> dict[str, Json]:
    """What each job changes of one that a stored teacher teaches by kd."""
    wide, graph = {"type": "stored", "id": ids["wide"]}, {"type": "stored", "id": ids["graph"]}
    given = {"type": "outputs", "dataset": ids["given"], "classes": "by_name"}
    return {
        "stored": {},
        "mapped by name": {"teacher": {"type": "stored", "id": ids["more"], "classes": "by_name"}},
        "mapped by hand": {"teacher": {"type": "stored", "id": ids["few"], "classes": {"1": "one", "7": "seven"}}},
        "another task": {"teacher": ids["parity"], "loss": [{"type": "similarity"}, {"type": "hint"}]},
        "ensemble": {
            "teacher": {"type": "ensemble", "teachers": [wide, graph, ids["conv"]], "combine": "entropy"},
            "loss": [KD, {"type": "hint", "teacher": ids["conv"]}, {"type": "rkd", "teacher": ids["wide"]}],
        },
        "given": {"teacher": given},
        "ensemble with given": {
            "teacher": {"type": "ensemble", "teachers": [graph, given], "combine": "weights", "weights": [1, 3]}
        },
        "few labels": {"teacher": ids["conv"], "dataset": ids["few labels"]},
        "no labels": {"teacher": ids["conv"], "dataset": ids["no labels"]},
        "assistants": {
            "teacher": ids["wide"],
            "assistants": [
                {"student": CONV},
                {"student": PEER, "loss": {"type": "hint"}, "train": {**TRAIN, "epochs": 3}},
            ],
        },
        "generations": {"teacher": {"type": "born_again", "generations": 3}},
        "generations after a teacher": {"teacher": {"type": "born_again", "generations": 2, "teacher": ids["wide"]}},
        "snapshot": {"teacher": {"type": "snapshot", "every": 2}},
        "ema": {"teacher": {"type": "ema", "decay": 0.9}, "loss": {"type": "logits_mse"}},
        "peers": {"teacher": {"type": "peers", "students": [PEER, CONV]}},
        "branches": {"teacher": {"type": "branches"}},
    }


HANDED_IN = ["wide", "conv", "graph", "more", "few", "parity", "given", "digits", "few labels", "no labels"]
NAMES = list(jobs(dict.fromkeys(HANDED_IN, "")))
