"""One uploaded teacher, start to verdict: what it is, whether it fits what the user says of it, and its canonical form.

A checkpoint for an architecture of the menu becomes out/teacher.safetensors, an ONNX graph out/teacher.onnx.
"""

from pathlib import Path

import safetensors.torch
import torch

from core.errors import Problem, Rejected
from models.canonical import TeacherMeta
from models.spec.students import Onnx, Student, Timm
from models.spec.teachers import TeacherSpec
from models.work import IntakeOrder, IntakeResult
from worker.engine.networks import count_flops, count_parameters
from worker.intake import checkpoint, keys, preset
from worker.intake.fit import Fitted, fit
from worker.intake.keys import Named
from worker.intake.onnx_fit import FILE as ONNX_FILE
from worker.intake.onnx_fit import convert_graph
from worker.intake.report import Report
from worker.intake.sniff import Container, sniff
from worker.intake.timm_facts import timm_facts

FILE = "teacher.safetensors"


def convert(order: IntakeOrder, workdir: Path) -> IntakeResult:
    """The verdict on WORKDIR/upload; where it is good, the canonical file lies in WORKDIR/out."""
    spec = TeacherSpec.model_validate(order.spec)
    report = Report()
    try:
        container = sniff(workdir / "upload")
        report.passed("container", f"the file is of the form: {container}")
        if isinstance(spec.architecture, Onnx):
            _need(container is Container.ONNX, "onnx", container)
            meta = convert_graph(workdir / "upload", spec, workdir / "out", report)
            file = ONNX_FILE
        else:
            _need(container is not Container.ONNX, spec.architecture.type, container)
            meta = _convert_checkpoint(workdir, container, spec, spec.architecture, report)
            file = FILE
        _check_classes(spec, meta)
    except Rejected as error:
        return report.rejected(error)
    report.figures |= _figures(meta)
    return report.accepted(meta, file)


def _need(fits: bool, architecture: str, container: Container) -> None:
    if not fits:
        message = f"the architecture {architecture} does not go with a file of the form: {container}"
        raise Rejected(
            f"{message[0].upper()}{message[1:]}. Name the one that the weights belong to, or upload the graph.",
            code="wrong_container",
            errors=[Problem("/architecture", message)],
        )


def _convert_checkpoint(
    workdir: Path, container: Container, spec: TeacherSpec, architecture: Student, report: Report
) -> TeacherMeta:
    named = _name(workdir / "upload", container, spec, report)
    _check_weights(named, report)
    facts = timm_facts(architecture) if isinstance(architecture, Timm) else None
    sizes = [size for size in (spec.input.size, facts.size if facts else None) if size]
    fitted = fit(architecture, named.weights, sizes, report)
    report.passed("fit", f"all {len(named.weights):,} tensors fit the architecture, by name and by shape")
    report.passed("forward", f"{fitted.num_outputs} scores a sample for input of {list(fitted.in_shape)}, all finite")
    report.figures |= {"stages": fitted.network.stages, "probed_with": list(fitted.in_shape)}
    meta = _describe(fitted, spec, (facts.mean, facts.std) if facts else None)
    state = {name: tensor.clone().contiguous() for name, tensor in fitted.network.module.state_dict().items()}
    # Not save_file: it goes by the absolute path, which the child may not be allowed to walk.
    (workdir / "out" / FILE).write_bytes(safetensors.torch.save(state))
    return meta


def _name(upload: Path, container: Container, spec: TeacherSpec, report: Report) -> Named:
    """The weights under names that the architecture may know."""
    named = keys.unwrap(checkpoint.read(upload, container))
    report.passed("content", "only tensors, numbers and text; nothing in it can run")
    checkpoint.check_tensors(named.weights)
    keys.strip_prefixes(named)
    keys.rename(named, spec.rename)
    report.passed("names", _how_named(named))
    report.figures |= {
        "wrapper": named.wrapper,
        "ignored": named.ignored[:200],
        "stripped": named.stripped,
        "renamed": dict(list(named.renamed.items())[:200]),
    }
    return named


