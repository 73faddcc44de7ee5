"""BERT, by derivations of other people: torch's own encoder layer, and the sizes that were published."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.spec.losses.structure import MiniLM
from models.spec.losses.term import TapPair
from models.spec.text_students import Bag, Bert
from worker.engine.networks import Network, build_network, count_flops, count_parameters, evaluating, family
from worker.engine.noise import noise
from worker.engine.outputs import Batch
from worker.engine.taps import Tapped
from worker.losses.minilm import MiniLM as MiniLMLoss

VOCABULARY, LENGTH, CLASSES = 50, 11, 3
SMALL: dict[str, Any] = {"layers": 2, "hidden": 24, "heads": 3, "intermediate": 40, "max_positions": 16}


def made(**fields: Any) -> Network:
    torch.manual_seed(0)
    network = build_network(Bert(**{**SMALL, **fields}), (VOCABULARY, LENGTH), CLASSES)
    for parameter in network.module.parameters():  # biases and norms say nothing as they start
        nn.init.normal_(parameter, std=0.3)
    return network


def texts() -> Tensor:
    """(4, LENGTH): of lengths 11, 8, 2 and 1."""
    ids = noise(4, (VOCABULARY, LENGTH))
    for row, length in enumerate((11, 8, 2, 1)):
        ids[row, length:] = 0
    return ids


def by_torch(state: dict[str, Tensor], ids: Tensor) -> Tensor:
    """The same from torch's post-norm encoder layer, weights put where that wants them, in float64."""
    state = {name: tensor.double() for name, tensor in state.items()}
    start = "bert.embeddings."
    x = state[f"{start}word_embeddings.weight"][ids.long()] + state[f"{start}position_embeddings.weight"][:LENGTH]
    x = x + state[f"{start}token_type_embeddings.weight"][0]
    x = F.layer_norm(x, x.shape[-1:], state[f"{start}LayerNorm.weight"], state[f"{start}LayerNorm.bias"], 1e-12)
    for at in range(SMALL["layers"]):
        layer = nn.TransformerEncoderLayer(
            24, 3, 40, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True, dtype=torch.float64
        )
        path = f"bert.encoder.layer.{at}."
        three = [f"{path}attention.self.{name}" for name in ("query", "key", "value")]
        mapped = {
            "self_attn.in_proj_weight": torch.cat([state[f"{name}.weight"] for name in three]),
            "self_attn.in_proj_bias": torch.cat([state[f"{name}.bias"] for name in three]),
        }
        for ours, theirs in (
            ("attention.output.dense", "self_attn.out_proj"),
            ("attention.output.LayerNorm", "norm1"),
            ("intermediate.dense", "linear1"),
            ("output.dense", "linear2"),
            ("output.LayerNorm", "norm2"),
        ):
            mapped |= {f"{theirs}.{kind}": state[f"{path}{ours}.{kind}"] for kind in ("weight", "bias")}
        layer.load_state_dict(mapped)
        x = layer(x, src_key_padding_mask=ids == 0)
    pooled = torch.tanh(F.linear(x[:, 0], state["bert.pooler.dense.weight"], state["bert.pooler.dense.bias"]))
    return F.linear(pooled, state["classifier.weight"], state["classifier.bias"])


def test_it_computes_what_torchs_own_layers_do() -> None:
    network, ids = made(), texts()
    with evaluating(network.module):
        torch.testing.assert_close(
            network.module.double()(ids), by_torch(dict(network.module.state_dict()), ids), rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize(
    ("layers", "hidden", "vocabulary", "classes", "expected"),
    [
        (12, 768, 30522, 2, 109_483_778),  # bert-base-uncased, as transformers counts it
        (24, 1024, 30522, 2, 335_143_938),  # bert-large-uncased
        (2, 128, 30522, 2, 4_386_178),  # bert-tiny
    ],
)
def test_its_sizes_are_the_published_ones(
    layers: int, hidden: int, vocabulary: int, classes: int, expected: int
) -> None:
    with torch.device("meta"):
        net = family("bert").build((vocabulary, 128), classes, layers=layers, hidden=hidden)
    assert count_parameters(net) == expected


def test_its_names_are_those_of_hugging_face() -> None:
    names = set(made(layers=1).module.state_dict())
    layer = "bert.encoder.layer.0."
    parts = [f"bert.embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")]
    pairs = ["bert.embeddings.LayerNorm", "bert.pooler.dense", "classifier"]
    pairs += [f"{layer}attention.self.{name}" for name in ("query", "key", "value")]
    pairs += [f"{layer}{name}" for name in ("attention.output.dense", "attention.output.LayerNorm")]
    pairs += [f"{layer}{name}" for name in ("intermediate.dense", "output.dense", "output.LayerNorm")]
    assert names == {*parts, *(f"{name}.{kind}" for name in pairs for kind in ("weight", "bias"))}


def test_padding_says_nothing() -> None:
    network, ids = made(), texts()
    with evaluating(network.module):
        whole = network.module(ids)
        for row, length in enumerate((11, 8, 2, 1)):
            torch.testing.assert_close(network.module(ids[row : row + 1, :length]), whole[row : row + 1])


def test_a_bag_does_not_count_padding_and_an_empty_one_is_finite() -> None:
    torch.manual_seed(0)
    net, ids = build_network(Bag(embedding=5), (VOCABULARY, LENGTH), CLASSES).module, texts()
    with evaluating(net):
        torch.testing.assert_close(net(ids)[2:3], net(ids[2:3, :2]))
        assert net(torch.zeros_like(ids)).isfinite().all()


def test_whole_numbers_of_any_width_give_the_same() -> None:
    network, ids = made(), texts()
    with evaluating(network.module):
        assert torch.equal(network.module(ids), network.module(ids.long()))


def test_queries_keys_and_values_can_be_read_as_minilm_wants_them() -> None:
    network, ids, name = made(), texts(), "bert.encoder.layer.1.attention.self.joined"
    with evaluating(network.module):
        tapped = Tapped(network, [name, "bert.encoder.layer.0"])
        said = tapped(ids)
        tapped.close()
    found, before = said.features[name], said.features["bert.encoder.layer.0"]
    own = network.module.get_submodule("bert.encoder.layer.1.attention.self")
    separate = [own.get_submodule(part)(before) for part in ("query", "key", "value")]
    torch.testing.assert_close(found, torch.cat(separate, 2))
    term = MiniLMLoss(MiniLM(taps=[TapPair(student=name, teacher=name)], heads=3), said, said)
    assert float(term(said, said, Batch(torch.zeros(4).long(), torch.arange(4)))) == pytest.approx(0, abs=1e-6)


def test_operations_are_those_of_its_products() -> None:
    hidden, wide, length = 24, 40, LENGTH
    a_token = 2 * (4 * hidden * hidden + 2 * hidden * wide) + 2 * 2 * length * hidden
    expected = 2 * length * a_token + 2 * hidden * hidden + 2 * hidden * CLASSES
    assert count_flops(made().module, (VOCABULARY, LENGTH)) == expected


def test_weights_start_as_the_paper_says() -> None:
    torch.manual_seed(0)
    state = build_network(Bert(layers=1, hidden=256), (3000, 8), 2).module.state_dict()
    table = state["bert.embeddings.word_embeddings.weight"]
    assert not table[0].any()
    assert float(table[1:].std()) == pytest.approx(0.02, rel=0.01)
    assert not state["classifier.bias"].any()
    bound = 4 * 0.02 / math.sqrt(256 * 256)
    assert abs(float(state["bert.pooler.dense.weight"].mean())) < bound
