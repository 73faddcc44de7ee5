"""The walk over a pickle: what tensors need passes, all else is refused with its name and place."""

import pickle
import struct
from collections import OrderedDict

import pytest

from core.errors import Rejected
from worker.intake.on_paper import Storage, TensorOnPaper
from worker.intake.pickle_walk import first_import, walk


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _storage(kind: bytes = b"FloatStorage", key: str = "0", numel: int = 6, tag: str = "storage") -> bytes:
    return b"(" + _text(tag) + b"ctorch\n" + kind + b"\n" + _text(key) + _text("cpu") + _number(numel) + b"tQ"


def _tensor(storage: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """The pickle of one tensor, made by hand."""
    size_stride = b"".join(b"(" + b"".join(map(_number, dims)) + b"t" for dims in (size, stride))
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = b"(" + storage + _number(offset) + size_stride + b"\x89" + hooks + b"t"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R."


def _code(data: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        walk(data, where="data.pkl")
    assert "data.pkl" in caught.value.detail
    return caught.value.code


def test_a_tensor_is_described_without_its_numbers() -> None:
    found = walk(_tensor(_storage(), 0, (2, 3), (3, 1)), where="data.pkl")
    assert found.value == TensorOnPaper(Storage("0", "FloatStorage", 6, 0, 6), (2, 3))
    assert found.storages["0"].nbytes == 24


@pytest.mark.parametrize(
    "content", [{"a": [1, 2.5, None, True, "text", (1, 2), 2**70]}, OrderedDict(a={"b": ()}), [], {3: "key"}]
)
def test_plain_values_pass(content: object) -> None:
    data = pickle.dumps(content, protocol=2)
    found = walk(data + b"rest", where="data.pkl")
    assert found.value == content
    assert found.end == len(data)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (3, 3), (3, 1)),  # larger than the storage
        (1, (2, 3), (3, 1)),  # reaches past its end
        (0, (2, 3), (100, 1)),
        (0, (1000,), (0,)),  # terabytes out of one number
        (-1, (2,), (1,)),
        (0, (-2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 3), (1,)),
        (0, (1,) * 20, (1,) * 20),
    ],
)
def test_a_tensor_outside_of_its_storage_is_damage(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
    assert _code(_tensor(_storage(), offset, size, stride)) == "pickle_damaged"


def test_a_tensor_without_elements_needs_no_storage() -> None:
    assert walk(_tensor(_storage(numel=0), 0, (0, 5), (5, 1)), where="data.pkl").value.size == (0, 5)


@pytest.mark.parametrize(
    "storage",
    [_storage(key="../../x"), _storage(key="\xe9"), _storage(numel=-1), _storage(key="")],
    ids=["path", "accent", "negative", "empty"],
)
def test_storages_that_make_no_sense_are_damage(storage: bytes) -> None:
    assert _code(_tensor(storage, 0, (1,), (1,))) == "pickle_damaged"


def test_one_storage_has_one_description() -> None:
    both = b"\x80\x02(" + _storage(numel=6) + _storage(numel=7) + b"l."
    assert _code(both.replace(b"l.", b"t.")) == "pickle_damaged"


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02cbuiltins\neval\n.",
        b"\x80\x02ctorch\nload\n.",
        b"\x80\x02ctorch._utils\n_rebuild_sparse_tensor\n.",
        b"\x80\x02ctorch\nComplexFloatStorage\n.",
        b"\x80\x02ccollections\nCounter\n.",
        b"\x80\x02ccollections\nOrderedDict.fromkeys\n.",
        b"\x80\x02ccollections.OrderedDict\nfromkeys\n.",
        b"\x80\x02" + _storage(tag="module") + b".",
        # calls of what is no function of tensors
        b"\x80\x02ctorch\nFloatStorage\n)R.",
        b"\x80\x02X\x01\x00\x00\x00a)R.",
        # state for something that is no state_dict
        b"\x80\x02]}b.",
        b"\x80\x02}}X\x07\x00\x00\x00__class]sb.",
    ],
)
def test_anything_that_could_be_code_is_refused(data: bytes) -> None:
    assert _code(data) in ("pickle_code", "pickle_opcode")


@pytest.mark.parametrize(
    "opcode", [b"\x81", b"(i__main__\nX\n", b"(c__main__\nX\no", b"\x82\x01", b"\x8c\x01a\x8c\x01b\x93"]
)
def test_opcodes_that_make_objects_are_refused(opcode: bytes) -> None:
    assert _code(b"\x80\x02))" + opcode + b".") in ("pickle_opcode", "pickle_code")


@pytest.mark.parametrize("protocol", [0, 3, 4, 5])
def test_another_protocol_is_named(protocol: int) -> None:
    with pytest.raises(Rejected, match=r"protocol|opcode"):
        walk(pickle.dumps({"a": [1, "b"]}, protocol), where="data.pkl")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02}",
        b"\x80\x02h\x05.",
        b"\x80\x02t.",
        b"\x80\x02\x86.",
        b"\x80\x02}K\x01]s",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02ctorch\n\xff\n.",
        b"\x80\x02Q.",
        b"\x80\x02ctor\\/ch\nx\n.",
        b"\xff\xff\xff",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02}]K\x01s.",
        b"\x80\x02]K\x01K\x02s.",
    ],
)
def test_damage_is_called_damage(data: bytes) -> None:
    assert _code(data) == "pickle_damaged"


def test_the_place_counts_from_the_start_of_the_file() -> None:
    with pytest.raises(Rejected, match=r"'os.system'.*byte 1,002"):
        walk(b"\x80\x02cos\nsystem\n.", where="it", offset=1000)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_imports_are_found_in_every_protocol(protocol: int) -> None:
    found = first_import(pickle.dumps(pickle.loads, protocol))
    assert found is not None
    assert found[0] in ("_pickle.loads", "pickle.loads")  # protocol 2 and before speak Python 2


def test_no_import_in_plain_values_and_in_noise() -> None:
    assert first_import(pickle.dumps({"a": [1]})) is None
    assert first_import(b"noise") is None
