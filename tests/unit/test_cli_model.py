"""`hcctl model`: from a shop's CSV files to a version that answers, and a verdict for a quality gate."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import app
from serving.errors import CorruptArtefact, InvalidInput
from serving.model import ModelRequest
from serving.recommender import models
from serving.recommender.interface import Bought
from serving.recommender.lists import Lists
from serving.recommender.method import Arrays
from serving.recommender.training.how import How
from serving.recommender.training.team import ALONE
from serving.recommender.training.workers import Learn

EXAMPLE = Path(__file__).parents[2] / "examples" / "shop"
BEFORE = "2024-03-01"


def hcctl(*arguments: str | Path) -> Result:
    """Run `hcctl model` in this process."""
    return CliRunner().invoke(app, ["model", *map(str, arguments)])


def must(*arguments: str | Path) -> dict[str, Any]:
    """What a command that succeeds prints as JSON."""
    done = hcctl(*arguments, "-o", "json")
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example's clean data, a good model and a simple one."""
    folder = tmp_path_factory.mktemp("shop")
    assert must("ingest", EXAMPLE / "data.yaml", folder / "clean")["generated"] is True
    must("train", "--data", folder / "clean", "--out", folder / "good", "--before", BEFORE, "--model", "ease")
    must("train", "--data", folder / "clean", "--out", folder / "simple", "--before", BEFORE, "--model", "popularity")
    return folder


@pytest.fixture(scope="module")
def lists(shop: Path) -> Lists:
    return Lists.load(shop / "good", {})


def ask(lists: Lists, body: Any, path: str = "/recommend") -> Any:
    """The answer to one request."""
    (found,) = lists.predict_batch([ModelRequest(path=path, query={}, body=body)])
    return found


def test_the_example_is_the_shop_of_its_readme(shop: Path) -> None:
    """Nothing of the example's own data is bad, and what its README names is there."""
    report = json.loads((shop / "clean" / "dataset.json").read_text())
    assert report["events"]["rejected"] == {}
    assert report["events"]["kept"] > 3_000
    readme = (EXAMPLE / "README.md").read_text()
    assert BEFORE in readme
    assert "C00003" in readme
    assert "C00003" in (EXAMPLE / "orders" / "orders.csv").read_text()


def test_a_trained_model_answers_with_what_the_shop_shows(shop: Path, lists: Lists) -> None:
    """A known customer gets k items, best first, with title and price; what they bought can be left out."""
    answer = ask(lists, {"user_id": "C00003", "k": 5})["items"]
    assert len(answer) == 5
    assert [item["score"] for item in answer] == sorted((item["score"] for item in answer), reverse=True)
    products = (EXAMPLE / "orders" / "products.csv").read_text()
    assert all(f"{item['id']},{item['title']}," in products for item in answer)
    fresh = ask(lists, {"user_id": "C00003", "k": 80, "exclude_bought": True})["items"]
    everything = ask(lists, {"user_id": "C00003", "k": 80})["items"]
    assert 0 < len(fresh) < len(everything)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"user_id": "nobody", "k": 7}, id="unknown user"),
        pytest.param({"user_id": "\u202eنور", "k": 7}, id="user of another script"),
        pytest.param({"user_id": "", "k": 7}, id="user without a name"),
        pytest.param({"history": [], "k": 7}, id="no history"),
        pytest.param({"history": ["gone", "never was"], "k": 7}, id="unknown items"),
    ],
)
def test_somebody_unknown_gets_what_sells(shop: Path, lists: Lists, body: dict[str, Any]) -> None:
    """Without a history that says anything, every model gives the same list: the popular items."""
    popular = Lists.load(shop / "simple", {})
    found = [item["id"] for item in ask(lists, body)["items"]]
    assert found == [item["id"] for item in ask(popular, body)["items"]]
    assert len(found) == 7


def test_a_history_in_the_request_counts(lists: Lists) -> None:
    """What somebody just bought changes the list, known items among unknown ones; too long a history is refused."""
    nothing = ask(lists, {"history": []})
    assert ask(lists, {"history": ["SKU00013", "gone"]}) == ask(lists, {"history": ["SKU00013"]}) != nothing
    assert isinstance(ask(lists, {"history": ["SKU00013"] * 1_001}), InvalidInput)


def test_a_history_of_ten_thousand_purchases_is_a_history(shop: Path) -> None:
    """Most of them of items that are unknown or of days to come: the list is that of what is left."""
    model = models.load(shop / "good")[1]
    known = [Bought(f"SKU{place:05d}", 19_700 + place) for place in range(80)]
    noise = [Bought(f"other {place}", place * 1_000) for place in range(9_920)]
    assert model.recommend([*noise, *known], 5) == model.recommend(known, 5)
    assert len(model.recommend(noise, 5)) == 5


