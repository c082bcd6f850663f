"""Every method has a card, and the card names every hyperparameter with its default."""

import dataclasses
import re

import pytest

from methods import METHODS
from tests.test_architecture import ROOT


def stated(card: str) -> dict[str, str]:
    """Field and default of each line of the card's table of hyperparameters."""
    return dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`|empty) \|", card, flags=re.MULTILINE))


@pytest.mark.parametrize("name", METHODS)
def test_a_card_lists_the_hyperparameters_and_their_defaults(name):
    card = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
    assert card.startswith(f"# `{name}`")
    assert stated(card) == {field.name: str(field.default) for field in dataclasses.fields(METHODS[name])}
