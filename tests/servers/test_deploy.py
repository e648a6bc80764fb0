"""The files of deploy/ for containers and Kubernetes: valid, whole, in words that vecsim takes."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import psutil
import pytest
import yaml
from command import assert_same, call

import vecsim
from vecsim import places

DEPLOY = places.PACKAGE.parent / "deploy"
TOOLS = Path(sys.executable).parent  # where the extra `deploy` installs its commands
DASK = DEPLOY / "kubernetes/dask.yaml"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
# The oldest version in which all that is used is stable, and the newest that the validator knows.
VERSIONS = "1.33.0", "1.37.0"
RELEASE = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]["version"]
[ENTRYPOINT] = re.findall("^ENTRYPOINT (.+)$", (DEPLOY / "Containerfile").read_text(), re.M)
SCHEDULER = "tcp://vecsim-scheduler:8786"


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    name, *arguments = command
    return subprocess.run(
        [str(TOOLS / name), *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def documents(file: Path) -> list[dict]:
    return list(yaml.safe_load_all(file.read_text()))


def pods(file: Path) -> list[tuple[dict, dict]]:
    """Each document that makes pods, and the template of its pods; a pod is its own."""
    made = [(each, each["spec"].get("template", each)) for each in documents(file)]
    return [(each, template) for each, template in made if "containers" in template["spec"]]


def document(file: str, kind: str) -> dict:
    [found] = [each for each in documents(DEPLOY / "kubernetes" / file) if each["kind"] == kind]
    return found


def words(container: dict, **variables: str) -> list[str]:
    """What the container runs; $(NAME) is replaced by its variables, and those that are given."""
    given = {each["name"]: each.get("value", "2") for each in container.get("env", [])} | variables
    command = [*container.get("command", json.loads(ENTRYPOINT)), *container["args"]]
    return [re.sub(r"\$\((\w+)\)", lambda name: given[name[1]], word) for word in command]


def check_composition(taken: list[str]) -> None:
    """vecsim takes these words of a study."""
    result = call(*taken, "--cfg", "job")
    assert (result.code, result.err) == (0, "")
    assert "protocol:" in result.out


def test_containerfile():
    result = tool("hadolint", str(DEPLOY / "Containerfile"))
    assert (result.returncode, result.stdout) == (0, "")
    # hadolint does not look into an argument for the tag of the image to start from.
    assert re.search(r"^ARG BASE=\S+:3\.11-", (DEPLOY / "Containerfile").read_text(), re.M)


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("USER 1000:1000", "USER root", "DL3002"),
        ('ENTRYPOINT ["vecsim"]', "ENTRYPOINT vecsim", "DL3025"),  # a shell would take the signals
    ],
)
def test_mistakes_in_a_containerfile_are_found(right, wrong, rule, tmp_path):
    text = (DEPLOY / "Containerfile").read_text()
    assert right in text
    (tmp_path / "Containerfile").write_text(text.replace(right, wrong))
    assert rule in tool("hadolint", str(tmp_path / "Containerfile")).stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.stem)
def test_kubernetes_takes(file, version):
    result = tool("kubernetes-validate", "--strict", "-k", version, str(file))
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("passed") == len(documents(file))


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("shards", "backoffLimitPerIndex"),
        ("merge", "onExitCodes"),
        ("dask", "readOnlyRootFilesystem"),
        ("results", "accessModes"),
    ],
)
def test_misspelt_keys_are_found(file, key, tmp_path):
    text = (DEPLOY / "kubernetes" / f"{file}.yaml").read_text()
    changed = tmp_path / "changed.yaml"
    changed.write_text(text.replace(key, f"{key}s"))
    result = tool("kubernetes-validate", "--strict", str(changed))
    assert result.returncode != 0
    assert f"{key}s" in result.stdout


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.stem)
def test_names_that_pods_use_exist(file):
    claims = {document("results.yaml", "PersistentVolumeClaim")["metadata"]["name"]}
    services = {made["metadata"]["name"] for made in documents(file) if made["kind"] == "Service"}
    for made, template in pods(file):
        labels, pod = template["metadata"]["labels"], template["spec"]
        for name, value in made["spec"].get("selector", {}).get("matchLabels", {}).items():
            assert labels[name] == value
        assert made["spec"].get("serviceName") in {None, *services}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        used = {each.get("persistentVolumeClaim", {}).get("claimName") for each in pod["volumes"]}
        assert used <= {None, *claims}
        [container] = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        assert "/data" in {mount["mountPath"] for mount in container["volumeMounts"]}
        for rule in made["spec"].get("podFailurePolicy", {}).get("rules", []):
            named = rule.get("onExitCodes", {}).get("containerName", container["name"])
            assert named == container["name"]


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.stem)
def test_pods_have_no_rights(file):
    for _, template in pods(file):
        pod = template["spec"]
        [container] = pod["containers"]
        assert container["image"] == f"vecsim:{RELEASE}"
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.stem)
def test_bad_input_is_never_tried_again(file):
    for made, template in pods(file):
        if made["kind"] == "Job":
            assert template["spec"]["restartPolicy"] == "Never"  # or Kubernetes takes no policy
            bad, disrupted = made["spec"]["podFailurePolicy"]["rules"]
            assert bad["action"] == "FailJob"
            assert (bad["onExitCodes"]["operator"], bad["onExitCodes"]["values"]) == ("In", [2])
            assert disrupted["action"] == "Ignore"
            assert [on["type"] for on in disrupted["onPodConditions"]] == ["DisruptionTarget"]


def test_every_shard_is_computed_once():
    job = document("shards.yaml", "Job")["spec"]
    assert job["completionMode"] == "Indexed"
    [container] = job["template"]["spec"]["containers"]
    for i in range(count := job["completions"]):
        assert f"shard={i}/{count}" in words(container, JOB_COMPLETION_INDEX=str(i))


@pytest.mark.parametrize("file", ["shards.yaml", "dask.yaml"])
def test_words_of_studies(file):
    [container] = document(file, "Job")["spec"]["template"]["spec"]["containers"]
    command, *taken = words(container, JOB_COMPLETION_INDEX="3")
    assert command == "vecsim"
    check_composition(taken)


def test_shards_and_merge(tmp_path, monkeypatch):
    """The containers of both jobs one after the other, with a small study (8 points) for theirs."""
    monkeypatch.chdir(tmp_path)
    small = "n=30", "trials=4", "defence=off", "figure=false", "sweep.protocol=[snowball]"
    small = *small, "sweep.adversary=[always_reject]", "sweep.byzantine_fraction=[0,0.1,0.2,0.3]"
    job = document("shards.yaml", "Job")["spec"]
    [container] = job["template"]["spec"]["containers"]
    for i in range(job["completions"]):
        _, *taken = words(container, JOB_COMPLETION_INDEX=str(i))
        result = call(*(word.replace("/data/", f"{tmp_path}/") for word in taken), *small)
        assert (result.code, result.err) == (0, "")
    [container] = document("merge.yaml", "Job")["spec"]["template"]["spec"]["containers"]
    command, *taken = (word.replace("/data/", f"{tmp_path}/") for word in words(container))
    assert command == "vecsim"
    assert call(*taken).code == 0
    whole = vecsim.run("experiment=byzantine_sweep", *small, output="whole")
    assert_same(vecsim.open(tmp_path / "byzantine_sweep/data.zarr"), whole)


def test_everybody_finds_the_scheduler():
    """The address that workers and driver are given is that of the Service, and it is served."""
    [worker] = document("dask.yaml", "StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert words(worker) == ["vecsim", "worker", SCHEDULER]
    [driver] = document("dask.yaml", "Job")["spec"]["template"]["spec"]["containers"]
    assert f"engine.workers={SCHEDULER}" in words(driver)
    deployment = document("dask.yaml", "Deployment")["spec"]["template"]
    [scheduler] = deployment["spec"]["containers"]
    assert words(scheduler)[:2] == ["dask", "scheduler"]
    assert words(scheduler)[words(scheduler).index("--port") + 1] == "8786"
    assert scheduler["ports"] == [{"name": "dask", "containerPort": 8786}]
    service, _ = (each["spec"] for each in documents(DASK) if each["kind"] == "Service")
    assert service["ports"] == [{"name": "dask", "port": 8786, "targetPort": "dask"}]
    assert service["selector"] == deployment["metadata"]["labels"]


def test_the_scheduler_starts():
    """With the arguments of its container, but for a port of its own, and on loopback."""
    [container] = document("dask.yaml", "Deployment")["spec"]["template"]["spec"]["containers"]
    own = {"8786": "0", "127.0.0.1:8787": "127.0.0.1:0", "0.0.0.0": "127.0.0.1"}
    command = [own.get(word, word) for word in words(container)]
    assert command.count("127.0.0.1") == command.count("127.0.0.1:0") == command.count("0") == 1
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([TOOLS / command[0], *command[1:]], text=True, **pipes) as running:
        try:
            assert any("Scheduler at:" in line for line in running.stdout)
            heard = psutil.Process(running.pid).net_connections()
            assert {each.laddr.ip for each in heard if each.status == "LISTEN"} == {"127.0.0.1"}
        finally:
            running.terminate()
            running.communicate()


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def compose_check(file: Path) -> subprocess.CompletedProcess[str]:
    return tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(file))


def test_compose_is_valid():
    result = compose_check(DEPLOY / "compose.yaml")
    assert result.returncode == 0, result.stdout


def test_misspelt_keys_of_compose_are_found(tmp_path):
    text = (DEPLOY / "compose.yaml").read_text()
    (tmp_path / "compose.yaml").write_text(text.replace("read_only", "readonly"))
    result = compose_check(tmp_path / "compose.yaml")
    assert result.returncode != 0
    assert "'readonly' was unexpected" in result.stdout


def test_compose_publishes_on_loopback_alone(compose):
    published = [port for each in compose["services"].values() for port in each.get("ports", [])]
    assert len(published) == 2
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    shared = {each.get("network_mode") for each in compose["services"].values()}
    assert shared == {None, "service:prometheus"}


def test_names_that_compose_uses_exist(compose):
    """The schema does not look for them."""
    services, volumes = compose["services"], set(compose["volumes"])
    for service in services.values():
        for other in service.get("depends_on", []):
            assert other in services
        _, _, other = service.get("network_mode", "service:vecsim").partition(":")
        assert other in services
        named = {each.split(":")[0] for each in service["volumes"]}
        assert {name for name in named if not name.startswith(".")} <= volumes
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    assert services["vecsim"]["image"] == f"vecsim:{RELEASE}"
    assert (DEPLOY / services["vecsim"]["build"]["context"]).resolve() == DEPLOY.parent


def test_files_that_compose_mounts(compose):
    mounted = (
        compose["services"]["prometheus"]["volumes"] + compose["services"]["grafana"]["volumes"]
    )
    folders = [DEPLOY / each.split(":")[0] for each in mounted if each.startswith(".")]
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders)
    assert "127.0.0.1:9464" in (DEPLOY / "prometheus/prometheus.yml").read_text()
    assert compose["services"]["vecsim"]["command"].endswith(" watch=127.0.0.1:9464")


def test_words_of_compose(compose):
    command = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", compose["services"]["vecsim"]["command"])
    check_composition(shlex.split(command))
