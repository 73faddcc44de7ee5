"""Any architecture of the timm library, by name and without its weights.

Wightman 2019, PyTorch Image Models. The one family that is not our own: a student of it is loaded with
`timm.create_model(**arguments(...))`, so no source is shipped with it.
"""

import difflib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

from worker.students import _torchvision


def arguments(in_shape: tuple[int, ...], num_outputs: int, *, name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What `timm.create_model` is called with. The image size is said to architectures that are made for one size."""
    timm = _timm()
    _refuse_unknown(timm, name)
    if len(in_shape) != 3:
        raise ValueError(f"timm takes images (channels, height, width), the data has {list(in_shape)}")
    channels, *size = in_shape
    sized = {"img_size": tuple(size)} if timm.models.get_pretrained_cfg(name).fixed_input_size else {}
    return {"model_name": name, "num_classes": num_outputs, "in_chans": channels, **sized, **kwargs}


def build(in_shape: tuple[int, ...], num_outputs: int, *, name: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """The network for images of `in_shape` (channels, height, width), with fresh weights."""
    chosen = arguments(in_shape, num_outputs, name=name, kwargs=kwargs)
    timm = _timm()
    try:
        net: nn.Module = timm.create_model(**chosen)
    except Exception as error:  # The user's kwargs reach code of any kind, which answers with any kind of exception.
        said = ", ".join(f"{key}={value!r}" for key, value in chosen.items() if key != "model_name")
        raise ValueError(f"timm cannot make {name} with {said}: {type(error).__name__}: {error}", "kwargs") from error
    _refuse_cut_off_edges(timm, net, in_shape)
    return net


def head(net: nn.Module) -> str:
    """Path of the last linear layer."""
    known: Any = net.default_cfg
    path: str | None = _first(known["classifier"])
    if path is None or path not in dict(net.named_modules()):
        raise ValueError("timm does not say which layer is this network's classifier: choose another one", "name")
    return path


def stages(net: nn.Module) -> list[str]:
    """Paths of the modules that timm lists as the network's feature levels."""
    modules = dict(net.named_modules())
    levels = [level["module"] for level in getattr(net, "feature_info", [])]
    return [path for path in dict.fromkeys(levels) if path in modules]


def infer(shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> tuple[int, int]:
    """Input channels and outputs, off a state_dict's shapes."""
    timm = _timm()
    _refuse_unknown(timm, config["name"])
    known = timm.models.get_pretrained_cfg(config["name"])
    outputs = shapes[f"{_first(known.classifier)}.weight"][0]
    return _channels(timm, known, shapes), outputs


def _timm() -> ModuleType:
    _torchvision.make_importable()
    import timm

    return timm


def _refuse_unknown(timm: ModuleType, name: str) -> None:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise ValueError(f"timm {timm.__version__} has no architecture {name!r}{hint}", "name")


def _refuse_cut_off_edges(timm: ModuleType, net: nn.Module, in_shape: tuple[int, ...]) -> None:
    """A patch embedding takes whole patches and would drop the rest of the image without a word."""
    embed = getattr(net, "patch_embed", None)
    if not isinstance(embed, timm.layers.PatchEmbed) or embed.dynamic_img_pad:
        return
    (height, width), (down, across) = in_shape[1:], embed.patch_size
    if height % down or width % across:
        raise ValueError(
            f"this network cuts images into patches of {down}x{across}, which do not cover {height}x{width}: "
            "set patch_size in kwargs to a number that divides both",
            "kwargs",
        )


def _channels(timm: ModuleType, known: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    usual: int = known.input_size[0]
    stem = f"{_first(known.first_conv)}.weight"
    shape = shapes.get(stem, ())
    if len(shape) != 4:
        # The few that begin with no convolution do not show their channels.
        return usual
    if shape[1] in {1, usual}:
        return shape[1]
    # Some fold patches of the image into channels before they convolve.
    with torch.device("meta"):
        folded: int = timm.create_model(known.architecture).get_parameter(stem).shape[1]
    return shape[1] * usual // folded


def _first(path: Any) -> Any:
    """Networks with two classifiers, or two stems, name both."""
    return path if isinstance(path, str) or not path else path[0]
