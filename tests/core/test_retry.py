"""Trying again: how often, how long in between, and when not."""

import pytest

from modules.core.errors import PipelineError, SourceError
from modules.core.retry import TryAgain, retried


class Flaky:
    """Raises its errors one after the other, then answers."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def test_a_success_is_not_repeated():
    call, waits = Flaky(), []
    assert retried(call, sleep=waits.append) == "answer"
    assert (call.calls, waits) == (1, [])


def test_waits_double():
    waits = []
    assert retried(Flaky(*[TryAgain("busy")] * 3), attempts=4, base_delay_s=0.5, sleep=waits.append) == "answer"
    assert waits == [0.5, 1.0, 2.0]


def test_a_wait_is_bounded():
    waits = []
    retried(Flaky(*[TryAgain("busy")] * 3), attempts=4, base_delay_s=9, max_delay_s=10, sleep=waits.append)
    assert waits == [9, 10, 10]


def test_the_last_error_is_raised_after_the_attempts():
    call = Flaky(TryAgain("first"), TryAgain("second"), TryAgain("third"))
    with pytest.raises(TryAgain, match=r"^second$"):
        retried(call, attempts=2, sleep=lambda _: None)
    assert call.calls == 2


@pytest.mark.parametrize("attempts", [1, 0, -1])
def test_there_is_always_one_attempt(attempts):
    call = Flaky(TryAgain("busy"))
    with pytest.raises(TryAgain):
        retried(call, attempts=attempts, sleep=lambda _: None)
    assert call.calls == 1


def test_retry_after_lengthens_a_wait_and_never_shortens_it():
    waits = []
    retried(Flaky(TryAgain("busy", 7), TryAgain("busy", 0.1)), base_delay_s=1, sleep=waits.append)
    assert waits == [7, 2]


def test_a_retry_after_beyond_patience_gives_up_at_once():
    call, waits = Flaky(TryAgain("banned", 3_600)), []
    with pytest.raises(TryAgain, match="banned"):
        retried(call, sleep=waits.append)
    assert (call.calls, waits) == (1, [])


def test_other_errors_pass_at_once():
    call = Flaky(SourceError("refused"))
    with pytest.raises(SourceError, match="refused"):
        retried(call, sleep=lambda _: None)
    assert call.calls == 1


def test_the_errors_to_retry_can_be_named():
    assert retried(Flaky(KeyError("x")), retry_on=(KeyError,), sleep=lambda _: None) == "answer"


def test_a_fault_that_may_pass_is_a_source_error_of_the_one_tree():
    assert issubclass(TryAgain, SourceError)
    assert issubclass(TryAgain, PipelineError)
