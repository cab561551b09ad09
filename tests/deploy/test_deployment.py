"""Commands, files, users and objects that the deployment files name exist; `make deploy-lint` checks their form."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
import typer
import yaml
from distributed.cli import dask_scheduler, dask_worker

from support.deployment import (
    KUBERNETES,
    MANIFESTS,
    PAGE,
    CommandLine,
    command_lines,
    containers,
    host_path,
    image_command,
    instructions,
    objects,
    pods,
    services,
)
from support.documents import TOP
from turnlog.cli.app import app

PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
USERS = (TOP / "deploy" / "users.sql").read_text()


# commands -------------------------------------------------------------------------------------------------------------


def parse(command: Any, words: list[str], parent: Any = None) -> None:
    """Parse a command line as the program does, without running it."""
    context = command.make_context(words[0], words[1:], parent=parent)
    rest = [*context._protected_args, *context.args]
    if hasattr(command, "resolve_command") and rest:
        name, inner, left = command.resolve_command(context, rest)
        parse(inner, [name, *left], context)


@pytest.mark.parametrize("line", command_lines(), ids=lambda line: line.where)
def test_a_command_line_is_one_of_the_program(line: CommandLine) -> None:
    """Break: in deploy/compose.yaml, write ``--endpoints``; in cluster/dask.yaml, ``--nworker``."""
    if line.words[0] == "dask":
        parse({"scheduler": dask_scheduler, "worker": dask_worker}[line.words[1]].main, line.words[1:])
    elif line.words[0] == "python":
        assert line.words[1:] == ["/examples/record_call.py"]
    else:
        assert line.words[0] == "turnlog"
        parse(typer.main.get_command(app), line.words)


def test_the_viewers_command_is_in_one_place() -> None:
    """It is the image's own: compose.yaml and the manifests give none."""
    assert image_command()[1][0] == "view"
    assert not {"command", "entrypoint"} & services()["viewer"].keys()
    assert not {"command", "args"} & dict(containers())["viewer"].keys()


# the image ------------------------------------------------------------------------------------------------------------


def copied() -> set[str]:
    return {
        source.rstrip("/")
        for name, arguments in instructions()
        if name == "COPY" and "--from" not in arguments
        for source in arguments.split()[:-1]
    }


def test_the_build_has_what_the_wheel_is_made_of() -> None:
    """Break: in the Dockerfile, do not copy ``migrations``; in .dockerignore, do not let it in."""
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"], "src"}
    needed |= wheel["force-include"].keys()
    assert all(package.startswith("src/") for package in wheel["packages"])
    assert copied() == needed
    assert {line[1:] for line in (TOP / ".dockerignore").read_text().splitlines() if line.startswith("!")} == needed
    assert all((TOP / path).exists() for path in needed)


