"""The Dockerfile, what is sent to the builder, and the versions that go into the images."""

import re
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(DEPLOY))
import pins  # noqa: E402

IMAGES = ("api", "encode", "decode")
_ML = {"torch", "torchvision", "diffusers", "transformers", "compressai", "scikit-image", "scipy", "openai"}


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Each stage by its name: what it stands on, and its instructions with continued lines joined."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    for name, value in re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE):
        text = text.replace(f"${{{name}}}", value)
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    instructions: list[tuple[str, str]] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            instructions = []
            found[name] = (base, instructions)
        else:
            instructions.append((word, rest))
    return found


def chain(name: str) -> list[tuple[str, str]]:
    """The instructions that end up in an image, from its base on."""
    base, instructions = stages()[name]
    return (chain(base) if base in stages() else []) + instructions


def copied(name: str) -> list[str]:
    """What an image takes from the repository."""
    return [
        rest.removeprefix("--from=light-codec /app/").split()[0]
        for word, rest in chain(name)
        if word == "COPY" and not rest.startswith("--from=install-")
    ]


@pytest.mark.parametrize("name", IMAGES)
def test_image_runs_as_nobody_in_particular_and_says_how_it_is(name: str) -> None:
    instructions = dict(chain(name))
    assert instructions["USER"] == "10001:10001"
    assert instructions["STOPSIGNAL"] == "SIGTERM"
    kind = "api" if name == "api" else "worker"
    assert f'["python", "deploy/healthcheck.py", "{kind}"]' in instructions["HEALTHCHECK"]
    words = [word for word, _ in chain(name)]
    assert words.index("USER") > max(at for at, word in enumerate(words) if word in ("COPY", "RUN"))


def test_images_start_the_process_they_are_named_after() -> None:
    assert dict(chain("api"))["CMD"] == '["python", "-m", "api"]'
    assert dict(chain("encode"))["CMD"] == '["python", "-m", "workers", "encode"]'
    assert dict(chain("decode"))["CMD"] == '["python", "-m", "workers", "decode"]'


@pytest.mark.parametrize("name", IMAGES)
def test_image_holds_nothing_that_builds_or_installs(name: str) -> None:
    commands = [rest for word, rest in chain(name) if word == "RUN"]
    assert not any(re.search(r"\binstall\b|apt|curl|wget|gcc|build-essential", command) for command in commands)
    assert any("pip uninstall" in command and "setuptools wheel" in command for command in commands)


@pytest.mark.parametrize("name", IMAGES)
def test_image_takes_what_its_process_imports_and_no_more(name: str) -> None:
    packages = {path for path in copied(name) if "/" not in path}
    common = {"codec", "core", "models"}
    assert packages == (common | {"api", "migrations"} if name == "api" else common | {"workers"})


def test_what_images_take_exists_and_is_sent_to_the_builder() -> None:
    sent = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!") and not line.endswith("*")
    }
    for name in stages():
        for path in copied(name):
            assert (ROOT / path).exists(), path
            assert any(path == one or path.startswith(f"{one}/") for one in sent), path
    taken = {path for name in stages() for path in copied(name)}
    assert all(any(path == one or path.startswith(f"{one}/") for path in taken) for one in sent)


def test_checkout_is_ignored_unless_it_is_named() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert "**/.env" in rules


@pytest.mark.parametrize("target", pins.TARGETS)
def test_pins_are_what_the_project_asks_for(target: str) -> None:
    lines = [line for line in (pins.FOLDER / f"{target}.txt").read_text().splitlines() if not line.startswith("#")]
    older = [line for line in lines if ";" in line]
    assert older == list(pins.OLDER_PYTHON.values())
    pinned = dict(line.split("==") for line in lines if line not in older)
    refresh = "run: .venv/bin/python deploy/pins.py"
    for requirement in pins.requirements_of(target):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} has no pin; {refresh}"
        assert requirement.specifier.contains(version), f"{requirement} is pinned at {version}; {refresh}"
    assert set(pinned) == set(pins.closure(pins.requirements_of(target))), refresh


@pytest.mark.parametrize(("target", "own"), [("api", "fastapi"), ("encode", "openai")])
def test_image_holds_neither_pytorch_nor_what_it_brings(target: str, own: str) -> None:
    pinned = {line.partition("==")[0] for line in (pins.FOLDER / f"{target}.txt").read_text().splitlines()}
    assert pinned & (_ML - {"scikit-image", "scipy", "openai"} if target == "encode" else _ML) == set()
    assert not [name for name in pinned if name.startswith(("nvidia", "cuda", "triton", "torch"))]
    assert own in pinned
