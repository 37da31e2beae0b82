"""Processes that calculate: results come back in order, failures are named only, and nothing outlives its parent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from gmpy2 import invert, mpz, powmod
from sfs_op_phe.powers import product_of_powers
from sfs_op_phe.stock import Stock
from sfs_op_phe.tree_merge import Row, Terms, sums_of
from sfs_op_phe.workers import Workers, WorkersClosedError

MODULUS = mpz(10**9 + 7)


@pytest.fixture(scope="module")
def workers():
    started = Workers(2)
    started.prepare(abs, (1,))
    yield started
    started.close()


def pids(workers):
    return [worker._process.pid for worker in workers._started]


def test_calls_are_answered_in_order_by_other_processes(workers):
    bases = range(2, 40)
    calls = [([mpz(base)], [-(3**50)], MODULUS) for base in bases]
    expected = [invert(powmod(base, 3**50, MODULUS), MODULUS) for base in bases]
    assert workers.map(product_of_powers, calls) == expected
    assert len(set(pids(workers))) == 2
    assert workers.map(os.getpid, [()])[0] in pids(workers)


def test_preparing_at_the_same_time_ends(workers):
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(workers.prepare, abs, (1,)) for _ in range(40)]:
            done.result(120)


def test_failures_come_back_without_their_text(workers):
    with pytest.raises(ZeroDivisionError):
        workers.map(product_of_powers, [([MODULUS], [-1], MODULUS)])
    with pytest.raises(RuntimeError, match=r"^ValueError$"):
        workers.map(int, [("secret",)])
    assert workers.map(abs, [(-1,)]) == [1]


def test_what_a_process_cannot_do_any_more_is_done_here():
    workers = Workers(1)
    workers.prepare(abs, (1,))
    os.kill(pids(workers)[0], signal.SIGKILL)
    assert workers.map(os.getpid, [(), ()]) == [os.getpid()] * 2
    workers.close()


def test_processes_end_with_their_parent():
    program = (
        "import os, signal; from sfs_op_phe.workers import Workers; w = Workers(2); w.prepare(abs, (1,));"
        "print(*[each._process.pid for each in w._started], flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    for pid in map(int, done.stdout.split()):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        with os.fdopen(descriptor, "rb"):
            assert select.select([descriptor], [], [], 10)[0], "the worker still runs"


@pytest.mark.parametrize(("rows", "num_bases"), [(1, 70), (3, 20), (2, 0)])
def test_sums_are_the_same_however_they_are_shared_out(workers, small, rows, num_bases):
    key, alone = small.public, Workers(0)
    noise = key.noise()
    terms = [
        Terms([key.noise() for _ in range(num_bases)], [(-7) ** (i + row) for i in range(num_bases)], noise, 1)
        for row in range(rows)
    ]
    one = key.enter(key.power(1))
    parted = [Row([Terms([one], [3]), each, Terms(factor=one, num_factors=1)], row) for row, each in enumerate(terms)]
    noises = [key.noise() for _ in terms]
    shared = sums_of(parted, noises, key, workers, 4)
    assert shared == sums_of(parted, noises, key, alone, 4)
    assert small.decrypt(shared) == [3 * 4 * 4 + 1 + row for row in range(rows)]


def test_idle_workers_have_the_lowest_priority(workers):
    idle = Workers(1, idle=True)
    idle.prepare(abs, (1,))
    assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in pids(idle)] == [19]
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in pids(workers)} == {own}
    idle.close()


def test_a_stock_ends_quietly_with_its_workers(small):
    """Else a traceback would stand in the log of every party that is stopped while stocks are being filled."""
    workers = Workers(1)
    before = set(threading.enumerate())
    stock = Stock(small.noises, 10**6, make_ahead=lambda count: small.noises(16 * count, workers))
    (filling,) = (each for each in set(threading.enumerate()) - before if each.name == "sfs-phe-stock")
    while not len(stock):
        assert filling.is_alive()
    workers.close()
    with pytest.raises(WorkersClosedError):
        workers.map(abs, [(1,)])
    filling.join(60)
    assert not filling.is_alive()
    assert small.decrypt(stock.take(1)) == [0]


def test_random_numbers_of_workers_differ(workers, small):
    noises = small.public.noises(100, workers) + small.noises(100, workers)
    assert len(set(noises)) == 200
    assert small.decrypt(noises) == [0] * 200
