"""The worked examples of the docs page: bodies of POST /jobs, of every way of teaching, /teachers and /datasets.

Ids end in a digit: `tch_1`, `dst_1` ... stand for whatever there is; see api/filling.py.
"""

from fastapi.openapi.models import Example

JOBS: dict[str, Example] = {
    "smallest": {
        "summary": "The smallest job: one loss",
        "description": "Everything else is a default: 30 epochs, 0.1 of the label loss, a control without a teacher.",
        "value": {
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 4},
        },
    },
    "kd_and_similarity": {
        "summary": "Two weighted losses, and the training said in full",
        "value": {
            "name": "kd and similarity",
            "labels": {"team": "vision"},
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 14},
            "loss": [{"type": "kd", "T": 4, "weight": 0.9}, {"type": "similarity", "weight": 0.5}],
            "hard": 0.1,
            "train": {
                "epochs": 20,
                "batch_size": 64,
                "optimizer": {"type": "sgd", "lr": 0.05},
                "schedule": {"type": "cosine", "warmup_epochs": 1},
                "seed": 0,
            },
            "export": ["pth"],
            "limits": {"max_seconds": 7200, "max_attempts": 3},
        },
    },
    "hint_with_taps": {
        "summary": "Features: the student's last stage learns from the teacher's",
        "description": "The report of a teacher lists its points; a wrong name is answered with the right ones.",
        "value": {
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": [{"type": "hint", "taps": [{"student": "layer3", "teacher": "layer3"}]}, {"type": "kd", "T": 4}],
        },
    },
    "tabular": {
        "summary": "A table: a small perceptron learns from a large one",
        "value": {
            "name": "small mlp",
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "mlp", "hidden": [64, 32]},
            "loss": {"type": "logits_mse"},
            "train": {"epochs": 20, "optimizer": {"type": "adam", "lr": 0.001}},
        },
    },
    "texts": {
        "summary": "Texts: a bag of words learns from a BERT",
        "value": {
            "name": "small and fast",
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "bag", "embedding": 64},
            "loss": {"type": "kd", "T": 2},
            "train": {"epochs": 20, "optimizer": {"type": "adam", "lr": 0.003}},
        },
    },
    "ensemble": {
        "summary": "Two teachers: their outputs together, and the features of one of them",
        "description": "A loss that names its `teacher` listens to that one; the others hear the combination.",
        "value": {
            "teacher": {"type": "ensemble", "teachers": ["tch_1", "tch_2"], "combine": "entropy"},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": [{"type": "kd", "T": 4}, {"type": "hint", "teacher": "tch_1", "weight": 0.5}],
        },
    },
    "outputs": {
        "summary": "A teacher that cannot be handed in: the outputs that it gave",
        "description": "They are a data set of task `teacher_outputs`. Rows without any are trained by their labels.",
        "value": {
            "teacher": {"type": "outputs", "dataset": "dst_2"},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 4},
        },
    },
    "class_map": {
        "summary": "A teacher of other classes: those that both have by name",
        "value": {
            "teacher": {"type": "stored", "id": "tch_1", "classes": "by_name"},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 4},
            "hard": 0.5,
        },
    },
    "assistant": {
        "summary": "An assistant between a large teacher and a small student",
        "description": "What an assistant leaves out is the job's own. Each is handed out beside the student.",
        "value": {
            "teacher": "tch_1",
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "assistants": [{"student": {"type": "resnet", "depth": 14}}],
            "loss": {"type": "kd", "T": 4},
        },
    },
    "born_again": {
        "summary": "Generations: each student teaches the next",
        "value": {
            "teacher": {"type": "born_again", "generations": 3, "teacher": "tch_1"},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 2},
            "hard": 0.5,
        },
    },
    "snapshot": {
        "summary": "No teacher: the student as it was some epochs ago",
        "value": {
            "teacher": {"type": "snapshot", "every": 5},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 2},
        },
    },
    "ema": {
        "summary": "No teacher: a running average of the student",
        "value": {
            "teacher": {"type": "ema", "decay": 0.999},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 2},
        },
    },
    "peers": {
        "summary": "No teacher: students that teach each other",
        "value": {
            "teacher": {"type": "peers", "students": [{"type": "resnet", "depth": 14}]},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 1},
        },
    },
    "branches": {
        "summary": "No teacher: the last layers teach the stages before them",
        "value": {
            "teacher": {"type": "branches"},
            "dataset": "dst_1",
            "student": {"type": "resnet", "depth": 8},
            "loss": {"type": "kd", "T": 3},
        },
    },
}

