"""How the flags of a scenario are written."""

import json

import pytest

from loadtests.flags import main
from loadtests.formats import FORMATS
from loadtests.scenarios import SCENARIOS


@pytest.mark.parametrize("form", FORMATS)
def test_flags_are_written_as_json(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One document on standard output, to be put in a file."""
    assert main(["bulk5", "--format", form]) == 0
    assert json.loads(capsys.readouterr().out) == FORMATS[form](SCENARIOS["bulk5"].flags())


def test_an_unknown_scenario_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names those that there are."""
    with pytest.raises(SystemExit):
        main(["double"])
    assert "bulk350-repeated" in capsys.readouterr().err
