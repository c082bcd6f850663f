"""Which row `--advise` names: the first by its rule of those that keep all limits, whatever is at hand."""

import dataclasses
import itertools
import math
from pathlib import Path

import pytest

from bench.questions import parse_question
from bench.records import Accuracy
from reports import join
from reports.advice import advise, best_seed, excess, keeps, rivals, standing_in_the_way, surely
from reports.advice_rows import all_rows
from reports.rows import frame, summary
from reports.run_folders import Run, run_at, runs_at
from tests.records_example import example, failed, record, sweep, with_runtime, write_run

COMMAND = "python run_bench.py --methods dct"
LIMITS = (
    "drop<=0.2", "drop<=1", "drop<=3", "size<=3MB", "size>=4x", "latency>=1.5x", "latency<=10ms", "accuracy>=97.5",
    "params<=10M", "macs<=300M", "memory<=231.5MB",
)  # fmt: skip


def run_of(records, folder="runs/a"):
    return Run(Path(folder), tuple(records), COMMAND)


def answer(records, text):
    (found,) = advise([run_of(records)], parse_question(text))
    return found


def chosen(records, text):
    found = answer(records, text).best
    return found and (found.row.chain, found.runtime)


def exactly(one, correct, seen=1000):
    """The record with this accuracy in each runtime."""
    results = tuple(dataclasses.replace(r, accuracy=Accuracy(correct, correct, seen)) for r in one.runtimes)
    return dataclasses.replace(one, runtimes=results)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("limits", list(itertools.combinations(LIMITS, 2)), ids="+".join)
def test_the_answer_is_what_the_table_over_seeds_says(seeds, limits):
    """Against the summary that reports are made of, which was written for another end."""
    records = example(seeds)
    table = summary(frame(records))
    fixed = {(one.chain, one.seed): one for one in records}
    columns = {
        "drop": lambda row: 100 * row["accuracy_drop_mean"], "size": lambda row: row["file_bytes_mean"],
        "latency": lambda row: row["latency_ms_b1_mean"] / 1000, "accuracy": lambda row: 100 * row["accuracy_mean"],
        "memory": lambda row: row["peak_memory_bytes_mean"], "macs": lambda row: fixed[row["chain"], 0].macs,
        "params": lambda row: fixed[row["chain"], 0].parameters,
    }  # fmt: skip

    def held(row, limit):
        if limit == "size>=4x":
            return row["compression_ratio_mean"] >= 4
        if limit == "latency>=1.5x":
            return row["speedup_b1_mean"] >= 1.5
        condition = parse_question(limit).conditions[0]
        level = columns[condition.quantity](row)
        return level >= condition.value if condition.quantity == "accuracy" else level <= condition.value

    rows = [row for _, row in table.iterrows() if all(held(row, limit) for limit in limits)]
    least = "file_bytes_mean" if any(one.startswith(("drop", "accuracy")) for one in limits) else "accuracy_drop_mean"
    best = min(rows, key=lambda row: (row[least], row["latency_ms_b1_mean"]), default=None)
    assert chosen(records, ",".join(limits)) == (None if best is None else (best["chain"], best["runtime"]))


def test_a_tighter_limit_never_gives_a_smaller_file_and_a_limit_more_neither():
    records = sweep()
    sizes = []
    for drop in (0, 0.3, 0.8, 2, 5, 50):
        alone, also = answer(records, f"drop<={drop}").best, answer(records, f"drop<={drop},latency>=1.01x").best
        sizes.append(alone.of("size").mean)
        assert also is None or also.of("size").mean >= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("drop<=1,size<=4MB", " drop <= 1 , size<=4000 kb"),
        ("size<=1MiB,drop<=1", "drop<=1,size<=1024KiB"),
        ("latency<=10ms,drop<=1", "latency<=0.01s,drop<=1.0"),
        ("drop<=1", "drop<=1,minimise size"),
        ("params<=3M", "params<=3000k,minimize drop"),
    ],
)
def test_the_same_question_in_other_words_has_the_same_answer(one, other):
    first, second = parse_question(one), parse_question(other)
    assert (set(first.conditions), first.least) == (set(second.conditions), second.least)
    assert chosen(sweep(), one) == chosen(sweep(), other)


def test_a_drop_of_just_the_limit_keeps_it_and_of_an_image_more_does_not():
    dense = exactly(record("dense"), 900)
    assert chosen([dense, exactly(record("dct"), 895)], "drop<=0.5")[0] == "dct"
    assert chosen([dense, exactly(record("dct"), 894)], "drop<=0.5")[0] == "dense"


