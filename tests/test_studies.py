"""What the list of studies says of them is what they hold."""

import csv
import re
from pathlib import Path

from methods.pruning.scores import SCORES

STUDIES = Path(__file__).parents[1] / "docs/studies"
LIST = (STUDIES / "README.md").read_text(encoding="utf-8")


def entry(name):
    """The item of the list that begins with that name, on one line."""
    items = re.split(r"\n(?=- |\n)", LIST)
    (found,) = [" ".join(item.split()) for item in items if item.startswith((f"- `{name}", f"- [{name}"))]
    return found


def test_scores_that_the_study_of_pruning_lacks_are_named():
    with (STUDIES / "resnet8-cifar10-pruning/table.csv").open(encoding="utf-8", newline="") as file:
        methods = [row["method"] for row in csv.DictReader(file)]
    tried = {name for method in methods for name in re.findall(r"score=(\w+)", method)}
    said = re.search(r"every score but (.*?) \(unstructured\)", entry("resnet8-cifar10-pruning"))
    assert set(re.findall(r"`(\w+)`", said[1])) == SCORES.keys() - tried
    controls = {method.partition("rates=")[2] for method in methods if "score=random" in method}
    assert controls == {"magnitude"}, "the list says that there is no other"


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
