"""What nearly every check imports, for a spare to import before there is an upload (worker/forker.py).

Imports and nothing else: a child that opens users' files is forked from it and gives up the network and its rights only
then; nothing here may start a thread.
"""

import worker.intake.dataset
import worker.intake.teacher  # noqa: F401