TEACHERS: dict[str, Example] = {
    "state_dict": {
        "summary": "A checkpoint of a network on the menu",
        "value": {
            "name": "resnet20",
            "upload": "upl_1",
            "architecture": {"type": "resnet", "depth": 20},
            "accuracy": 0.92,
        },
    },
    "timm": {
        "summary": "A checkpoint of a timm model, with foreign key names",
        "value": {
            "name": "resnet18",
            "upload": "upl_1",
            "architecture": {"type": "timm", "name": "resnet18"},
            "input": {"preset": "imagenet", "size": [224, 224]},
            "rename": [["^backbone\\.", ""]],
        },
    },
    "onnx": {
        "summary": "An ONNX graph of any make",
        "value": {
            "name": "graph",
            "upload": "upl_1",
            "architecture": {"type": "onnx"},
            "input": {"layout": "NCHW", "range": [0, 1], "mean": [0.5], "std": [0.5]},
        },
    },
    "bert": {
        "summary": "A checkpoint of a BERT with a classifier",
        "description": "Its vocabulary comes with the data set: a `vocab.txt` packed with the table.",
        "value": {
            "name": "bert-base",
            "upload": "upl_1",
            "architecture": {"type": "bert", "layers": 12, "hidden": 768},
        },
    },
    "mlp": {
        "summary": "A perceptron for a table",
        "value": {"name": "mlp", "upload": "upl_1", "architecture": {"type": "mlp", "hidden": [256, 128]}},
    },
}

DATASETS: dict[str, Example] = {
    "images": {
        "summary": "Images: class folders, arrays or IDX files, told by their content",
        "value": {"name": "photos", "upload": "upl_1", "task": "image_classification"},
    },
    "sounds": {
        "summary": "Sounds: class folders of WAV files",
        "description": "Each becomes a log-mel spectrogram; what `audio` leaves out is a default or found by looking.",
        "value": {
            "name": "commands",
            "upload": "upl_1",
            "task": "audio_classification",
            "audio": {"seconds": 1.0, "n_mels": 40},
        },
    },
    "table": {
        "summary": "A table with a named target",
        "value": {
            "name": "adult",
            "upload": "upl_1",
            "task": "tabular_classification",
            "format": "csv",
            "table": {"target": "income"},
            "split": {"val": 0.1, "test": 0.2, "seed": 0},
        },
    },
    "texts": {
        "summary": "Texts and their classes, a row each",
        "description": "With `wordpiece`, the upload is a zip of the table and of the vocabulary, `vocab.txt`.",
        "value": {
            "name": "news",
            "upload": "upl_1",
            "task": "text_classification",
            "table": {"target": "label"},
            "text": {"column": "text", "max_length": 64, "tokenizer": {"type": "words", "size": 10000}},
        },
    },
    "regression": {
        "summary": "A number to predict",
        "value": {
            "name": "houses",
            "upload": "upl_1",
            "task": "tabular_regression",
            "table": {"target": "price"},
        },
    },
    "partly_labelled": {
        "summary": "Images of which some have a label",
        "description": "Pictures in a folder `unlabelled` have none: the teacher alone says what they are.",
        "value": {"name": "photos", "upload": "upl_1", "task": "image_classification", "labels": "partial"},
    },
    "teacher_outputs": {
        "summary": "What a teacher said of rows of another data set",
        "description": 'A job names it in `teacher`: {"type": "outputs", "dataset": ...}.',
        "value": {"name": "said by a service", "upload": "upl_1", "task": "teacher_outputs"},
    },
}

RETRIES: dict[str, Example] = {
    "start": {"summary": "From the start", "value": {"from": "start"}},
    "checkpoint": {"summary": "From the last checkpoint", "value": {"from": "checkpoint"}},
}

WEBHOOKS: dict[str, Example] = {
    "ends": {
        "summary": "Told when jobs end",
        "value": {
            "url": "https://example.com/distillery",
            "events": ["job.succeeded", "job.failed", "job.cancelled"],
            "description": "the release pipeline",
        },
    },
    "verdicts": {
        "summary": "Told of the verdict on teachers and data sets",
        "value": {
            "url": "https://example.com/distillery",
            "events": ["teacher.ready", "teacher.rejected", "dataset.ready", "dataset.rejected"],
        },
    },
}

WEBHOOK_CHANGES: dict[str, Example] = {
    "enable": {"summary": "Serve it again", "value": {"status": "enabled"}},
    "events": {"summary": "Other events", "value": {"events": ["job.succeeded", "job.failed"]}},
}
