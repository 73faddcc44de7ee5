"""Whether what a teacher says of the training rows is kept for the steps of a lesson, and what the job says of that."""

import time
from dataclasses import replace

from models.status import Phase
from worker.engine import cache
from worker.engine.attempt import Attempt
from worker.engine.cut import cut_of
from worker.engine.rest import TEMPERATURES
from worker.engine.sources.source import Says
from worker.engine.transcripts import Asked
from worker.engine.wired import Heard, Wired
from worker.engine.wiring import Parts

#: A line so often while a teacher is asked about all rows.
_SAY_S = 60.0
#: Where the largest logits hold less of the probability, a job warns.
_SMALL_SHARE = 0.9
#: From so many classes on the largest outputs take far less room than all.
_MANY = 100


def kept(attempt: Attempt, parts: Parts, wired: Wired, teacher: Says) -> Says | cache.Kept | cache.KeptViews:
    """The teacher, or its outputs for all training samples where each would be asked for more than once."""
    train, augmentation = wired.lesson.train, wired.task.augmentation()
    changes = train.mixup is not None or (augmentation is not None and train.views is None)
    if changes or (augmentation is None and train.epochs == 1 and train.top_k is None):
        return teacher
    (heard,) = wired.heard.values()
    cut = cut_of(train, heard.dry.logits.shape[1])
    rows = len(parts.splits["train"])
    if not cache.fits(heard.dry, rows, cut):
        attempt.progress.notice("teacher_cache", _too_large(heard, rows, is_cut=cut is not None))
        return teacher
    keeper = _Keeper(attempt, parts, wired, teacher)
    return keeper.make() if augmentation is None or train.views is None else cache.KeptViews(train.views, keeper.view)


class _Keeper:
    """Has a teacher's answers kept, a table for each view, and tells what became of it."""

    def __init__(self, attempt: Attempt, parts: Parts, wired: Wired, teacher: Says) -> None:
        self._attempt, self._parts, self._wired, self._teacher = attempt, parts, wired, teacher
        self._told = set[int]()

    def make(self, view: int = 0) -> cache.Kept:
        """The outputs in this view."""
        attempt, parts, wired = self._attempt, self._parts, self._wired
        attempt.progress.phase(Phase.CACHING)
        asked = Asked("train", parts.splits["train"], wired.task.augmentation(), view)
        before, (heard,) = replace(parts.transcripts.tally), wired.heard.values()
        cut = cut_of(wired.lesson.train, heard.dry.logits.shape[1])
        made = parts.transcripts.of_training(self._teacher, asked, wired.lesson.train, _Patience(attempt), cut)
        # A view that does not fit beside the others is made again each time it comes.
        if view not in self._told:
            self._told.add(view)
            self._tell(before, view)
            self._tell_of_cut(made, heard, view)
        return made

    def view(self, view: int) -> cache.Kept:
        """The outputs in this view, between steps."""
        made = self.make(view)
        self._attempt.progress.phase(Phase.TRAINING)
        return made

    def _tell(self, before: cache.Tally, view: int) -> None:
        """What became of one table, in a sentence, where files had a part in it."""
        now, views = self._parts.transcripts.tally, self._wired.lesson.train.views
        unshared = now.unshared_rows - before.unshared_rows
        if now.bytes == before.bytes and not unshared:
            return
        reused, computed = now.reused_rows - before.reused_rows, now.computed_rows - before.computed_rows
        which = f" in view {view + 1} of {views}" if views else ""
        self._attempt.progress.notice(
            "teacher_cache",
            f"what the teacher says of the training rows{which}: {reused:,} were there from before, and it was asked "
            f"about {computed:,}{self._unshared(unshared)}",
        )

    def _unshared(self, rows: int) -> str:
        """What is added for rows that other jobs will not find, for lack of room."""
        (heard,) = self._wired.heard.values()
        num = heard.dry.logits.shape[1]
        can_be_cut = self._wired.lesson.train.top_k is None and not heard.dry.members and num >= _MANY
        can_be_cut = can_be_cut and not any(term.unfit_top_k(num) for term in heard.terms)
        remedy = ": `top_k` keeps less of each" if can_be_cut else ""
        return f"; for {rows:,} of these the cache had no room{remedy}" if rows else ""

    def _tell_of_cut(self, made: cache.Kept, heard: Heard, view: int) -> None:
        """How much of the probability the largest outputs hold at the temperatures of the losses, of the first view."""
        if made.cut is None or view:
            return
        temperatures = sorted({lens.T for lens in heard.lenses if lens.T is not None})
        shares = {T: made.cut.share_kept(made.outputs, T) for T in temperatures}
        each = ", ".join(f"{share:.1%} at T = {T:g}" for T, share in shares.items())
        if not each:
            return
        message = (
            f"of the teacher's probability the {made.cut.k:,} largest of {made.cut.num_classes:,} outputs hold {each}"
        )
        if min(shares.values()) < _SMALL_SHARE:
            more = "of how the rest is spread the student learns nothing: a larger `top_k` or a smaller T keeps more"
            self._attempt.progress.warning("top_k", f"{message}; {more}")
        else:
            self._attempt.progress.notice("top_k", message)


def _too_large(heard: Heard, rows: int, *, is_cut: bool) -> str:
    """Why nothing is kept, and what would change that."""
    size, most = cache.size(heard.dry, rows), cache.MAX_BYTES
    message = (
        f"what the teacher says of {rows:,} training rows would take {size / 2**30:,.1f} GiB, and {most / 2**30:g} are "
        "kept at most: it is asked at each step"
    )
    logits = cache.size(replace(heard.dry, features={}, embedding=None, members={}), rows)
    if heard.dry.members or is_cut or size - logits > most:
        return message
    # A kept logit has its class beside it, and the rest has its levels: four bytes each.
    largest = (most - (size - logits)) // (8 * rows) - len(TEMPERATURES) // 2
    if largest < 1 or any(term.unfit_top_k(largest) for term in heard.terms):
        return message
    return (
        f'{message}. `train.teacher_cache` {{"top_k": K}} keeps the K largest outputs of each, here up to {largest:,}'
    )


class _Patience:
    """Looks at the clock while a teacher is asked about a whole split, and says now and then that the job is alive."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt, self._said_at = attempt, time.monotonic()

    def __call__(self) -> None:
        self._attempt.stop.check()
        if time.monotonic() - self._said_at > _SAY_S:
            self._said_at = time.monotonic()
            self._attempt.progress.notice("caching", "the teacher is still being asked about the training rows")