def _how_named(named: Named) -> str:
    parts = [f"{len(named.weights):,} tensors"]
    if named.wrapper:
        parts.append(f"taken from {named.wrapper!r}")
    if named.ignored:
        more = ", ..." if len(named.ignored) > 5 else ""
        parts.append(f"ignored: {', '.join(named.ignored[:5])}{more}")
    if named.stripped:
        parts.append(f"prefix taken off: {', '.join(named.stripped)}")
    if named.renamed:
        parts.append(f"{len(named.renamed):,} renamed")
    return "; ".join(parts)


def _check_weights(named: Named, report: Report) -> None:
    """Count what is not finite; whether it does harm, the forward pass says."""
    counts = {
        name: int((~torch.isfinite(tensor)).sum())
        for name, tensor in named.weights.items()
        if tensor.is_floating_point()
    }
    bad = {name: count for name, count in counts.items() if count}
    report.figures["non_finite"] = sum(bad.values())
    if bad:
        names = ", ".join(list(bad)[:3])
        report.warn("finite", f"{sum(bad.values()):,} numbers in {len(bad)} tensors are NaN or infinite ({names})")
    else:
        report.passed("finite", "all numbers are finite")


def _describe(fitted: Fitted, spec: TeacherSpec, own: preset.Figures | None) -> TeacherMeta:
    if spec.outputs == "probabilities":
        message = "an architecture of the menu ends in a linear layer and gives logits; only a graph can end in softmax"
        raise Rejected(f"outputs: {message}.", code="bad_outputs", errors=[Problem("/outputs", message)])
    is_image = len(fitted.in_shape) == 3
    wanted = preset.resolve(spec.input, fitted.in_shape[0] if is_image else None, (lambda: own) if own else None)
    if wanted.layout == "NHWC":
        message = "networks of the menu take NCHW; NHWC is for graphs"
        raise Rejected(f"input.layout: {message}.", code="bad_input", errors=[Problem("/input/layout", message)])
    fixed_size = (fitted.in_shape[1], fitted.in_shape[2]) if is_image and not fitted.any_size else None
    size = wanted.size or fixed_size or _timm_size(spec, own, fitted)
    module = fitted.network.module
    auto = "values" if fitted.num_outputs == 1 else "logits"
    return TeacherMeta(
        architecture=spec.architecture,
        input=wanted.model_copy(update={"size": size}),
        input_shape=(fitted.in_shape[0], *(-1 for _ in fitted.in_shape[1:])) if fitted.any_size else fitted.in_shape,
        num_outputs=fitted.num_outputs,
        output_kind=auto if spec.outputs == "auto" else spec.outputs,
        taps=fitted.taps,
        parameters=count_parameters(module),
        flops=count_flops(module, fitted.in_shape),
        classes=spec.classes or [],
        accuracy=spec.accuracy,
    )


def _timm_size(spec: TeacherSpec, own: preset.Figures | None, fitted: Fitted) -> tuple[int, int] | None:
    """The preset `timm` stands for the whole of timm's own input, its size included."""
    return (fitted.in_shape[1], fitted.in_shape[2]) if own and spec.input.preset == "timm" else None


def _check_classes(spec: TeacherSpec, meta: TeacherMeta) -> None:
    if spec.classes is not None and len(spec.classes) != meta.num_outputs:
        message = f"{len(spec.classes)} class names are given, the teacher has {meta.num_outputs} outputs"
        raise Rejected(f"classes: {message}.", code="class_count", errors=[Problem("/classes", message)])


def _figures(meta: TeacherMeta) -> dict[str, object]:
    """What the user wants to see of an accepted teacher."""
    return {
        "parameters": meta.parameters,
        "flops": meta.flops,
        "input_shape": list(meta.input_shape),
        "input": meta.input.model_dump(mode="json"),
        "outputs": meta.num_outputs,
        "output_kind": meta.output_kind,
        "classes": meta.classes,
        "taps": [tap.model_dump() for tap in meta.taps],
    }
