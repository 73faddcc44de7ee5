"""`make corpus`: hand every hostile and every good file to the confined converter, and print what became of them.

Ends with 1 where a hostile file was accepted, a good one refused, a canary touched or a limit not kept.
"""

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from scripts.corpus import table
from scripts.corpus.all_cases import cases
from scripts.corpus.control import unsprung
from scripts.corpus.run import bench


def main() -> int:
    """The whole corpus, or the groups whose name holds a word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="groups whose name holds this")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--write", type=Path, help="the page that carries the table")
    given = parser.parse_args()
    console, started = Console(), time.monotonic()
    with bench() as made:
        if failed := unsprung(made):
            console.print(f"The traps do not spring where nothing holds them: {failed}. So they would prove nothing.")
            return 1
        chosen = [case for case in cases(made.canary) if given.only in case.group]
        seen = []
        for each in made.check_all(chosen, given.at_once):
            seen.append(each)
            if (wrong := each.violation()) is not None:
                console.print(f"{each.case.group} / {each.case.name}: {wrong}", style="red", markup=False)
    command = "make corpus" + (f" ONLY='{given.only}'" if given.only else "")
    text = table.text(seen, command, time.monotonic() - started)
    console.print(Markdown(text))
    if given.write is not None:
        table.write(given.write, "corpus", text)
    return 1 if any(each.violation() for each in seen) else 0


if __name__ == "__main__":
    sys.exit(main())