def test_the_worse_end_of_the_interval_is_told_from_the_mean():
    seeds = range(3)
    even = [exactly(record("dense", seed=seed), 900) for seed in seeds]
    for spread, sure in ((1, True), (8, False)):
        rows = [exactly(record("dct", seed=seed), 898 + spread * (seed - 1)) for seed in seeds]
        found = answer([*even, *rows], "drop<=1")
        assert found.best.row.chain == "dct"
        assert surely(found.question.conditions[0], found.best) is sure
    two = answer([*even[:2], *rows[:2]], "drop<=1")
    assert surely(two.question.conditions[0], two.best) is None, "two seeds bound nothing"


def test_of_one_file_in_several_runtimes_the_faster_is_named():
    assert chosen(example(), "drop<=1") == ("prune", "onnxruntime")
    slow = [with_runtime(one, "onnxruntime", measurements=()) for one in example()]
    assert chosen(slow, "drop<=1") == ("prune", "eager"), "a latency that is not known comes last"


def test_a_control_that_comes_first_is_the_answer_and_the_best_that_was_asked_for_stands_beside():
    control = dataclasses.replace(record("half", like="dense", share=0.01), role="half", control_of=("dct",))
    found = answer([*example(), control], "drop<=2")
    assert (found.best.row.chain, found.best.is_control) == ("half", True)
    assert "prune" in [one.found.row.chain for one in rivals(found)]
    many = [record(f"prune:sparsity=0.{k}", share=0.14 + k / 100, accuracy=0.98) for k in range(5)]
    larger = dataclasses.replace(control, ledger=(), file_bytes=10**7)
    beside = [one.found.row.chain for one in rivals(answer([*example(), *many, larger], "drop<=2"))]
    assert beside[-1] == "half", "a control that keeps the limits is named, however far behind"
    assert len(beside) == len(set(beside)) == 4


def test_rivals_are_told_apart_in_accuracy_or_not():
    rows = [exactly(record("dense"), 9000, 10_000), exactly(record("prune"), 8950, 10_000)]
    far, near = exactly(record("dct"), 9700, 10_000), exactly(record("qat"), 8955, 10_000)
    found = {one.found.row.chain: one for one in rivals(answer([*rows, far, near], "drop<=2"))}
    assert (found["dct"].apart, found["qat"].apart) == (True, False)
    assert found["dct"].gap.mean == pytest.approx(0.075)


def test_what_a_limit_keeps_back_would_come_first_without_it():
    records = sweep()
    found = answer(records, "drop<=3,latency>=1.2x")
    assert found.best
    for condition in found.question.conditions:
        others = ",".join(one.text for one in found.question.conditions if one is not condition)
        without = answer(records, f"{others},minimise size").best
        kept_back = standing_in_the_way(condition, found)
        assert [one.row.chain for one in kept_back[:1]] == ([without.row.chain] if kept_back else [])
        assert all(not keeps(condition, one) for one in kept_back)
        assert bool(kept_back) == (without.row.chain != found.best.row.chain)


def test_what_is_not_known_keeps_no_limit():
    bare = [
        with_runtime(with_runtime(one, "onnxruntime", measurements=()), "eager", measurements=()) for one in example()
    ]
    assert chosen(bare, "drop<=5,latency<=1s") is None
    assert chosen(bare, "drop<=5,memory<=1KB") is None
    assert chosen(bare, "drop<=5")[0] == "prune"
    undense = [one for one in example() if one.chain != "dense"]
    assert chosen(undense, "drop<=50") is None
    assert chosen(undense, "size>=1x") is None
    assert chosen(undense, "accuracy>=50")[0] == "prune"
    nan = [dataclasses.replace(m, samples=(math.nan,) * 3) for m in record("prune").runtimes[0].measurements]
    broken = with_runtime(record("prune"), "eager", measurements=tuple(nan))
    assert chosen([record("dense"), broken], "drop<=5,latency<=1s") == ("prune", "onnxruntime")
    assert math.isinf(excess(parse_question("latency<=1s").conditions[0], all_rows([run_of([broken])], 1)[0]))


def test_rows_that_went_wrong_are_no_answer_and_a_seed_that_did_is_left_out():
    assert chosen([record("dense"), failed("prune")], "drop<=5")[0] == "dense"
    refused = with_runtime(record("prune"), "onnxruntime", status="refused", accuracy=None, measurements=())
    assert chosen([record("dense"), refused], "drop<=5") == ("prune", "eager")
    found = answer([*example((0, 1)), failed("prune", seed=2)], "drop<=5").best
    assert sorted(found.good) == [0, 1]


