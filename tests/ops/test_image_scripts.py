"""The scripts the Dockerfile runs: what they find in a tree that is made to hold it."""

import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    """Return a script of docker/, which is no package, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docker/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


remove_installers = script("remove_installers")
verify_image = script("verify_image")


def test_installers_are_found_in_packages_and_scripts(tmp_path: Path) -> None:
    """pip, setuptools and ensurepip with their metadata and commands; nothing else."""
    there = [
        "lib/ensurepip",
        "site-packages/pip",
        "site-packages/pip-25.1.dist-info",
        "site-packages/setuptools",
        "bin/pip3.13",
    ]
    for name in [*there, "site-packages/pipeline", "bin/python3", "lib/json"]:
        (tmp_path / name).mkdir(parents=True)

    found = remove_installers.installers(
        tmp_path / "lib", [tmp_path / "site-packages"], tmp_path / "bin"
    )

    assert {str(path.relative_to(tmp_path)) for path in found} == set(there)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `shop` with one module, the only thing an image holds beside Python."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").touch()
    (tmp_path / "shop/cart.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), sysconfig.get_paths()["stdlib"]])
    monkeypatch.setattr(verify_image, "INSTALLERS", ())
    monkeypatch.setattr(verify_image, "COMPILERS", ())
    monkeypatch.setattr(verify_image.os, "getuid", lambda: 10001)
    for name in ("shop", "shop.cart"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "shop"


def test_image_without_a_fault_passes(package: Path) -> None:
    """Every module can be imported and nothing forbidden is there."""
    assert list(verify_image.failures(["shop"], ["heavyware"])) == []


def test_module_that_cannot_be_imported_fails_the_image(package: Path) -> None:
    """A dependency that is missing is named with the module that wants it."""
    (package / "cart.py").write_text("import no_such_dependency\n")

    (failure,) = verify_image.failures(["shop"], [])

    assert failure.startswith("shop.cart cannot be imported")
    assert "no_such_dependency" in failure


def test_package_that_is_not_there_fails_the_image(package: Path) -> None:
    """A check of nothing must not pass."""
    (failure,) = verify_image.failures(["warehouse"], [])

    assert failure.startswith("warehouse cannot be imported")


def test_forbidden_module_fails_the_image(package: Path) -> None:
    """It need not be used: that it can be imported is enough."""
    (package.parent / "heavyware.py").touch()

    assert list(verify_image.failures(["shop"], ["heavyware"])) == [
        "the module heavyware can be imported and must not be here"
    ]


def test_installer_and_compiler_fail_the_image(
    package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A result holds nothing to build or fetch with."""
    (package.parent / "pip.py").touch()
    compiler = tmp_path / "cc"
    compiler.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(verify_image, "INSTALLERS", ("pip",))
    monkeypatch.setattr(verify_image, "COMPILERS", ("cc",))

    assert list(verify_image.failures(["shop"], [])) == [
        "the module pip can be imported and must not be here",
        f"{compiler} is here; a result holds no compiler",
    ]


def test_root_fails_the_image(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that verifies runs as the image's user, so a missing USER shows."""
    monkeypatch.setattr(verify_image.os, "getuid", lambda: 0)

    assert list(verify_image.failures(["shop"], [])) == [
        "runs as root; the image must name another user"
    ]
