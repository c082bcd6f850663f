"""Who may import whom: arrows between our packages run one way; and importing does nothing but define."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "cuda_kernels": set(),
    "methods": {"cuda_kernels"},
    "baselines": {"methods.base"},
    "bench": {"methods.base", "methods.graph", "methods.layers", "methods.folding", "methods.quoting", "baselines"},
    "reports": {"bench.records", "bench.intervals", "cuda_kernels.results"},
}
ENTRY_POINTS = {  # these put the parts together
    "cuda_kernels/__main__.py": {"reports.kernels", "reports.kernel_sheets", "bench.environment"},
    "bench/load.py": {"methods.METHODS", "reports"},
    "bench/ranks/rank.py": {"methods.METHODS"},
    "bench/scale.py": {"methods.METHODS"},
}
HEAVY = {"torch", "torchvision", "numpy", "onnx", "onnxruntime"}  # libraries that drawing a report must not need
OPTIONAL = (
    "torchvision", "torchao", "torch_pruning", "torchdistill", "onnx", "onnxruntime", "onnxscript", "timm", "optuna",
    "ray",
)  # fmt: skip


def imported(source: str) -> set[str]:
    """Modules that a source text imports, by full name; `from a import b` counts as both a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def wrong_imports(package: str, source: str, also: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """Imports of ours in `source` that a module of `package` may not have; `also` are allowed besides."""
    allowed = MAY_IMPORT[package] | {package} | also
    ours = [name for name in sorted(imported(source)) if name.split(".")[0] in {*MAY_IMPORT, "run_bench", "tests"}]
    return [name for name in ours if not any(f"{name}.".startswith(f"{one}.") for one in allowed)]


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_downward(package):
    wrong = {}
    for path in sources(package):
        name = str(path.relative_to(ROOT))
        wrong[name] = wrong_imports(package, path.read_text(), ENTRY_POINTS.get(name, set()))
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize(
    ("package", "source", "wrong"),
    [
        ("methods", "import bench.records", "bench.records"),
        ("methods", "def f():\n    from baselines import training", "baselines.training"),
        ("baselines", "from methods import spectral", "methods.spectral"),
        ("bench", "from methods.spectral import DCT", "methods.spectral.DCT"),
        ("reports", "from bench import runner", "bench.runner"),
        ("cuda_kernels", "import methods.base", "methods.base"),
        ("bench", "import run_bench", "run_bench"),
    ],
)
def test_wrong_arrows_are_seen(package, source, wrong):
    assert wrong_imports(package, source) == [wrong]


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("methods", "from cuda_kernels import gemm\nimport torch"),
        ("baselines", "from methods.base import Task"),
        ("bench", "from methods.layers.spectral import SpectralLinear\nfrom baselines.data import load"),
        ("reports", "from bench.records import RunRecord"),
    ],
)
def test_right_arrows_pass(package, source):
    assert wrong_imports(package, source) == []


def test_packages_are_those_of_the_table():
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert found == set(MAY_IMPORT)


def in_fresh_interpreter(code: str, cwd: Path) -> subprocess.CompletedProcess:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.dont_write_bytecode = True\n{code}"
    command = [sys.executable, "-W", "error::SyntaxWarning", "-c", code]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def modules() -> list[str]:
    """Names of all modules of ours but the entry points, which are run and not imported."""
    paths = [path.relative_to(ROOT).with_suffix("") for package in MAY_IMPORT for path in sources(package)]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths if path.name != "__main__"]


def libraries() -> list[str]:
    """What ours import from elsewhere; these may do as they like when they are imported."""
    names = set().union(*(imported(path.read_text()) for package in MAY_IMPORT for path in sources(package)))
    return sorted(name for name in names if name.split(".")[0] not in {*MAY_IMPORT, "torchvision", "timm"})


IMPORT_ALL = """
import importlib, os, random, threading, warnings
import numpy, torch
def state():
    drawn = random.getstate(), str(numpy.random.get_state()), torch.get_rng_state().tolist()
    torchs = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    pythons = os.getcwd(), dict(os.environ), sys.path[:], list(warnings.filters), threading.active_count()
    return *pythons, *drawn, *torchs
for name in LIBRARIES:
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError):  # one that this machine lacks
        pass
before = state()
for name in NAMES:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as missing:  # only what requirements-extra.txt names may be absent
        assert missing.name in EXTRAS, missing
    now = state()
    changed = [index for index, (old, new) in enumerate(zip(before, now)) if old != new]
    assert not changed, (name, changed)
"""


def test_importing_every_module_prints_and_writes_nothing_and_changes_no_global_state(tmp_path):
    extras = re.findall(r"^(\w+)==", (ROOT / "requirements-extra.txt").read_text(), flags=re.MULTILINE)
    named = {"NAMES": modules(), "LIBRARIES": libraries(), "EXTRAS": extras}
    code = IMPORT_ALL
    for name, values in named.items():
        code = code.replace(name, repr(values))
    done = in_fresh_interpreter(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_methods_import_where_optional_libraries_are_missing(tmp_path):
    missing = f"import sys\nfor name in {OPTIONAL!r}: sys.modules[name] = None\n"
    done = in_fresh_interpreter(missing + "import methods; assert methods.METHODS", tmp_path)
    assert done.returncode == 0, done.stderr


def test_reports_need_neither_torch_nor_a_runtime(tmp_path):
    names = [name for name in modules() if name.split(".")[0] == "reports" or name == "bench.records"]
    code = "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in names)
    heavy = HEAVY - {"numpy"}  # what draws the figures brings numpy
    done = in_fresh_interpreter(f"{code}\nprint(sorted(set(sys.modules) & {heavy!r}))", tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("path", ["bench/records.py", "bench/intervals.py", "baselines/parts.py"])
def test_what_reports_share_with_the_harness_needs_the_standard_library_alone(path):
    ours = imported((ROOT / path).read_text()) - {"baselines.parts", "baselines.parts.part_of"}
    assert {name.split(".")[0] for name in ours} <= sys.stdlib_module_names
