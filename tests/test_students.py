"""Students have the sizes that they are named for and take any images; a scan lists what is small enough."""

import pytest
import torch

from baselines.errors import UsageError
from baselines.nets import NETS, build
from baselines.nets.students import STUDENTS, parameters, scan, student
from methods.graph import trace

COLOUR = (3, 32, 32)


def size(spec, shape=COLOUR, classes=10):
    model = build(spec, classes=classes, input_shape=shape, seed=0)
    return sum(tensor.numel() for tensor in model.parameters())


def test_the_base_network_has_the_published_number_of_parameters():
    assert size("student_base") == 654_858


@pytest.mark.parametrize("name", STUDENTS)
def test_named_students_have_the_size_that_their_summary_tells(name):
    assert size(name) == STUDENTS[name].parameters
    assert f"{size(name):,} parameters" in NETS[name].summary


def test_six_students_differ_and_three_together_are_as_large_as_the_published_ensemble():
    six = [one for name, one in STUDENTS.items() if name != "student_base"]
    assert len({one.parameters for one in six}) == 6
    assert all(100_000 <= one.parameters <= 300_000 for one in six)
    assert len({one.widths for one in six}) > 2
    assert len({one.kernel for one in six}) > 2
    assert {bool(one.hidden) for one in six} == {True, False}
    assert sum(one.parameters for one in six[:3]) == pytest.approx(631_000, rel=0.01)


@pytest.mark.parametrize("name", ["student:widths=4-6-5-3-2:kernel=3-1-5-3-3:hidden=7", *STUDENTS])
@pytest.mark.parametrize(("shape", "classes"), [((1, 28, 28), 10), ((2, 9, 7), 3), ((3, 1, 40), 2), ((1, 97, 64), 5)])
def test_students_take_any_images_and_can_be_traced(name, shape, classes):
    model = build(name, classes=classes, input_shape=shape, seed=0)
    images = torch.randn(2, *shape)
    with torch.no_grad():
        assert model(images).shape == (2, classes)
        torch.testing.assert_close(trace(model)(images), model(images))


def test_larger_images_make_no_larger_students():
    assert size("student1", (3, 128, 128)) == size("student1", COLOUR)
    assert size("student2", (3, 64, 96)) == size("student2", COLOUR)


def test_counting_takes_no_network_and_agrees_with_one():
    def make(classes, shape):
        return student(classes, shape, "5-7", "5-3", 11)

    assert parameters(make, 4, (1, 13, 9)) == size("student:widths=5-7:kernel=5-3:hidden=11", (1, 13, 9), 4)


def test_a_scan_lists_all_that_are_small_enough_from_the_smallest_on():
    text = "student:widths=16-32/8-8/32-64-96-128:kernel=3/5:hidden=0/16"
    everything = scan(text, 10, COLOUR)
    assert len(everything) == 12
    sizes = [size(name) for name in everything]
    assert sizes == sorted(sizes)
    for under in (sizes[3], sizes[3] - 1, sizes[-1]):
        assert scan(f"{text}:under={under}", 10, COLOUR) == tuple(name for name in everything if size(name) <= under)


def test_a_scan_depends_on_the_images():
    text = "student:widths=8-8/16-16:under=2000"
    assert len(scan(text, 2, (1, 4, 4))) == 1
    with pytest.raises(UsageError):
        scan(text, 10, (3, 64, 64))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "student:widths=16-32/8-8:under=10",
            r"no student is that small; the smallest, student:widths=8-8, has [\d,]+",
        ),
        ("student:under=lots", "under must be a number of parameters"),
        ("student:width=3/4", "did you mean 'widths'"),
        ("student:widths=3/x", "student:widths must be whole numbers"),
        ("student:" + ":".join(f"{key}=" + "/".join(["1"] * 30) for key in ("widths", "kernel", "hidden")), "27,000"),
    ],
)
def test_scans_that_cannot_be_are_told_in_one_line(text, words):
    with pytest.raises(UsageError, match=words) as caught:
        scan(text, 10, COLOUR)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("student:widths=16/32", "stand for many students"),
        ("student:under=1000", "distill:student="),
        ("student:widths=", "whole numbers of 1 or more"),
        ("student:widths=8-0", "whole numbers of 1 or more"),
        ("student:kernel=2", "one odd number"),
        ("student:widths=8-8:kernel=3-3-3", r"one a convolution \(2\)"),
        ("student:hidden=-1", "hidden of 0 or more"),
        ("student1:dropout=1", r"dropout in \[0, 1\)"),
        ("student1:hidden=3", "no option 'hidden'"),
        ("studnt1", "did you mean 'student1'"),
        ("student9", "the named students are student_base, student1, student2"),
    ],
)
def test_students_that_cannot_be_say_why(spec, words):
    with pytest.raises(UsageError, match=words) as caught:
        size(spec)
    assert "\n" not in str(caught.value)
