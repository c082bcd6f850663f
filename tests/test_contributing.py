"""The method that CONTRIBUTING walks through keeps the contract, and what it says of commands and tables holds."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest
import torch

from bench.grammar import parse_chains
from methods import METHODS
from methods.base import Pipeline
from methods.layers import weights
from methods.quantization import PTQ
from tests.contract import LAWS, Spy, breach, network, trial

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

TABLES = re.findall(r"^\| .*?\| `([A-Z]+)` in \[[^\]]*\]\(([\w/]+)\.py\)", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def threshold(tmp_path_factory):
    """The page's class, imported from a file as its reader would write it."""
    (source,) = re.findall(r"^```python\n# methods/threshold\.py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    folder = tmp_path_factory.mktemp("methods")
    (folder / "threshold_of_the_page.py").write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return importlib.import_module("threshold_of_the_page").Threshold


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("chain", ["alone", "before ptq"])
def test_the_method_of_the_page_keeps_every_law(threshold, chain, law):
    method = threshold() if chain == "alone" else Pipeline((threshold(), PTQ()))
    assert breach(law, trial(method)) == ""


def test_it_does_what_it_says(threshold):
    before = {path: getattr(layer, name) for path, layer, name in weights(network())}
    result = threshold(fraction=0.5).compress(network(), Spy().task())
    for path, layer, name in weights(result):
        large = before[path].abs() >= 0.5 * before[path].abs().max()
        assert torch.equal(getattr(layer, name) != 0, large)
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\), got 1.5: pass"):
        threshold(fraction=1.5)


def test_the_command_line_knows_it_by_its_line_in_the_table(threshold):
    (line,) = re.findall(r'`("threshold": Threshold)`', PAGE)
    (chain, other) = parse_chains(
        "threshold:fraction=0.2+ptq,prune", {**METHODS, **eval(f"{{{line}}}", {"Threshold": threshold})}
    )
    assert chain.stages[0].method == threshold(fraction=0.2)
    assert other.stages[0].name == "prune"
    with pytest.raises(ValueError, match="cannot follow"):
        Pipeline((PTQ(), threshold()))


def test_targets_of_make_and_modules_that_the_page_names_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^ {4}make (\w+)", PAGE, flags=re.MULTILINE))
    assert targets == {"setup", "check", "docs", "format"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)
    assert importlib.util.find_spec("bench.publish")


@pytest.mark.parametrize(
    ("table", "module"), re.findall(r"^\| .*?\| `([A-Z]+)` in \[[^\]]*\]\(([\w/]+)\.py\)", PAGE, re.MULTILINE)
)
def test_tables_are_where_the_page_says(table, module):
    module = module.replace("/", ".").removesuffix(".__init__")
    assert len(getattr(importlib.import_module(module), table)) > 1


def test_the_page_names_all_tables():
    assert {table for table, _ in TABLES} == {"NETS", "DATASETS", "RUNTIMES", "FORMATS"}


def test_continuous_integration_builds_the_site():
    assert "\nmake docs\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
