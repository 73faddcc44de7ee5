"""A job before a person's eyes: a live bar on a terminal, a line now and then elsewhere."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

#: Percent between two lines where nobody watches.
_LINE_EVERY = 20.0


def follow(events: Iterable[dict[str, Any]], console: Console) -> None:
    """Show the events of a job until they end."""
    if console.is_terminal:
        _follow_live(events, console)
    else:
        _follow_in_lines(events, console)


def _follow_live(events: Iterable[dict[str, Any]], console: Console) -> None:
    columns = (TextColumn("{task.description:<34}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task: TaskID = bar.add_task("waits for a worker", total=100)
        for event in events:
            data = event["data"]
            if event["type"] == "phase":
                bar.update(task, description=data["phase"])
            elif event["type"] == "progress":
                bar.update(task, completed=data["percent"], description=_where(data))
            elif event["type"] in {"warning", "notice", "requeued"}:
                bar.console.print(_remark(event))
            elif event["type"] == "succeeded":
                bar.update(task, completed=100, description="succeeded")


def _follow_in_lines(events: Iterable[dict[str, Any]], console: Console) -> None:
    shown = -_LINE_EVERY
    for event in events:
        data = event["data"]
        if event["type"] == "progress":
            if data["percent"] - shown >= _LINE_EVERY:
                shown = data["percent"]
                console.print(f"  {shown:3.0f} %  {_where(data)}")
        elif event["type"] == "phase":
            console.print(f"  {data['phase']}")
        elif event["type"] in {"warning", "notice", "requeued"}:
            console.print(f"  {_remark(event)}")
        elif event["type"] in {"succeeded", "failed", "cancelled"}:
            console.print(f"  {event['type']}")


def _where(data: dict[str, Any]) -> str:
    run = {"student": "with a teacher", "control": "without a teacher"}.get(data.get("run", ""))
    run = run or str(data.get("run", ""))
    return f"training {run}, epoch {data['epoch']}/{data['epochs']}"


def _remark(event: dict[str, Any]) -> str:
    return f"{event['type']}: {event['data'].get('message') or event['data'].get('reason', '')}"
