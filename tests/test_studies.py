"""What the list of studies says of them is what they hold."""

import csv
import itertools
import re
from pathlib import Path

from methods.pruning.scores import SCORES

STUDIES = Path(__file__).parents[1] / "docs/studies"
RATES = ("0.5", "0.75", "0.875", "0.9375", "0.96875")
LIST = (STUDIES / "README.md").read_text(encoding="utf-8")


def entry(name):
    """The item of the list that begins with that name, on one line."""
    items = re.split(r"\n(?=- |\n)", LIST)
    (found,) = [" ".join(item.split()) for item in items if item.startswith((f"- `{name}", f"- [{name}"))]
    return found


def test_every_row_of_the_study_of_pruning_has_its_random_control():
    """All scores are there at every rate, all patterns, and random pruning at the layer-wise rates of each."""
    with (STUDIES / "resnet8-cifar10-pruning/table.csv").open(encoding="utf-8", newline="") as file:
        methods = [row["method"] for row in csv.DictReader(file) if row["method"].startswith("prune")]
    rows = [dict(re.findall(r"(\w+)=([^:]+)", method)) for method in methods]
    free = {(row["sparsity"], row["score"]) for row in rows if "pattern" not in row and row["score"] != "random"}
    assert free == set(itertools.product(RATES, SCORES.keys() - {"random"}))
    random = {(row["sparsity"], row.get("rates"), row.get("pattern")) for row in rows if row["score"] == "random"}
    for sparsity, score in free:
        # what training with noise leaves has rates that are known only then
        assert ((sparsity, score, None) in random) == (score != "variational")
    for row in rows:
        if "pattern" in row:
            layerwise = None if "of4" in row["pattern"] else "magnitude"  # N of M sets the rates itself
            assert (row["sparsity"], layerwise, row["pattern"]) in random
    assert {row["pattern"] for row in rows if "pattern" in row} == {"block", "2of4", "1of4", "channels"}


def test_goals_that_the_study_of_channels_misses_are_told():
    page, missed, file = (STUDIES / "structured_speed.md").read_text(encoding="utf-8"), set(), ""
    for line in page.splitlines():
        if found := re.match(r"(\S+), [\d.]+ times fewer", line):
            file = found[1]
        elif line.endswith("missed."):
            rates = "uniform" if "uniform" in file else "global"
            missed.add((rates, *re.match(r"- (\w+), 1 thread: batch (\d+)", line).groups()))
    said = re.findall(r"but for (\w+) rates in `(\w+)` at batch (\d+)", entry("structured_speed.md"))
    assert set(said) == missed