def test_a_wrong_request_does_not_hurt_its_neighbours(lists: Lists) -> None:
    """Each request of a batch has its own answer; another path is not found."""
    wrong, right = lists.predict_batch(
        [ModelRequest(path="/recommend", query={}, body=body) for body in ([1], {"history": [], "k": 1})]
    )
    assert isinstance(wrong, InvalidInput)
    assert not isinstance(right, Exception)
    assert ask(lists, {}, "/other")["status"] == 404


def test_a_better_model_passes_the_gate_and_a_worse_one_does_not(shop: Path) -> None:
    """The exit code says whether it may replace the other, by the paired interval, in table and JSON alike."""
    asked: Sequence[str | Path] = ("--data", shop / "clean", "--plot", shop / "plot.png")
    better = must("evaluate", shop / "good", "--against", shop / "simple", *asked)
    assert better["verdict"]["passes"]
    assert (better["from"], better["model"], better["against"]) == (BEFORE, "ease", "popularity")
    assert better["generated"] is True
    row = next(row for row in better["metrics"] if (row["track"], row["metric"]) == ("a", "ndcg@10"))
    assert row["low"] > 0
    assert row["difference"] == pytest.approx(row["value"] - row["against"])
    assert {row["segment"] for row in better["segments"]} >= {"light (under 50)"}
    bands = [row for row in better["items"] if row["track"] == "a"]
    assert [row["items"] for row in bands] == ["head", "middle", "tail"]
    assert sum(row["share@10"] for row in bands) == pytest.approx(1)
    assert (shop / "plot.png").read_bytes().startswith(b"\x89PNG")

    worse = hcctl("evaluate", shop / "simple", "--against", shop / "good", *asked[:2])
    assert worse.exit_code == 1
    assert "does not pass: ndcg@10: track a: worse" in " ".join(worse.stderr.split())
    assert "popularity, on a generated shop" in worse.stdout


def test_a_network_is_trained_on_from_its_checkpoint(shop: Path, tmp_path: Path) -> None:
    """Each epoch is told; a second run with the folder has nothing left to do, and makes the same model."""
    asked = ["train", "--data", shop / "clean", "--model", "towers", "--checkpoints", tmp_path / "kept"]
    small = ["--set", "dim=4", "--set", "history=8", "--set", 'plan={"epochs":2}']
    first, second = (hcctl(*asked, *small, "--out", tmp_path / name) for name in ("one", "other"))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "epoch 2 of 2: loss" in first.stderr
    assert "epoch" not in second.stderr
    learned = [(tmp_path / name / "learned.safetensors").read_bytes() for name in ("one", "other")]
    assert learned[0] == learned[1]
    other = hcctl(*asked, "--set", "dim=5", *small[2:], "--out", tmp_path / "third")
    assert other.exit_code == 2
    assert "kept" in " ".join(other.stderr.split())


def test_several_workers_are_one_flag(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They get what one process gets, and a folder that they find wherever they run."""
    asked: list[How] = []

    def by_ray(learn: Learn, how: How) -> Arrays:
        asked.append(how)
        return learn(replace(how, workers=1, folder=None), ALONE)

    monkeypatch.setattr("serving.recommender.training.workers.by_ray", by_ray)
    monkeypatch.chdir(tmp_path)
    small = ["--set", "dim=4", "--set", "history=8", "--set", 'plan={"epochs":1}', "--checkpoints", "kept"]
    must("train", "--data", shop / "clean", "--model", "towers", *small, "--workers", "3", "--out", "three")
    assert [(how.workers, how.folder) for how in asked] == [(3, tmp_path / "kept")]
    assert ask(Lists.load(tmp_path / "three", {}), {"history": []})["items"]


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("ray.train", ["train", "--data", "{0}/clean", "--model", "towers", "--workers", "2", "--out", "{0}/x"]),
        ("ray.data", ["ingest", EXAMPLE / "data.yaml", "{0}/x", "--ray"]),
    ],
)
def test_what_the_extra_for_training_lacks_is_told(
    shop: Path, missing: str, arguments: list[str | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it there is one error that names it, and no folder left over."""
    monkeypatch.setitem(sys.modules, missing, None)
    done = hcctl(*(str(argument).format(shop) for argument in arguments))
    assert done.exit_code == 1
    assert "hcctl[train]" in done.stderr
    assert not (shop / "x").exists()


def test_a_model_as_good_as_itself_passes(shop: Path) -> None:
    """No difference at all is within any tolerance; without another version there are figures and no verdict."""
    same = must("evaluate", shop / "good", "--against", shop / "good", "--data", shop / "clean", "--tolerance", "0")
    assert [track["outcome"] for track in same["verdict"]["tracks"]] == ["as good", "as good"]
    alone = must("evaluate", shop / "good", "--data", shop / "clean")
    assert alone["verdict"] is None
    assert all("difference" not in row for row in alone["metrics"])


def test_a_wrong_metric_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """Nobody waits for a judgement that cannot be given: there is neither a model nor data here."""
    done = hcctl("evaluate", tmp_path, "--data", tmp_path / "none", "--metric", "luck")
    assert done.exit_code == 2
    assert "no such metric" in done.stderr
    assert "ndcg@10" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--data", "{0}/clean", "--out", "{0}/x", "--model", "oracle"], "use one of popularity"),
        (["train", "--data", "{0}/clean", "--out", "{0}/good"], "the folder is not empty"),
        (["train", "--data", "{0}", "--out", "{0}/x"], "hcctl model ingest"),
        (["train", "--data", "{0}/clean", "--out", "{0}/x", "--model", "ease", "--set", "l2=-1"], "setting l2"),
        (["train", "--data", "{0}/clean", "--out", "{0}/x", "--model", "ease", "--set", "l2=NaN"], "setting l2"),
        (["train", "--data", "{0}/clean", "--out", "{0}/x", "--model", "ease", "--set", "lambda=1"], "l2, half_life"),
        (["train", "--data", "{0}/clean", "--out", "{0}/x", "--set", "l2"], "KEY=VALUE"),
        (["train", "--data", "{0}/clean", "--out", "{0}/x", "--model", "ease", "--workers", "2"], "towers, sasrec"),
        (["train", "--data", "{0}/clean", "--out", "{0}/x", "--checkpoints", "{0}/x"], "--checkpoints"),
        (["train", "--data", "{0}/clean", "--out", "{0}/x", "--before", "1999-01-01"], "nothing to learn from"),
        (["evaluate", "{0}/good", "--data", "{0}/clean", "--from", "2024-02-01"], "until 2024-03-01"),
        (["evaluate", "{0}/good", "--data", "{0}/clean", "--from", "2030-01-01"], "the last purchase is of 2024"),
        (["evaluate", "{0}/good", "--data", "{0}/clean", "--plot", "x.pdf"], "ends in .png"),
        (["ingest", "{0}/none.yaml", "{0}/x"], "cannot be read"),
        (["ingest", "{0}/clean/dataset.json", "{0}/x"], "not valid"),
        (["generate", "{0}/clean"], "the folder is not empty"),
        (["ask", "x" * 300], "hcctl init"),
    ],
)
def test_a_wrong_command_is_one_error_and_writes_nothing(shop: Path, arguments: list[str], told: str) -> None:
    """Bad input ends with exit code 2 and one error that says what to do; there is no folder left over."""
    done = hcctl(*(argument.format(shop) for argument in arguments))
    assert done.exit_code == 2, done.output
    assert told in " ".join(done.stderr.split())
    assert not (shop / "x").exists()


