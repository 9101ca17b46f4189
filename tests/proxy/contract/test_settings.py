"""Settings: read once, all problems at once, secrets never shown."""

import argparse
import dataclasses
from typing import Any

import pytest

from proxy.contract.settings import (
    SettingsError,
    add_arguments,
    boolean,
    read,
    rows,
    setting,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """A little of everything."""

    port: int = setting(8016, "where it listens", parse=int)
    key: str = setting("", "who it is", secret=True)
    admin_token: str = setting("", "who may", env="ADMIN_TOKEN", secret=True, flag=True)
    verbose: bool = setting(False, "say more", parse=boolean)
    origins: tuple[str, ...] = setting((), "who asks", parse=lambda t: tuple(t.split(",")))
    derived: int = 5

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.port == 0:
            raise SettingsError(["--port: 0 is none"])


def of(environ: dict[str, str] | None = None, *argv: str) -> Settings:
    """Return the settings of an environment and a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser, Settings)
    return read(Settings, environ or {}, vars(parser.parse_args(argv)))


def test_defaults_hold_where_nothing_is_said() -> None:
    """Every setting has one."""
    assert of() == Settings()


def test_the_environment_is_read_by_prefixed_name() -> None:
    """Or by the name that the setting gives."""
    settings = of({"MATRIXFLAG_PORT": "1", "ADMIN_TOKEN": "t", "PORT": "2"})
    assert (settings.port, settings.admin_token) == (1, "t")


def test_a_flag_wins_over_the_environment() -> None:
    """It is nearer to whoever starts the program."""
    assert of({"MATRIXFLAG_PORT": "1"}, "--port", "2").port == 2


def test_an_empty_variable_counts_as_not_set() -> None:
    """That is what shells and manifests make of nothing."""
    assert of({"MATRIXFLAG_PORT": ""}).port == 8016


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("true", True), ("1", True), ("YES", True), (" on ", True)),
        *(("false", False), ("0", False), ("No", False), ("off", False)),
    ],
)
def test_booleans_are_words(text: str, value: bool) -> None:
    """In any case."""
    assert boolean(text) is value


@pytest.mark.parametrize("text", ["", "2", "tru", "enabled"])
def test_other_words_are_no_booleans(text: str) -> None:
    """Rather than false."""
    with pytest.raises(ValueError, match="true or false"):
        boolean(text)


def test_a_boolean_flag_needs_no_value() -> None:
    """And takes one."""
    assert of(None, "--verbose").verbose
    assert not of({"MATRIXFLAG_VERBOSE": "1"}, "--verbose", "false").verbose


def test_all_problems_are_listed_by_name() -> None:
    """By the one that was used."""
    with pytest.raises(SettingsError) as caught:
        of({"MATRIXFLAG_VERBOSE": "maybe"}, "--port", "many")
    assert len(caught.value.problems) == 2
    assert any(p.startswith("MATRIXFLAG_VERBOSE: 'maybe'") for p in caught.value.problems)
    assert any(p.startswith("--port: 'many'") for p in caught.value.problems)


def test_what_settings_mean_together_is_their_own_affair() -> None:
    """Their own check speaks."""
    with pytest.raises(SettingsError, match="0 is none"):
        of(None, "--port", "0")


def _refuse(_text: str) -> Any:
    raise ValueError("is not good")


def test_a_secret_is_not_shown_in_a_problem() -> None:
    """Nor in a repr."""

    @dataclasses.dataclass(frozen=True)
    class Strict:
        key: str = setting("", "who it is", parse=_refuse, secret=True)

    with pytest.raises(SettingsError) as caught:
        read(Strict, {"MATRIXFLAG_KEY": "hunter2"}, {})
    assert str(caught.value) == "MATRIXFLAG_KEY: is not good"
    assert "hunter2" not in repr(of({"MATRIXFLAG_KEY": "hunter2"}))


def test_a_secret_has_no_flag_unless_it_says_so() -> None:
    """Other users can see a command line."""
    flags = {row.field: row.flag for row in rows(Settings)}
    assert flags["key"] is None
    assert flags["admin_token"] == "--admin-token"
    with pytest.raises(SystemExit):
        of(None, "--key", "x")


def test_only_settings_are_listed() -> None:
    """In order of declaration."""
    assert [row.field for row in rows(Settings)] == [
        "port", "key", "admin_token", "verbose", "origins"
    ]  # fmt: skip


def test_help_can_hold_a_percent_sign(capsys: pytest.CaptureFixture[str]) -> None:
    """argparse would take it for a placeholder."""

    @dataclasses.dataclass(frozen=True)
    class Shares:
        share: int = setting(50, "in %", parse=int)

    parser = argparse.ArgumentParser()
    add_arguments(parser, Shares)
    assert "in % [50] (MATRIXFLAG_SHARE)" in parser.format_help()


def test_a_default_is_immutable() -> None:
    """It is shared."""
    with pytest.raises(TypeError):
        setting([], "a list")


def test_what_does_not_fit_together_is_told_beside_what_could_not_be_parsed() -> None:
    """All at once, but for what follows from a default that nobody chose."""

    @dataclasses.dataclass(frozen=True)
    class Ports:
        one: int = setting(1, "one", parse=int)
        two: int = setting(2, "two", parse=int)
        two_s: float = setting(3.0, "another", parse=float)

        def __post_init__(self) -> None:
            raise SettingsError(
                ["--two-s: too much", "--two: for --one", "MATRIXFLAG_ONE_S: none", "--two: none"]
            )

    for environ, args in (({"MATRIXFLAG_ONE": "x"}, {}), ({}, {"one": "x"})):
        with pytest.raises(SettingsError) as caught:
            read(Ports, environ, args, lambda _values: ["--two-file: empty"])
        assert [problem.partition(":")[0] for problem in caught.value.problems] == [
            "MATRIXFLAG_ONE" if environ else "--one",
            "--two-file",
            "--two-s",
            "MATRIXFLAG_ONE_S",
            "--two",
        ]
