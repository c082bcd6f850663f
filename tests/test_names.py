"""Short names of rows: what all share goes, what tells them apart stays."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reports.names import cut, short_names, told_apart
from reports.panels import Panel, Point
from reports.scatter import _key_places

T4 = ":temperature=4"
RESNET = f"distill:student=student4:teacher=resnet8{T4}"
MEMBERS = ",".join(f"distill:student=student{k}{T4}" for k in (1, 3))


def test_what_all_rows_of_a_method_share_goes_and_what_differs_stays() -> None:
    labels = [
        "dense",
        RESNET,
        f"distill:student=student4{T4}",
        f"distill:student=student4{T4}+qat",
        "prune:sparsity=0.8",
    ]
    assert list(short_names([*labels, "prune:sparsity=0.5", f"distill:student=student1{T4}"]).values()) == [
        "dense", "distill:student=student4:teacher=resnet8", "distill:student=student4", "distill:student=student4+qat",
        "prune:sparsity=0.8", "prune:sparsity=0.5", "distill:student=student1",
    ]  # fmt: skip


def test_a_setting_that_one_mention_lacks_stays_everywhere() -> None:
    labels = [RESNET, "distill:student=student4:loss=none", f"distill:student=student1{T4}"]
    assert short_names(labels) == {label: label for label in labels}
    bare = ["ptq:bits=4", "ptq", "ptq:bits=4+prune:sparsity=0.5"]
    assert short_names(bare) == {label: label for label in bare}


def test_chains_inside_quotes_are_shortened_alike() -> None:
    names = short_names([f"ensemble:of='{MEMBERS}'", RESNET])
    assert names[f"ensemble:of='{MEMBERS}'"] == "ensemble:of='distill:student=student1,distill:student=student3'"


def test_one_row_of_a_method_keeps_its_settings() -> None:
    assert short_names(["prune:sparsity=0.5", "qat:bits=4"])["qat:bits=4"] == "qat:bits=4"


STAGE = st.builds(
    lambda name, settings: ":".join([name, *(f"{key}={value}" for key, value in settings.items())]),
    st.sampled_from(["prune", "distill", "qat"]),
    st.dictionaries(st.sampled_from(["a", "b", "layers"]), st.sampled_from(["1", "0.5", "x.y"]), max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(STAGE, min_size=1, max_size=3).map("+".join), unique=True, max_size=6))
def test_different_labels_stay_different_and_no_name_is_longer(labels: list[str]) -> None:
    names = short_names(labels)
    assert set(names) == set(labels)
    assert len(set(names.values())) == len(labels)
    assert all(len(short) <= len(label) for label, short in names.items())


def test_a_text_is_cut_at_its_end() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("abcd", 4) == "abcd"


def test_a_key_has_two_columns_and_a_line_for_each_long_text() -> None:
    places, lines = _key_places(["a", "b" * 90, "c", "d", "e" * 51])
    assert (places, lines) == ([(0, 0), (0, 2), (0, 1), (1, 0), (0, 3)], 4)
    assert _key_places([]) == ([], 0)
    assert _key_places(["b" * 90]) == ([(0, 0)], 1)


def point(chain: str, accuracy: float, role: str = "asked", cost: float = 1.0) -> Point:
    return Point(chain, chain, cost, accuracy, accuracy - 0.2, accuracy + 0.2, ((cost, accuracy),), role)  # type: ignore[arg-type]


def test_a_control_far_off_stands_at_the_edge_and_does_not_widen_the_axis() -> None:
    own = [point("dense", 99.0, cost=9), point("a", 98.0), point("b", 96.0, cost=2)]
    far, near = point("r", 10.0, "random", 3), point("s", 95.0, "small", 4)
    panel = Panel("", "", (*own, far, near))
    low, _ = panel.range
    assert panel.outside == [far]
    assert 94 < low < 95 - 0.5 + 1e-9
    assert low < panel.height(far) < 95
    assert panel.height(near) == 95.0
    assert panel.range == Panel("", "", (*own, near)).range
    asked_far = Panel("", "", (*own, point("c", 10.0, cost=3)))
    assert asked_far.outside == []
    assert asked_far.range[0] < 10
    winner = Panel("", "", (*own, point("t", 99.9, "small", 0.5)))  # it beats a method: on the front, in the axis
    assert winner.outside == []
    assert Panel("", "", (far,)).outside == []
    assert Panel("", "", ()).outside == []


def test_names_of_curves_keep_what_tells_them_apart() -> None:
    usual, rest = "pattern=unstructured:rates=global", ":of=macs"
    names = [f"prune:score={score}:{usual}{rest}" for score in ("magnitude", "lookahead_bn", "lookahead_act")]
    odd = f"prune:score=random:pattern=unstructured:rates=obd{rest}"
    assert list(told_apart([*names, odd]).values()) == [
        "prune:score=magnitude", "prune:score=lookahead_bn", "prune:score=lookahead_act", "prune:score=random:rates=obd"
    ]  # fmt: skip
    chains = ["prune:score=obd:of=macs+ptq:bits=8", "prune:score=obd:of=macs+ptq:bits=4"]
    assert told_apart(chains) == {name: name for name in chains}
    alike = ["a:x=1", "a:x=1:y=2", "a:y=2", "a:y=2:x=1"]
    assert told_apart(alike) == {name: name for name in alike}


@given(st.lists(st.lists(st.sampled_from(["x=1", "x=2", "y=1", "y=2", "z=3"]), max_size=3), max_size=6))
def test_curves_that_are_different_have_different_names(settings: list[list[str]]) -> None:
    names = {":".join(["m", *one]) for one in settings}
    assert len(set(told_apart(names).values())) == len(names)
