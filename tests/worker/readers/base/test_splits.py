"""Words for splits, in names and in cells."""

import pytest

from worker.readers.base.splits import TEST, TRAIN, VAL, of_name, of_word


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("adult-train.csv", TRAIN),
        ("train-images-idx3-ubyte.gz", TRAIN),
        ("x_train", TRAIN),
        ("trainset.csv", TRAIN),
        ("train2020.csv", TRAIN),
        ("t10k-images-idx3-ubyte", TEST),
        ("adult.test", TEST),
        ("Test Data.csv", TEST),
        ("validation.tsv", VAL),
        ("dev.tsv", VAL),
        ("eval_0.csv", VAL),
        ("latest.csv", None),
        ("values.csv", None),
        ("contest.csv", None),
        ("adult.data", None),
    ],
)
def test_names(name: str, split: int | None) -> None:
    assert of_name(name) == split


def test_a_word_is_taken_whole() -> None:
    assert of_word(" Train ") == TRAIN
    assert of_word("train wreck") is None
