"""How `hcctl model` trains in steps, stops early, cross-validates over time, and searches settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli.main import app
from serving.recommender import model_commands, models
from serving.recommender.evaluation.tracks import evaluate
from serving.recommender.evaluation.tuning import score_of
from serving.recommender.fitted import FittedModel
from serving.recommender.generated.events import World
from serving.recommender.generated.shop import Shop
from serving.recommender.generated.writing import write
from serving.recommender.ingest.dataset import Dataset
from serving.recommender.ingest.pipeline import ingest
from serving.recommender.methods.popularity import Popularity
from serving.recommender.orders.splits import Split, tracks
from serving.recommender.training.how import Progress
from tests.support.small_networks import one_thread, toy_words

SMALL: dict[str, dict[str, Any]] = {
    "towers": {"dim": 4, "history": 8, "plan.epochs": 2},
    "sasrec": {"dim": 4, "length": 8, "baskets": 2, "plan.epochs": 2},
    "nearest": {"model.dim": 4, "model.history": 8, "model.plan.epochs": 2, "count": 20},
    "ranked": {"each": 10, "months": 1, "span_days": 10, "hidden": 4, "networks": 2, "plan.epochs": 2},
    "taste": {"epochs": 2, "learning_rate": 0.03, "looks": {"epochs": 2}},
    "clicks": {"kinds": 3, "dim": 3, "hidden": 4, "word_buckets": 64, "plan.epochs": 2},
}
"""Every model that is trained in steps, with settings that train in a moment."""
FOLDS, SPAN_DAYS = 2, 10
ASKED = ("--folds", str(FOLDS), "--days", str(SPAN_DAYS), "--min-purchases", "2")


class Killed(BaseException):
    """What ends a process in the middle of a training."""


@pytest.fixture(scope="module", autouse=True)
def _light() -> Iterator[None]:
    """Toy words in place of MiniLM, which takes seconds to load, and one thread for small networks."""
    with one_thread(), toy_words():
        yield


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clean data of a small generated shop."""
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(users=80, items=30, days=60, visits_per_user=8.0, click_bias=-1.4, purchase_bias=2.0)
    write(World(shop), folder / "raw")
    ingest(folder / "raw" / "data.yaml", folder / "clean")
    return folder / "clean"


def hcctl(*arguments: str | Path) -> Result:
    """Run `hcctl model` in this process."""
    return CliRunner().invoke(app, ["model", *map(str, arguments)])