def test_the_image_has_an_extra_that_exists_and_no_secret() -> None:
    """Break: in the Dockerfile, ``ARG EXTRAS=everything``, or ``ENV TURNLOG_MASTER_KEY=…``."""
    (extras,) = [arguments.partition("=")[2] for name, arguments in instructions() if name == "ARG"]
    assert set(extras.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()
    for name, arguments in instructions():
        if name in ("ARG", "ENV"):
            assert not re.search(r"PASSWORD|KEY|TOKEN|SECRET", arguments)


def test_the_image_does_not_run_as_root() -> None:
    users = [arguments for name, arguments in instructions() if name == "USER"]
    (uid,) = {user.partition(":")[0] for user in users}
    assert int(uid) > 0
    assert {str(spec["securityContext"]["runAsUser"]) for _name, _metadata, spec in pods()} == {uid}


def test_images_have_the_version_of_the_project() -> None:
    """Break: in deploy/compose.yaml, write another one, or ``postgres:latest``."""
    ours = f"turnlog:{PROJECT['project']['version']}"
    assert {container["image"] for _name, container in containers()} == {ours}
    for service in services().values():
        assert service["image"] == ours if "build" in service else re.search(r":\d", service["image"])
    assert f"--tag {ours}" in PAGE.read_text()


# compose.yaml ---------------------------------------------------------------------------------------------------------


def test_what_compose_names_is_there() -> None:
    """Break: in deploy/compose.yaml, misspell a path, a service, a variable."""
    text = (TOP / "deploy" / "compose.yaml").read_text()
    volumes = yaml.safe_load(text)["volumes"]
    for name, service in services().items():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert host_path(source).exists() if source.startswith(".") else source in volumes, f"{name}: {volume}"
        assert service.get("depends_on", {}).keys() <= services().keys()
    hosts = set(re.findall(r"(?:@|http://)(\w+)[:/]", text))
    assert hosts <= services().keys()
    example = re.findall(r"^(\w+)=$", (TOP / "deploy" / "env.example").read_text(), re.MULTILINE)
    assert sorted(set(re.findall(r"\$\{(\w+)", text))) == sorted(example)


def test_services_are_locked_down() -> None:
    """Secrets come from outside, ports are this machine's alone, our services write nothing but their volumes."""
    for name, service in services().items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|KEY", variable):
                assert re.fullmatch(r"\$\{\w+:.*\}", value), f"{name}: {variable}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        if "build" in service:
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name


# users ----------------------------------------------------------------------------------------------------------------

ROLES = {"init": "owner", "recorder": "agent", "viewer": "reader", "delivery": "delivery", "archive": "reader"}
ROLES |= {"retention": "owner", "projector": "projector"}


def user_of(environment: dict[str, str]) -> tuple[str, str]:
    """The user of a container's database URL, and the name of its password."""
    user = re.fullmatch(r"postgresql\+psycopg://(\w+)@.+", environment["TURNLOG_DB"])
    assert user
    password = re.search(r"([A-Z]+)_PASSWORD", environment["PGPASSWORD"])
    return user[1], password[1].lower() if password else environment["PGPASSWORD"]


def logins() -> list[Any]:
    found = [(name, service["environment"]) for name, service in services().items() if "build" in service]
    for name, container in containers():
        environment = {
            variable["name"]: variable.get("value") or variable["valueFrom"].get("secretKeyRef", {}).get("key")
            for variable in container.get("env", ())
        }
        if "TURNLOG_DB" in environment:
            found.append((name, environment))
    return [pytest.param(name, environment, id=f"{name}-{n}") for n, (name, environment) in enumerate(found)]


@pytest.mark.parametrize(("name", "environment"), logins())
def test_a_service_has_the_role_that_it_needs(name: str, environment: dict[str, str]) -> None:
    """Break: in deploy/kubernetes/viewer.yaml, log in as ``turnlog_owner``, or with the key ``owner``."""
    user, password = user_of(environment)
    role = ROLES[name]
    assert password == role
    created = re.search(rf"CREATE USER {user} PASSWORD :'{role}_password'(?: IN ROLE turnlog_(\w+))?;", USERS)
    assert created, user
    assert created[1] == (None if role == "owner" else role)


# Kubernetes -----------------------------------------------------------------------------------------------------------


def test_kustomizations_list_every_manifest() -> None:
    """Break: in deploy/kubernetes/kustomization.yaml, take out ``network.yaml``."""
    for path in KUBERNETES.rglob("kustomization.yaml"):
        resources = yaml.safe_load(path.read_text())["resources"]
        assert sorted(resources) == sorted(found.name for found in MANIFESTS if found.parent == path.parent)


def references(found: Any, key: str) -> list[dict[str, Any]]:
    if isinstance(found, dict):
        here = [found[key]] if key in found else []
        return here + [one for inner in found.values() for one in references(inner, key)]
    return [one for inner in found for one in references(inner, key)] if isinstance(found, list) else []


def test_what_manifests_refer_to_is_there() -> None:
    """Break: in any manifest, misspell a key of the ConfigMap, a secret, a claim, a volume, a service."""
    (config,) = objects("ConfigMap")
    for reference in references(objects(), "configMapKeyRef"):
        assert reference["name"] == config["metadata"]["name"]
        assert reference["key"] in config["data"]
    page = PAGE.read_text()
    for reference in references(objects(), "secretKeyRef") + references(objects(), "secretRef"):
        created = re.search(rf"create secret generic {reference['name']} (.*)", page.replace("\\\n", " "))
        assert created, reference
        assert f"--from-literal {reference['key']}=" in created[1] if "key" in reference else True
    claims = {found["metadata"]["name"] for found in objects("PersistentVolumeClaim")}
    assert {reference["claimName"] for reference in references(objects(), "persistentVolumeClaim")} <= claims
    for container_name, container in containers():
        given = [variable["name"] for variable in container.get("env", ())]
        words = " ".join([*container.get("args", ()), *(v.get("value", "") for v in container.get("env", ()))])
        assert set(re.findall(r"\$\((\w+)\)", words)) <= set(given), container_name
    named = set(re.findall(r"tcp://([\w-]+):", json.dumps([container for _name, container in containers()])))
    assert named <= {found["metadata"]["name"] for found in objects("Service")}


def test_selectors_select_something() -> None:
    """Break: in deploy/kubernetes/viewer.yaml, relabel the pod; in network.yaml, misspell ``viewer``."""
    labels = [metadata["labels"] for _name, metadata, _spec in pods()]
    selectors = [found["spec"]["selector"] for found in objects("Service")]
    selectors += references(objects(), "matchLabels")
    for selector in selectors:
        assert any(selector.items() <= label.items() for label in labels), selector


def test_pods_are_locked_down() -> None:
    """Non-root, read-only, without privileges, bounded. Break: in any manifest, take a line of these out."""
    assert references(objects("Namespace"), "pod-security.kubernetes.io/enforce") == ["restricted"]
    for name, _metadata, spec in pods():
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"], name
            assert not context["allowPrivilegeEscalation"], name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"].keys() == {"requests", "limits"}, name
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert set(mounts.values()) <= volumes, name
            assert {dict(environment())["HOME"], "/tmp"} <= mounts.keys(), name


def environment() -> list[tuple[str, str]]:
    """Variables of the image."""
    pairs = [pair for name, arguments in instructions() if name == "ENV" for pair in arguments.split()]
    return [(pair.partition("=")[0], pair.partition("=")[2]) for pair in pairs]


def test_every_pod_is_behind_a_network_policy() -> None:
    """Break: in deploy/kubernetes/network.yaml, let the first policy select one app alone."""
    everywhere = [found["spec"] for found in objects("NetworkPolicy") if found["spec"]["podSelector"] == {}]
    assert [sorted(spec["policyTypes"]) for spec in everywhere] == [["Egress", "Ingress"]]
    assert "ingress" not in everywhere[0]
