"""What the benchmark of data beyond memory takes for a fault."""

from scripts.bench_folders import Done
from scripts.bench_memory import wrong

MB = 2**20


def done(rate: float, own: int, loss: float = 0.5) -> Done:
    report = {"teacher_cache": {"asked_rows": rate}, "timings": {"training": 1.0}, "val": {"loss": loss}}
    return Done(report, 1.0, 0.5, own * MB, 0)


def found(**streamed: float) -> dict[str, list[Done]]:
    read = done(**{"rate": 90, "own": 430, **streamed})  # type: ignore[arg-type]
    return {"in memory": [done(100, 500)], "read as it goes": [read], "a quarter, in memory": [done(100, 416)]}


def test_a_slow_a_large_and_another_student_are_faults() -> None:
    assert wrong(found(), 32 * MB) == []
    assert wrong(found(rate=79), 32 * MB) == ["reading rows as it goes is too slow"]
    assert wrong(found(own=449), 32 * MB) == ["it holds more than the budget"]
    assert wrong(found(loss=0.6), 32 * MB) == ["the students differ"]


def test_a_small_budget_tells_nothing_of_what_is_held() -> None:
    assert wrong(found(own=449), 8 * MB) == []
