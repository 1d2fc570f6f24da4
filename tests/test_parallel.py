"""Work in threads: the order, the errors, and how much of it waits."""

import threading

import pytest

from segkit.parallel import ordered


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_results_come_in_the_order_of_the_items(workers, count):
    assert list(ordered(lambda i: i * i, range(count), workers=workers)) == [
        i * i for i in range(count)
    ]


def test_threads_work_at_the_same_time():
    """Two wait for each other; one alone would wait in vain."""
    meeting = threading.Barrier(2, timeout=30)
    assert list(ordered(lambda _: meeting.wait() >= 0, range(2), workers=2)) == [True, True]


def test_few_results_wait_to_be_taken():
    begun = []
    results = ordered(lambda i: begun.append(i) or i, range(1000), workers=2)
    assert next(results) == 0
    assert len(begun) <= 10
    results.close()
    assert len(begun) <= 20


def test_an_error_comes_where_its_result_would():
    results = ordered(lambda i: 1 // (3 - i), range(6), workers=2)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_bar_is_for_terminals(capfd):
    assert list(ordered(abs, [-1], "reading")) == [1]
    assert capfd.readouterr() == ("", "")
