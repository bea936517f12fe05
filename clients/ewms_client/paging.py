"""Lists as iterators: fetches a page when the one before is used up, with the same question."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from ewms_client.channel import answer

__all__ = ["each_item"]


class _PagedRequest(Protocol):
    page_token: str


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


_Request = TypeVar("_Request", bound=_PagedRequest)
_Response = TypeVar("_Response", bound=_Page)
_Item = TypeVar("_Item")


async def each_item(
    call: Callable[[_Request], Awaitable[_Response]],
    request: _Request,
    items: Callable[[_Response], Iterable[_Item]],
) -> AsyncIterator[_Item]:
    """Every item of every page, as it comes."""
    while True:
        page = await answer(call(request))
        for item in items(page):
            yield item
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
