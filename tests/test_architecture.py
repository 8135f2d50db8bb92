"""The rules of the layout that import-linter and ruff cannot see."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from laraq import errors

ROOT = Path(__file__).parents[1]
ADAPTERS = sorted(path.name for path in (ROOT / "adapters").iterdir() if path.is_dir())
PACKAGES = [ROOT / "laraq", *(ROOT / "adapters" / name for name in ADAPTERS)]
INITS = sorted(init for package in PACKAGES for init in package.rglob("__init__.py"))


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_drawn_error_tree_equals_the_classes() -> None:
    assert dict(drawn_tree(errors.__doc__ or "")) == {
        name: parent_name(value)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.LaraqError)
    }


def test_the_wheel_holds_laraq_and_every_adapter() -> None:
    packages = pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert packages == ["laraq", *(f"adapters/{name}" for name in ADAPTERS)]


def test_the_import_contracts_cover_every_adapter() -> None:
    contracts = pyproject()["tool"]["importlinter"]
    apart = next(each for each in contracts["contracts"] if each["name"].startswith("no adapter knows another adapter"))
    assert contracts["root_packages"] == ["laraq", *ADAPTERS]
    assert apart["layers"] == [" | ".join(name for name in ADAPTERS if name != "laraq_kombu"), "laraq_kombu", "laraq"]
    assert set(ADAPTERS) <= forbidden_in_the_core()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_is_typed(package: Path) -> None:
    assert (package / "py.typed").exists()


@pytest.mark.parametrize("init", INITS, ids=lambda init: str(init.relative_to(ROOT)))
def test_all_names_what_a_package_re_exports(init: Path) -> None:
    """Its order is ruff's RUF022."""
    tree = ast.parse(init.read_text())
    assert sorted(declared_names(tree)) == sorted(re_exported_names(tree, init))


def test_importing_laraq_imports_no_vendor() -> None:
    code = "import sys, laraq; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert forbidden_in_the_core().isdisjoint(loaded.split())


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "helper", "common", "misc"])
def test_no_file_is_a_drawer(name: str) -> None:
    folders = [*PACKAGES, ROOT / "tests", ROOT / "examples", ROOT / "benchmarks"]
    assert not [path for folder in folders for path in folder.rglob("*") if path.stem == name]


def drawn_tree(drawing: str) -> Iterator[tuple[str, str | None]]:
    """Each class in the drawing with its parent; a level is four characters deep."""
    branch: list[str] = []
    for line in drawing.splitlines():
        name = line.lstrip("│├└─ ")
        if name.isidentifier():
            del branch[(len(line) - len(name)) // 4 :]
            yield name, branch[-1] if branch else None
            branch.append(name)


def parent_name(error: type[Exception]) -> str | None:
    return next((base.__name__ for base in error.__bases__ if issubclass(base, errors.LaraqError)), None)


def forbidden_in_the_core() -> set[str]:
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    core = next(each for each in contracts if each["type"] == "forbidden" and each["source_modules"] == ["laraq"])
    return set(core["forbidden_modules"])


def declared_names(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return list(ast.literal_eval(node.value))
    return []


def re_exported_names(tree: ast.Module, init: Path) -> list[str]:
    """Names imported from the package's own distribution, by plain imports or under TYPE_CHECKING for lazy ones."""
    own = {package.name for package in PACKAGES}
    blocks = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.If))]
    return [
        alias.asname or alias.name
        for block in blocks
        for node in block
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] in own)
        for alias in node.names
    ]
