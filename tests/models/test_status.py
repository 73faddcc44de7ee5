"""The state machine's shape."""

from models.status import LEASED, MOVES, TERMINAL, JobStatus


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(JobStatus)


def test_terminal_states_never_change() -> None:
    assert {status for status, moves in MOVES.items() if not moves} == TERMINAL
    assert all(status.is_terminal for status in TERMINAL)


def test_every_state_is_reached_from_queued_and_ends() -> None:
    def reachable(start: JobStatus) -> set[JobStatus]:
        seen, stack = {start}, [start]
        while stack:
            fresh = MOVES[stack.pop()] - seen
            seen |= fresh
            stack.extend(fresh)
        return seen

    assert reachable(JobStatus.QUEUED) == set(JobStatus)
    assert all(reachable(status) & TERMINAL for status in JobStatus)


def test_a_lease_is_only_held_by_states_that_an_attempt_can_end() -> None:
    assert all(MOVES[status] & TERMINAL for status in LEASED)
