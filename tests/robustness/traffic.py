"""Users at work: so many stories at a time, one after the other, and who looks at all of them
meanwhile, a watcher of the whole feed and a lister.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path

from callers import Caller, Wms, follow_feed
from history import History
from plans import plan_story
from story import Story
from validation import missing_in_feed

from ewms.wms.v1 import workflow_service_pb2

__all__ = ["Traffic"]

_LIST_SECONDS = 0.3
_FEED_SECONDS = 120.0


class Traffic:
    """So many stories at a time, and who looks at them all. `stories` are those that began."""

    def __init__(
        self, addresses: list[str], history: History, ledger: Path, rng: random.Random
    ) -> None:
        self.stories: list[Story] = []
        self._addresses, self._history, self._ledger, self._rng = addresses, history, ledger, rng
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Begin no story any more."""
        self._ending.set()

    async def run(self, n_at_once: int) -> None:
        """Until `end`, and until every story that began has come to its own."""
        async with Wms(self._addresses) as wms, asyncio.TaskGroup() as group:
            beside = [
                group.create_task(follow_feed(wms, self._history, "feed")),
                group.create_task(self._list(wms)),
            ]
            async with asyncio.TaskGroup() as telling:
                for _ in range(n_at_once):
                    telling.create_task(self._tell(wms))
            await self._until_fed()
            for task in beside:
                task.cancel()

    async def _tell(self, wms: Wms) -> None:
        while not self._ending.is_set():
            plan = plan_story(len(self.stories), self._rng)
            story = Story(plan, wms, self._addresses, self._history, self._ledger)
            self.stories.append(story)
            await story.run()

    async def _list(self, wms: Wms) -> None:
        caller = Caller(wms, self._history, "lister")
        request = workflow_service_pb2.ListWorkflowsRequest(page_size=100)
        while True:
            await caller.ask("workflows", "ListWorkflows", request)
            await asyncio.sleep(_LIST_SECONDS)

    async def _until_fed(self) -> None:
        """Until the feed's watcher has seen what the others have, or clearly never will."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FEED_SECONDS):
                while missing_in_feed(self._history):
                    await self._history.next_record()
