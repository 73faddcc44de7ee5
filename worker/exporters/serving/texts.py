"""Part of student.py for texts. The exporter joins its text with the others'."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from worker.exporters.serving.figures import CLASSES, IN_SHAPE, TOKENIZER, VOCABULARY, tokenize
from worker.exporters.serving.loading import describe, load
from worker.tokenizers.framing import FIRST, LAST, framed

#: Id by token; none is listed for bytes.
IDS = {token: place for place, token in enumerate(VOCABULARY.split(" "))}


def preprocess(texts: Sequence[str]) -> Tensor:
    """Texts to token ids (N, L), filled up with 0; longer ones are cut off."""
    length = IN_SHAPE[1]
    ids = torch.zeros(len(texts), length, dtype=torch.int32)
    for row, text in enumerate(texts):
        found = list(tokenize(text.strip(), IDS, max_tokens=length - 2, **TOKENIZER))
        whole = framed(found, IDS[FIRST], IDS[LAST], length)
        ids[row, : len(whole)] = torch.tensor(whole, dtype=torch.int32)
    return ids


@torch.no_grad()
def predict(net: nn.Module, texts: Sequence[str]) -> Tensor:
    """Probabilities (N, classes)."""
    logits: Tensor = net(preprocess(texts))
    return logits.softmax(1)


def read(path: str | Path) -> list[str]:
    """The lines of a file, blank ones left out."""
    return [line for line in Path(path).read_text(encoding="utf-8-sig").split("\n") if line.strip()]


def main() -> None:
    """Describe the student, or say what it makes of each line of text files."""
    parser = argparse.ArgumentParser(description=describe.__doc__)
    parser.add_argument("weights", nargs="?", default="student.pth")
    parser.add_argument("texts", nargs="*", help="files with a text a line")
    given = parser.parse_args()
    net = load(given.weights)
    print(describe(net))
    for path in given.texts:
        for probabilities in predict(net, read(path)):
            at = int(probabilities.argmax())
            print(f"{CLASSES[at]} {float(probabilities[at]):.1%}")


if __name__ == "__main__":
    main()