@pytest.mark.parametrize("name", ["trained.json", "catalogue.json", "model.json", "ids.json", "learned.safetensors"])
@pytest.mark.parametrize("kept_share", [0.0, 0.5, None], ids=["empty", "cut", "gone"])
def test_a_truncated_model_is_told_by_its_file(shop: Path, tmp_path: Path, name: str, kept_share: float | None) -> None:
    """A file that is cut, empty or gone is one error with its name, never a model that answers nonsense."""
    shutil.copytree(shop / "good", tmp_path / "model")
    path = tmp_path / "model" / name
    content = path.read_bytes()
    path.unlink()
    if kept_share is not None:
        path.write_bytes(content[: int(kept_share * len(content))])
    with pytest.raises(CorruptArtefact) as caught:
        Lists.load(tmp_path / "model", {})
    assert name in caught.value.where


@pytest.mark.parametrize("day", [-1, 10**7, 10**30, 1.5, None])
def test_a_model_of_no_day_is_refused(shop: Path, tmp_path: Path, day: Any) -> None:
    """What it knows of ends on a day of the calendar, or it is no model that could be judged."""
    shutil.copytree(shop / "simple", tmp_path / "model")
    path = tmp_path / "model" / "trained.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"until_day": day}))
    done = hcctl("evaluate", tmp_path / "model", "--data", shop / "clean")
    assert done.exit_code == 1
    assert "trained.json why: until_day" in " ".join(done.stderr.split())


def test_what_is_kept_without_its_picture_is_not_called_rejected(tmp_path: Path) -> None:
    """The table tells what was mended apart from what is gone."""
    (tmp_path / "events.csv").write_text("who,what,at\nu,i,1700000000\n")
    (tmp_path / "items.csv").write_text("what,seen\ni,gone.png\n")
    events = {"columns": {"user_id": "who", "item_id": "what", "timestamp": "at"}, "type": "purchase"}
    items = {"columns": {"item_id": "what", "image": "seen"}}
    tables = {"events": events | {"files": ["events.csv"]}, "items": items | {"files": ["items.csv"]}}
    (tmp_path / "data.yaml").write_text(json.dumps({"kind": "ShopData"} | tables))
    done = hcctl("ingest", tmp_path / "data.yaml", tmp_path / "clean")
    assert "items mended: bad image 1" in " ".join(done.stdout.split())
    assert "rejected: " not in done.stdout


def test_every_model_of_the_list_has_a_name_and_words() -> None:
    """The table of models is what the command lists."""
    found = json.loads(hcctl("list", "-o", "json").stdout)
    assert {row["model"]: row["what"] for row in found} == {name: entry.what for name, entry in models.MODELS.items()}