def test_the_file_is_one_that_keeps_the_size_itself_and_is_best_on_validation_data():
    sizes, validated = {0: 900, 1: 800, 2: 1300}, {0: 0.90, 1: 0.95, 2: 0.99}
    rows = [
        dataclasses.replace(record("prune", seed=s), file_bytes=sizes[s], validation_accuracy=validated[s])
        for s in sizes
    ]
    dense = [record("dense", seed=seed) for seed in sizes]
    assert best_seed(answer([*dense, *rows], "size<=1000B,drop<=5")) == 1
    assert best_seed(answer([*dense, *rows], "size<=2000B,drop<=5")) == 2
    unknown = [dataclasses.replace(one, validation_accuracy=None) for one in rows]
    assert best_seed(answer([*dense, *unknown], "drop<=5")) == 0


def test_rows_are_of_the_named_place_only():
    cuda = [
        dataclasses.replace(one, case_id=f"gpu-{one.case_id}", environment={**one.environment, "device": "cuda:0"})
        for one in [record("dense"), record("prune", share=0.01)]
    ]
    runs = [run_of(example()), run_of(cuda, "runs/b")]

    def best(text):
        (found,) = advise(runs, parse_question(text))
        return found.best.device, found.best.runtime, found.best.run.folder.name

    assert best("drop<=5") == ("cuda:0", "onnxruntime", "b")
    assert best("drop<=5,device=cuda") == ("cuda:0", "onnxruntime", "b")
    assert best("drop<=5,device=cpu") == ("cpu", "onnxruntime", "a")
    assert best("drop<=5, device = cuda:0, runtime=eager, net=resnet18, dataset=digits") == ("cuda:0", "eager", "b")
    for text, there in (("device=cuda:1", "cpu, cuda:0"), ("net=resnet", "resnet18"), ("runtime=aoti", "eager, onnxr")):
        with pytest.raises(ValueError, match=rf"no row at hand is of {text}: there are {there}"):
            advise(runs, parse_question(f"drop<=5,{text}"))


def test_a_data_set_is_named_without_its_options_too_and_each_has_its_answer():
    part = [dataclasses.replace(one, dataset="digits:train=500", case_id=f"p{one.case_id}") for one in example()]
    runs = [run_of(example()), run_of(part, "runs/b")]
    assert [one.dataset for one in advise(runs, parse_question("drop<=5"))] == ["digits", "digits:train=500"]
    (only,) = advise(runs, parse_question("drop<=5,dataset=digits:train=500"))
    assert only.dataset == "digits:train=500"
    assert len(advise(runs, parse_question("drop<=5,dataset=digits"))) == 2


def test_latency_is_of_the_batch_that_is_named():
    for batch in (1, 32):
        one = answer(example(), f"latency>=1.01x,batch={batch}").best
        assert one.of("latency").mean == pytest.approx(
            summary(frame(example())).query("method == @one.row.label and runtime == @one.runtime")[
                f"latency_ms_b{batch}_mean"
            ].iloc[0] / 1000
        )  # fmt: skip


def test_a_row_that_several_runs_have_is_there_once_where_it_has_most_seeds(tmp_path):
    first, second = example((0,)), example((1,))
    write_run(tmp_path / "a", first)
    write_run(tmp_path / "b", second)
    join([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    runs, said = runs_at([], tmp_path)
    assert ([run.folder.name for run in runs], said) == (["a", "b", "c"], [])
    rows = all_rows(runs, 1)
    assert len(rows) == 10
    assert {one.run.folder.name for one in rows} == {"c"}
    best = answer_of = advise(runs, parse_question("drop<=5"))[0].best
    assert best.file_of(1).resolve() == (tmp_path / "b" / second[4].artifact).resolve()
    assert answer_of.of("size").seeds == 2
    assert {one.run.folder.name for one in all_rows([run_at(tmp_path / "a"), run_at(tmp_path / "a")], 1)} == {"a"}


def test_runs_are_found_below_folders_and_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"there is no run below .*: run something first"):
        runs_at([], tmp_path)
    write_run(tmp_path / "deep" / "a", example())
    write_run(tmp_path / ".cache" / "b", example())
    (tmp_path / "broken" / "records").mkdir(parents=True)
    (tmp_path / "broken" / "plan.json").write_text("{")
    runs, said = runs_at([], tmp_path)
    assert [run.folder for run in runs] == [tmp_path / "deep" / "a"]
    assert len(said) == 1
    assert "broken is left out" in said[0]
    assert len(runs_at([tmp_path, tmp_path / "deep" / "a"], tmp_path)[0]) == 1
    with pytest.raises(ValueError, match="is damaged"):
        runs_at([tmp_path / "broken"], tmp_path)
    with pytest.raises(ValueError, match="there is no such folder"):
        runs_at([tmp_path / "nowhere"], tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is no run and has no readable one below it"):
        runs_at([tmp_path / "deep", tmp_path / "empty"], tmp_path)
    assert run_at(tmp_path / "deep" / "a").command.startswith("python")
