import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import ExitStack, closing
from time import sleep

import pytest

from rankstream.ranking.backends.batching import Batcher, BatcherClosedError
from tests.builders.patience import PATIENCE_S


class Doubling:
    """Doubles numbers; a batch ends only when it may."""

    def __init__(self, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.may_end = threading.Semaphore(0), threading.Event()
        if not held:
            self.may_end.set()

    def start(self, batch):
        self.batches.append(list(batch))
        self.begun.release()
        if -1 in batch:
            raise ValueError("a number below zero")

        def end():
            self.may_end.wait(PATIENCE_S)
            return [2 * one for one in batch]

        return end


@pytest.fixture
def a_batcher():
    """Make batchers whose threads end with the test."""
    with ExitStack() as made:

        def make(*args, **options):
            return made.enter_context(closing(Batcher(*args, **options)))

        yield make


def test_who_asks_gets_his_own_answer_and_batches_are_no_larger_than_they_may_be(a_batcher):
    doubling = Doubling()
    batcher = a_batcher(doubling.start, max_batch=4)
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(batcher.ask, range(64))) == [2 * one for one in range(64)]
    assert max(map(len, doubling.batches)) <= 4
    assert sorted(one for batch in doubling.batches for one in batch) == list(range(64))


def test_what_waits_while_batches_are_computed_goes_together(a_batcher):
    doubling = Doubling(held=True)
    batcher = a_batcher(doubling.start, max_batch=8, in_flight=2)
    with ThreadPoolExecutor(8) as threads:
        asked = []
        for number in range(2):
            asked.append(threads.submit(batcher.ask, number))
            assert doubling.begun.acquire(timeout=PATIENCE_S)
        asked += [threads.submit(batcher.ask, number) for number in range(10, 15)]
        while batcher._queue.qsize() < 4:  # one of the five waits to be first of the next batch
            sleep(0.001)
        doubling.may_end.set()
        assert [one.result() for one in asked] == [0, 2, 20, 22, 24, 26, 28]
    assert [len(batch) for batch in doubling.batches] == [1, 1, 5]


def test_a_batch_waits_for_more_until_its_deadline_and_no_longer(a_batcher):
    doubling = Doubling()
    batcher = a_batcher(doubling.start, max_batch=3, wait_s=10)  # the third request ends the wait
    with ThreadPoolExecutor(3) as threads:
        assert sorted(threads.map(batcher.ask, range(3))) == [0, 2, 4]
    assert [sorted(batch) for batch in doubling.batches] == [[0, 1, 2]]
    assert a_batcher(doubling.start, wait_s=0.01).ask(7) == 14  # nobody else comes


def test_a_batch_that_fails_fails_for_those_who_asked_and_the_next_goes_on(a_batcher):
    batcher = a_batcher(Doubling().start)
    with pytest.raises(ValueError, match="a number below zero"):
        batcher.ask(-1)
    assert batcher.ask(4) == 8


def test_both_threads_end_when_it_is_closed(a_batcher):
    before = set(threading.enumerate())
    batcher = a_batcher(Doubling().start)
    own = set(threading.enumerate()) - before
    assert batcher.ask(1) == 2
    batcher.close()
    for thread in own:
        thread.join(PATIENCE_S)
    assert len(own) == 2
    assert not any(thread.is_alive() for thread in own)


def asked_of(batcher, number):
    """What came of a request."""
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(batcher.ask, number)
        try:
            return asking.result(PATIENCE_S)
        except FutureTimeout:
            batcher._queue.get(timeout=5).answer.set_result(None)  # else nobody would end the thread
            raise


def test_who_asks_after_it_was_closed_is_told_so_at_once_and_who_asked_before_is_answered(a_batcher):
    doubling = Doubling(held=True)
    batcher = a_batcher(doubling.start, max_batch=1, in_flight=1)
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(batcher.ask, number) for number in range(3)]
        assert doubling.begun.acquire(timeout=PATIENCE_S)
        while batcher._queue.qsize() < 1:  # one is computed, and one waits for its turn
            sleep(0.001)
        batcher.close()
        batcher.close()
        doubling.may_end.set()
        assert [one.result(PATIENCE_S) for one in asked] == [0, 2, 4]
    with pytest.raises(BatcherClosedError, match="no request is taken any more"):
        asked_of(batcher, 4)


def test_a_batch_with_too_few_answers_fails_for_all_who_asked_and_the_next_goes_on(a_batcher):
    answers = iter([[2], [8]])
    batcher = a_batcher(lambda batch: lambda: next(answers), max_batch=2, wait_s=10)
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(batcher.ask, number) for number in (1, 2)]
        for one in asked:
            with pytest.raises(ValueError, match="2 requests were asked together, and 1 answers came"):
                one.result(PATIENCE_S)
    batcher._max_batch = 1
    assert asked_of(batcher, 4) == 8
