"""What Serve is given for each kind of model; needs Ray's library, but no cluster."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from ray import serve
from ray.autoscaler._private.kuberay.autoscaling_config import _get_custom_resources

from serving.application import INGRESS_DEPLOYMENT, build
from serving.copies.bucket import BucketCopy
from serving.errors import CorruptArtefact, InvalidInput
from serving.predictor import load
from serving.project import SiteSpec
from serving.sites.kubernetes.manifest import NODE_RESOURCE, Bounds, Identity, in_pods, ray_service
from serving.sites.site import Application
from serving.spec import ModelSpec
from serving.spec_kubernetes import KubernetesSpec
from tests.support.broken_specs import KUBERNETES_SITE
from tests.support.model_bucket import ModelBucket
from tests.support.models import Echo
from tests.support.versions import Versions

SERVE_MODELS = "tests.support.serve_models"


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path / "registry")


@pytest.fixture
def version(versions: Versions, tmp_path: Path) -> str:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "words.txt").write_text("hello")
    return versions.push(folder, word="hello", sleep_s=0.5)


def deployment(application: Application) -> serve.Deployment:
    """The ingress deployment that Serve is given."""
    return build(application.args)._bound_deployment


@pytest.mark.parametrize(
    "import_path", ["tests.support.models:Echo", f"{SERVE_MODELS}:Greeter", f"{SERVE_MODELS}:composed"]
)
def test_limits_reach_serve(versions: Versions, version: str, import_path: str) -> None:
    """Each kind of model gets the declared limits, under the name by which it is scaled."""
    found = deployment(
        versions.application(
            version, import_path=import_path, slots_per_replica=3, max_queued_requests=5, num_cpus=0.2, drain_s=7.0
        )
    )
    config = found._deployment_config
    assert found.name == INGRESS_DEPLOYMENT
    assert found.num_replicas == 1
    assert found.max_ongoing_requests == 3
    assert found.max_queued_requests == 3 + 5
    assert found.ray_actor_options["num_cpus"] == 0.2
    assert config.graceful_shutdown_timeout_s == 7.0
    assert config.autoscaling_config is None


@pytest.mark.parametrize(
    "import_path", ["tests.support.models:Echo", f"{SERVE_MODELS}:Greeter", f"{SERVE_MODELS}:composed"]
)
def test_a_replica_in_a_pod_takes_its_worker_for_itself(versions: Versions, version: str, import_path: str) -> None:
    """What each reserves is what Ray counts once of every worker, as its autoscaler and the shell both read it."""
    kubernetes = KubernetesSpec.model_validate(KUBERNETES_SITE["kubernetes"])
    here = versions.application(version, import_path=import_path)
    args = in_pods(here, kubernetes).args | {"version_dir": here.args["version_dir"]}
    found = deployment(replace(here, args=args))
    site = SiteSpec.model_validate(KUBERNETES_SITE)
    bounds = {pool.name: Bounds(0, 1) for pool in site.pools}
    made = ray_service(Identity("shop", "cloud", "serving"), site, {}, bounds)
    for group in made["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        offered = _get_custom_resources({}, group["rayStartParams"], group["groupName"])
        (told,) = shlex.split(group["rayStartParams"]["resources"])
        assert found.ray_actor_options["resources"] == offered == json.loads(told) == {NODE_RESOURCE: 1}


def test_own_deployment_is_bound_to_the_merged_config(versions: Versions, version: str) -> None:
    """A user's deployment gets the manifest's config, overridden by the service's."""
    found = deployment(versions.application(version, import_path=f"{SERVE_MODELS}:Greeter", config={"word": "bye"}))
    assert found.init_kwargs == {"word": "bye", "sleep_s": 0.5}


def test_building_twice_leaves_the_users_objects_alone(versions: Versions, version: str) -> None:
    """Options are set on copies."""
    from tests.support.serve_models import Greeter, composed

    for import_path in (f"{SERVE_MODELS}:Greeter", f"{SERVE_MODELS}:composed"):
        deployment(versions.application(version, import_path=import_path))
    assert Greeter.name == "Greeter"
    assert composed._bound_deployment.name == "Front"


def spec(**fields: Any) -> ModelSpec:
    """A model section."""
    return ModelSpec.model_validate({"import_path": "tests.support.models:Echo", **fields})


def test_config_of_manifest_and_service(versions: Versions, version: str) -> None:
    """A model class gets the manifest's config, overridden by the service's."""
    folder = versions.registry.directory(version)
    model = load(spec(), folder)
    assert isinstance(model, Echo)
    assert model._sleep_s == 0.5
    assert load(spec(config={"sleep_s": 0.0}), folder)._sleep_s == 0.0  # type: ignore[attr-defined]


def test_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    """Files that were never pushed are not loaded."""
    (tmp_path / "words.txt").write_text("hello")
    with pytest.raises(CorruptArtefact, match=r"manifest\.json"):
        load(spec(), tmp_path)


@pytest.mark.parametrize("import_path", ["json:dumps", "json:JSONDecoder", "os:environ"])
def test_what_is_no_model_is_refused(versions: Versions, version: str, import_path: str) -> None:
    """An import path to something else says what it should lead to."""
    with pytest.raises(InvalidInput, match=r"torch\.nn\.Module"):
        load(spec(import_path=import_path), versions.registry.directory(version))


def test_a_version_from_a_bucket_is_fetched_before_it_is_read(
    versions: Versions, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a site with a bucket the configuration comes from there, checked; a version that differs is refused."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    there = versions.application(version, import_path=f"{SERVE_MODELS}:Greeter")
    with mock_aws():
        held = ModelBucket()
        BucketCopy(held.spec).put(Path(str(there.args["version_dir"])))
        here = tmp_path / "pod" / "fetched" / version
        args = there.args | {"version_dir": str(here), "bucket": held.spec.model_dump(mode="json", exclude_none=True)}
        assert build(args)._bound_deployment.init_kwargs["word"] == "hello"
        assert (here / "words.txt").read_text() == "hello"
        held.overwrite(f"versions/{version}/words.txt", b"jello")
        with pytest.raises(CorruptArtefact):
            build(args | {"version_dir": str(tmp_path / "other" / version)})
