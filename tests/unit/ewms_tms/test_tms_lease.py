"""An agent's lease, by a clock of the test's own."""

from __future__ import annotations

from ewms_tms.lease import Lease


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def new_lease(clock: Clock, ttl: float = 30.0) -> Lease:
    return Lease(1, ttl, clock)


def awake(clock: Clock, lease: Lease, seconds: float) -> None:
    """Time passes for a process that shows again and again that it is awake."""
    for _ in range(round(seconds)):
        clock.now += 1
        lease.show_awake()


def test_a_lease_holds_for_its_time_and_no_longer() -> None:
    clock = Clock()
    lease = new_lease(clock)
    awake(clock, lease, 29)
    assert lease.is_held
    assert lease.seconds_left == 1
    awake(clock, lease, 1)
    assert not lease.is_held
    assert lease.seconds_left == 0


def test_a_renewal_counts_from_its_receipt() -> None:
    clock = Clock()
    lease = new_lease(clock)
    awake(clock, lease, 20)
    lease.renew(30)
    awake(clock, lease, 29)
    assert lease.is_held


def test_a_process_that_was_stopped_trusts_no_renewal_that_had_waited_for_it() -> None:
    clock = Clock()
    lease = new_lease(clock)
    clock.now += 25
    lease.renew(30)
    assert not lease.is_held


def test_a_lease_that_was_slept_through_stays_lost() -> None:
    clock = Clock()
    lease = new_lease(clock)
    clock.now += 25
    assert not lease.is_held
    lease.renew(30)
    awake(clock, lease, 2)
    assert not lease.is_held
