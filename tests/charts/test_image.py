"""The Dockerfile and the chart of definitions."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import helm_python
import yaml

from serving.gateway.agent import READY
from tests.support.charts import CHARTS, named, render
from tests.support.kubernetes_schemas import violations

ROOT = CHARTS.parent
LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
STEPS = [line.split(None, 1) for line in LINES if line and not line.startswith("#")]


def last(instruction: str) -> str:
    """The argument of the last instruction of its kind."""
    return [argument for word, argument in STEPS if word == instruction][-1]


def test_hadolint_finds_nothing() -> None:
    """The maintained linter of Dockerfiles, with the shell lines in it, has no remark at all."""
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "hadolint", "--no-color", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_image_runs_as_the_user_of_the_chart() -> None:
    """By number, which the pods also name; Kubernetes cannot check a name."""
    (pod, *_) = [m for m in render({"project": {}}) if m["kind"] == "Deployment"]
    security = pod["spec"]["template"]["spec"]["securityContext"]
    assert last("USER") == f"{security['runAsUser']}:{security['runAsGroup']}"


def test_the_image_is_installed_from_the_lock() -> None:
    """Product and clusters, hashes demanded, source archives refused, and the Python of image and locks is one."""
    (install,) = [argument for word, argument in STEPS if word == "RUN" and "--require-hashes" in argument]
    assert "--only-binary :all:" in install
    locks = re.findall(r"requirements/(\w+-)?py(3\.\d+)\.txt", install)
    (image,) = [argument for word, argument in STEPS if word == "ARG"]
    assert [layer for layer, _ in locks] == ["", "clusters-"]
    assert all(image.startswith(f"PYTHON_IMAGE=python:{minor}-") for _, minor in locks)


def test_nothing_is_fetched_but_by_pip() -> None:
    """No download in a shell line, no ADD, no package manager: what is in the image is in the lock."""
    assert "ADD" not in {word for word, _ in STEPS}
    for word, argument in STEPS:
        if word == "RUN":
            assert not re.search(r"\b(curl|wget|apt|apt-get|apk|git)\b", argument)


def test_the_context_holds_what_is_copied_and_little_else() -> None:
    """Everything is ignored but for the sources: no history, no data, no state of a project, no secret."""
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in ignored
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        part.strip("/") for word, line in STEPS if word == "COPY" and "--from" not in line for part in line.split()[:-1]
    }
    assert {part.split("/")[0] for part in copied} <= let_in
    assert all((ROOT / name).exists() for name in let_in)


def test_the_modules_that_the_chart_starts_are_there() -> None:
    """Commands of the containers name modules of the package, and the entry point of the image is the command line."""
    assert last("ENTRYPOINT") == '["hcctl"]'
    for manifest in render({"project": {}}):
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            command = container.get("command", [])
            if "-m" in command:
                module = command[command.index("-m") + 1]
                assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module


def test_the_chart_starts_the_agent_as_it_is() -> None:
    """Every argument of the gateway's container is one of the agent's, and readiness is the file that it leaves."""
    gateway = named(render({"project": {}, "gateway": {"sitesSecret": "x"}}), "Deployment", "-gateway")
    (container,) = gateway["spec"]["template"]["spec"]["containers"]
    told = subprocess.run(
        [sys.executable, *container["command"][1:], "--help"], capture_output=True, text=True, check=True
    )
    arguments = [argument.partition("=")[0] for argument in container["args"]]
    assert all(f"  {argument} " in told.stdout for argument in arguments)
    required = {"--listen", "--control", "--certificate", "--control-certificate", "--keys"}
    assert required <= set(arguments)
    (test, _, file) = container["readinessProbe"]["exec"]["command"]
    assert (test, file) == ("test", f"/tmp/hcctl/gateway/{READY}")


def test_the_definitions_are_a_chart_of_their_own() -> None:
    """Helm installs them before anything else and never deletes them; the chart renders nothing else."""
    with helm_python.Chart.load(str(CHARTS / "hcctl-crds")) as chart:
        files = chart.render({}, name="hcctl-crds", namespace="serving")
    assert [name for name, text in files.items() if name.endswith(".yaml") and text.strip()] == []


def test_a_definition_is_valid_and_can_be_upgraded() -> None:
    """Valid for Kubernetes, in hcctl's group, one stored version, each with a schema and a status of its own."""
    paths = sorted((CHARTS / "hcctl-crds" / "crds").glob("*.yaml"))
    assert [path.stem for path in paths] == ["hybridreleases", "hybridservices"]
    for path in paths:
        for definition in yaml.safe_load_all(path.read_text()):
            assert violations(definition) == []
            assert definition["spec"]["group"] == "hcctl.dev"
            versions = definition["spec"]["versions"]
            assert sum(version["storage"] for version in versions) == 1
            for version in versions:
                assert version["schema"]["openAPIV3Schema"]["type"] == "object"
                assert "status" in version["subresources"]
