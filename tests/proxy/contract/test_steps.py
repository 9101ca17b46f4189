"""Work in small steps, done at once."""

import pytest

from proxy.contract.steps import Steps, finish


def work(steps: int) -> Steps[int]:
    """Yield so many times, and return the number."""
    for _ in range(steps):
        yield
    return steps


@pytest.mark.parametrize("steps", [0, 1, 1_000])
def test_the_result_is_what_the_work_returns(steps: int) -> None:
    """However many steps it takes."""
    assert finish(work(steps)) == steps


def test_what_work_raises_is_raised() -> None:
    """From the middle of it, too."""

    def broken() -> Steps[None]:
        yield
        raise KeyError("x")

    with pytest.raises(KeyError):
        finish(broken())