def tuned(clean: Path, *arguments: str) -> dict[str, Any]:
    """What `hcctl model tune` prints as JSON."""
    done = hcctl("tune", "--data", clean, *ASKED, *arguments, "-o", "json")
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def files(folder: Path) -> dict[str, bytes]:
    """The content of each file of a model."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_models_in_steps_are_those_that_have_networks() -> None:
    """Six of the list; the others refuse what only a training in steps has."""
    assert {name for name, entry in models.MODELS.items() if entry.in_steps} == SMALL.keys()


def test_the_usual_settings_of_every_model_are_settings() -> None:
    """Read as if somebody had given them, they are what they were."""
    assert all(entry.settings({}) == entry.usual for entry in models.MODELS.values())


@pytest.mark.parametrize("name", SMALL)
def test_a_model_killed_in_its_training_ends_as_one_that_was_not(clean: Path, name: str, tmp_path: Path) -> None:
    """Whichever its networks: after the first epoch of the last one, the same command makes the same files."""
    told: list[Progress] = []

    def train(folder: str, at_most: int | None = None) -> int:
        """Epochs that were told; killed in the last of them, if there is a limit."""
        told.clear()

        def tell(progress: Progress) -> None:
            told.append(progress)
            if len(told) == at_most:
                raise Killed

        kept = None if folder == "unbroken" else tmp_path / "kept"
        model_commands.train(
            clean, name, tmp_path / folder, settings=SMALL[name], before=None, checkpoints=kept, tell=tell
        )
        return len(told)

    whole = train("unbroken")
    assert whole == (4 if name in {"ranked", "taste"} else 2)
    with pytest.raises(Killed):
        train("killed", at_most=whole - 1)
    assert not (tmp_path / "killed").exists()
    assert train("resumed") == 1
    assert files(tmp_path / "resumed") == files(tmp_path / "unbroken")


@pytest.mark.parametrize("flag", ["--workers", "--checkpoints"])
def test_what_has_no_steps_refuses_them(clean: Path, flag: str, tmp_path: Path) -> None:
    """A closed form by its name, and the nearest items of one by what they are taken from."""
    value = "2" if flag == "--workers" else str(tmp_path / "kept")
    for more in (["--model", "als"], ["--model", "nearest", "--set", 'model={"kind":"als"}']):
        done = hcctl("train", "--data", clean, "--out", tmp_path / "x", *more, flag, value)
        assert done.exit_code == 2
        assert f"the model is not trained in steps where: {flag}" in " ".join(done.stderr.split())
        assert not (tmp_path / "x").exists()


def test_a_network_stops_early_by_the_last_days(clean: Path, tmp_path: Path) -> None:
    """Patience finds the epochs on days held out, then all days are learned from, killed or not, for as many."""
    asked = ["train", "--data", clean, "--model", "towers", "--set", "dim=4", "--set", "plan.epochs=6"]
    done = hcctl(*asked, "--set", "plan.patience=1", "--checkpoints", tmp_path / "kept", "--out", tmp_path / "early")
    assert done.exit_code == 0, done.output
    stored = json.loads((tmp_path / "early" / "model.json").read_text())["method"]["plan"]
    assert 1 <= stored["stop_after"] <= 6
    assert done.stderr.count("epoch 1 of 6") == 2
    same = hcctl(*asked, "--set", f"plan.stop_after={stored['stop_after']}", "--out", tmp_path / "same")
    assert same.exit_code == 0
    learned = [(tmp_path / folder / "learned.safetensors").read_bytes() for folder in ("early", "same")]
    assert learned[0] == learned[1]


def test_a_network_begins_with_what_another_one_learned(clean: Path, tmp_path: Path) -> None:
    """The first epoch costs less than from chance, also of days and items that were not known; others are refused."""
    asked = ["train", "--data", clean, "--model", "towers", "--set", "plan.epochs=4"]
    months = ["--set", "dim=4", "--before", "2024-02-20"]
    assert hcctl(*asked, *months, "--out", tmp_path / "earlier").exit_code == 0
    cold = hcctl(*asked, "--set", "dim=4", "--out", tmp_path / "cold")
    started = ["--warm-start", tmp_path / "earlier"]
    warm = hcctl(*asked, "--set", "dim=4", *started, "--out", tmp_path / "warm")
    first = [float(done.stderr.partition("loss ")[2].split()[0]) for done in (cold, warm)]
    assert first[1] < first[0]
    for more, told in (
        (["--set", "dim=8"], "it has (31, 4) numbers, not (31, 8)"),
        (["--model", "sasrec"], "start towers, sasrec, nearest from a model of the same kind"),
        (["--set", "dim=4", "--set", "plan.patience=1"], "may know the days that are held out"),
    ):
        refused = hcctl(*asked, *started, *more, "--out", tmp_path / "refused")
        assert refused.exit_code == 2
        assert told in " ".join(refused.stderr.split())


def test_patience_without_anything_held_out_is_refused(clean: Path, tmp_path: Path) -> None:
    """A setting that would do nothing is no setting."""
    done = hcctl("train", "--data", clean, "--model", "clicks", "--set", "plan.patience=2", "--out", tmp_path / "x")
    assert done.exit_code == 2
    assert "cannot stop early where: plan.patience" in " ".join(done.stderr.split())


def test_a_model_is_cross_validated_over_time(clean: Path) -> None:
    """Each span is judged by a model of what came before it alone, and what --before leaves out changes nothing."""
    found = tuned(clean, "--model", "popularity", "--track", "a", "--set", "window_days=9")
    purchases = Dataset.open(clean).purchases()
    first = purchases.as_of_day - FOLDS * SPAN_DAYS
    expected = []
    for cut in (first, first + SPAN_DAYS):
        split = Split(purchases.from_day(0, cut), purchases.from_day(cut, cut + SPAN_DAYS))
        model = FittedModel.fit(Popularity(window_days=9), split.past)
        expected.append(evaluate(score_of(model), tracks(split, 2)[0]).mean("ndcg@10"))
    (trial,) = found["trials"]
    assert trial["folds"] == pytest.approx(expected)
    assert trial["value"] == pytest.approx(np.mean(expected))
    assert trial["deviation"] == pytest.approx(np.std(expected, ddof=1))
    assert found["days"] == [str(models.day(first)), str(models.day(first + SPAN_DAYS))]
    last = date.fromisoformat(found["days"][1])
    earlier = tuned(clean, "--model", "popularity", "--track", "a", "--set", "window_days=9", "--before", str(last))
    assert earlier["days"][1] == str(last - timedelta(days=SPAN_DAYS))
    assert earlier["trials"][0]["folds"][1] == pytest.approx(expected[0])


def test_the_settings_that_do_best_come_first(clean: Path, tmp_path: Path) -> None:
    """All of a list is tried once, a span within its bounds; the best is told as `train` takes it."""
    listed = tuned(clean, "--model", "repeats", "--try", "half_life_days=null,5", "--try", "stock_power=0.0,0.5")
    tried = [tuple(trial["settings"].values()) for trial in listed["trials"]]
    assert sorted(map(str, tried)) == ["(5, 0.0)", "(5, 0.5)", "(None, 0.0)", "(None, 0.5)"]
    values = [trial["value"] for trial in listed["trials"]]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]
    drawn = tuned(clean, "--model", "popularity", "--try", "window_days=3..30", "--trials", "3", "--track", "b")
    assert len(drawn["trials"]) == 3
    assert all(3 <= trial["settings"]["window_days"] <= 30 for trial in drawn["trials"])
    assert drawn == tuned(clean, "--model", "popularity", "--try", "window_days=3..30", "--trials", "3", "--track", "b")
    table = hcctl("tune", "--data", clean, *ASKED, "--model", "popularity", "--try", "window_days=3,30")
    best = table.stderr.strip().splitlines()[-1].partition("best: ")[2].split()
    assert best[0] == "--set"
    done = hcctl("train", "--data", clean, "--model", "popularity", *best, "--out", tmp_path / "model")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "oracle"], "use one of popularity"),
        (["--try", "l2"], "KEY=VALUE"),
        (["--model", "ease", "--try", "l2=5..x"], "no span of numbers"),
        (["--model", "ease", "--try", "l2=9..5"], "no span of numbers"),
        (["--model", "ease", "--try", "l2=NaN..5"], "no span of numbers"),
        (["--model", "ease", "--try", "l2=5,-1"], "setting l2"),
        (["--model", "ease", "--try", "l2=-5..5"], "setting l2"),
        (["--model", "ease", "--try", "lambda=1,2"], "settings are l2"),
        (["--model", "towers", "--try", "plan={}"], "no single value"),
        (["--model", "towers", "--try", "dim.size=4,8"], "dim has no settings of its own"),
        (["--model", "ensemble", "--set", "l2=1"], "the model has no such setting"),
        (["--metric", "luck"], "use one of auc, ndcg@10"),
        (["--days", "100"], "take fewer or shorter spans"),
        (["--before", "1999-01-01"], "nothing to learn from"),
        (["--min-purchases", "10000"], "cannot evaluate"),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_error(clean: Path, arguments: list[str], told: str) -> None:
    """Exit code 2 and what to do, before anything is trained."""
    done = hcctl("tune", "--data", clean, *ASKED, *arguments)
    assert done.exit_code == 2, done.output
    assert told in " ".join(done.stderr.split())
    assert ": 0." not in done.stderr
