"""How many event streams are open: each holds a connection for as long as its job runs."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.errors import of_error
from core.errors import TooMany
from core.settings import settings

_WAIT_S = 10


class Seats:
    """The open streams of this process, by owner. Used from one event loop."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()

    def take(self, owner: str) -> None:
        """One stream more. TooMany where there are as many as may be."""
        own, every = settings().max_streams_per_owner, settings().max_streams
        if self.taken[owner] >= own:
            message = f"`{owner}` has {own} event streams open (DISTILLERY_MAX_STREAMS_PER_OWNER); close some, or poll"
        elif self.taken.total() >= every:
            message = f"{every} event streams are open (DISTILLERY_MAX_STREAMS); poll instead, or come back later"
        else:
            self.taken[owner] += 1
            return
        raise TooMany(message, code="too_many_streams", retry_after_s=_WAIT_S)

    def leave(self, owner: str) -> None:
        """The stream has ended."""
        self.taken[owner] -= 1
        if not self.taken[owner]:
            del self.taken[owner]


class SeatedStream(StreamingResponse):
    """A stream that holds a seat for as long as it is sent, and is refused where there is none."""

    def __init__(
        self, seats: Seats, owner: str, text: AsyncIterator[str], media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(text, media_type=media_type, headers=headers)
        self._seats = seats
        self._owner = owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all, or 429."""
        try:
            self._seats.take(self._owner)
        except TooMany as error:
            await of_error(error)(scope, receive, send)
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._seats.leave(self._owner)
