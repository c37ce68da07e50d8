"""`hcctl init`: what it writes works, and it overwrites nothing unasked."""

import importlib.util
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import app
from serving.loading import load_project, load_service

FILES = ["artefact/sales.json", "bestsellers.py", "hcctl.yaml", "service.yaml"]


def init(*args: str) -> Result:
    return CliRunner().invoke(app, ["init", *args])


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_are_written_and_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project, service, model and data are written, say what they are, and validate."""
    monkeypatch.chdir(tmp_path)
    result = init("my-shop")
    assert result.exit_code == 0
    folder = tmp_path / "my-shop"
    assert written(folder) == FILES
    for file in FILES:
        assert f"my-shop/{file}: " in result.stderr
    assert result.stderr.splitlines()[-2:] == [
        "next: cd my-shop && hcctl validate",
        "then: hcctl version push artefact && hcctl up && hcctl deploy",
    ]
    project = load_project(folder / "hcctl.yaml")
    assert project.name == "my-shop"
    assert load_service(folder / "service.yaml", project=project).name == "my-shop"


def test_here_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder the files are written here, and the next command needs no cd."""
    monkeypatch.chdir(tmp_path)
    assert init().stderr.splitlines()[-2] == "next: hcctl validate"
    assert written(tmp_path) == FILES


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    """One file that is there stops the whole command before it writes; --force overwrites."""
    (tmp_path / "bestsellers.py").write_text("mine")
    refused = init(str(tmp_path))
    assert refused.exit_code == 2
    assert "bestsellers.py" in refused.stderr
    assert "--force" in refused.stderr
    assert written(tmp_path) == ["bestsellers.py"]
    assert (tmp_path / "bestsellers.py").read_text() == "mine"
    assert init(str(tmp_path), "--force").exit_code == 0
    assert written(tmp_path) == FILES


@pytest.mark.parametrize(
    ("folder", "name"),
    [("Flash Sale!", "flash-sale"), ("2026-shop", "shop"), ("---", "shop"), ("a" * 60, "a" * 40), ("über", "ber")],
)
def test_name_is_made_from_the_folder(tmp_path: Path, folder: str, name: str) -> None:
    """Whatever the folder is called, the name is a valid one."""
    assert init(str(tmp_path / folder)).exit_code == 0
    assert load_project(tmp_path / folder / "hcctl.yaml").name == name


@pytest.mark.parametrize("name", ["Shop", "my shop", "", "-a", "a" * 41, "a\nkind: x", "${name}"])
def test_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    """A name that no spec would take is refused before anything is written."""
    result = init(str(tmp_path), "--name", name)
    assert result.exit_code == 2
    assert "--name" in result.stderr
    assert written(tmp_path) == []


def test_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A path below a file gives one error, not a traceback."""
    (tmp_path / "file").touch()
    result = init(str(tmp_path / "file" / "below"))
    assert result.exit_code == 1
    assert "Not a directory" in result.stderr


def test_example_data_can_be_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's data is a version that the registry takes, as the last line of init says."""
    monkeypatch.chdir(tmp_path)
    init()
    pushed = CliRunner().invoke(app, ["version", "push", "artefact"])
    assert pushed.exit_code == 0, pushed.output


def test_example_model_answers(tmp_path: Path) -> None:
    """The example loads its data and recommends what is not in the basket yet."""
    init(str(tmp_path))
    spec = importlib.util.spec_from_file_location("bestsellers", tmp_path / "bestsellers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    service = load_service(tmp_path / "service.yaml")
    model = module.Bestsellers.load(tmp_path / "artefact", service.model.config)
    probe = service.release.probe
    bodies = [probe.body, None, {}, [1], "tea", {"basket": "tea"}]
    requests = [{"path": probe.path, "query": {}, "body": body} for body in bodies]
    answers = model.predict_batch(requests)
    assert answers[:3] == [
        {"items": ["coffee", "honey", "biscuits"]},
        {"items": ["tea", "coffee", "honey"]},
        {"items": ["tea", "coffee", "honey"]},
    ]
    assert [answer["status"] for answer in answers[3:]] == [400, 400, 400]
