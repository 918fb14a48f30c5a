"""Rows of a REST API: its pages, through dlt's client and paginators, as pulls.

A sweep reads all pages from one start on. Its start, and nothing else, depends on the state, so a sweep that was killed
is repeated from the same start, and rows that are in the table already are left out. The start moves when a sweep is
complete, to the greatest value of the cursor; with row_order "asc" it moves with each pull.

A sweep is complete, or ends with an error: links that lead back, pages that come again in place of the next one, pages
that are shorter than they were asked for, fewer rows than the server has announced, and answers without the rows'
place are errors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from trimtab.errors import DataError, DefinitionError, MissingExtra

try:
    from dlt.common import jsonpath
except ImportError as missing:
    raise MissingExtra("dlt", "api") from missing

import polars as pl
from dlt.common.configuration.specs import RuntimeConfiguration
from dlt.sources.helpers.rest_client.client import PageData, RESTClient
from dlt.sources.helpers.rest_client.detector import PaginatorFactory, find_response_page_data
from dlt.sources.helpers.rest_client.paginators import (
    BaseNextUrlPaginator,
    BasePaginator,
    HeaderCursorPaginator,
    HeaderLinkPaginator,
    JSONLinkPaginator,
    JSONResponseCursorPaginator,
    OffsetPaginator,
    PageNumberPaginator,
    SinglePagePaginator,
)
from dlt.sources.helpers.rest_client.redaction import sanitize_url
from requests import Request, Response

from trimtab.clock import Clock, SystemClock
from trimtab.data.connectors.contract import Access, Connector, Pull
from trimtab.data.connectors.rest_cursor import Cursor, CursorValue
from trimtab.data.connectors.rest_session import RestSession
from trimtab.data.json_rows import BadValue, flatten, table_of
from trimtab.definitions.rest_source import RESTSource

_TOTALS = ("total", "total_count", "totalcount", "count", "total_results", "totalresults")
"""Keys, in lower case, by which APIs announce how many rows there are."""
_MORE = ("has_more", "hasmore", "has_next", "hasnext")


class _State(msgspec.Struct, frozen=True, omit_defaults=True):
    """cursor: the greatest value of complete sweeps. pull: number of the next pull."""

    cursor: CursorValue | None = None
    pull: int = 0

    def text(self) -> str:
        return msgspec.json.encode(self).decode()


class _JsonLinks(JSONLinkPaginator):
    """dlt's paginator, for which an empty link ends the pages and anything but text is an error."""

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        super().update_state(response, data)
        link = self._next_reference
        if link is not None and not isinstance(link, str):
            raise ValueError(f"the link to the next page at '{self.next_url_path}' is {link!r:.100}; expected text")
        self._next_reference = link or None


class _Paginators(PaginatorFactory):
    """dlt's recognition of the paging style. Raises ValueError where a guess could leave out rows."""

    def create_paginator(self, response: Response) -> tuple[BasePaginator, float]:
        found, score = super().create_paginator(response)
        if isinstance(found, JSONLinkPaginator):
            return _JsonLinks(found.next_url_path), score
        if isinstance(found, PageNumberPaginator):
            raise ValueError(
                "the answer has a number of pages; expected a paginator in the source, such as paginator={'type': "
                f"'page_number', 'base_page': 1, 'page_param': 'page', 'total_path': '{found.total_path}'}}"
            )
        if isinstance(found, SinglePagePaginator):
            body = response.json()
            rows, values = find_response_page_data(body)[1], _values_in(body)
            here = len(rows) if isinstance(rows, list) else 1
            totals = (key for key in values if key.lower() in _TOTALS and type(values[key]) is int)
            key = _more_in(body) or next((key for key in totals if values[key] > here), None)
            if key is not None:
                raise ValueError(
                    f"the answer has more pages ('{key}' is {json.dumps(values[key])}), and how to ask for them was "
                    "not recognised; expected a paginator in the source, such as paginator={'type': 'offset', 'limit': "
                    "100}"
                )
        return found, score


_PAGINATORS: dict[str, type[BasePaginator]] = {
    "single_page": SinglePagePaginator,
    "header_link": HeaderLinkPaginator,
    "json_link": _JsonLinks,
    "header_cursor": HeaderCursorPaginator,
    "cursor": JSONResponseCursorPaginator,
    "offset": OffsetPaginator,
    "page_number": PageNumberPaginator,
}


class RestConnector:
    """Pulls the rows of one REST source."""

    def __init__(self, source: RESTSource, access: Access, clock: Clock | None = None) -> None:
        """Read the secrets of the source. Raises StageError when one is missing, DefinitionError for a wrong path."""
        self._source = source
        self._clock = clock or SystemClock()
        self._session = RestSession(source, self._clock)
        self._cursor = None if source.incremental is None else Cursor(source)
        try:
            if source.data_selector is not None:
                jsonpath.compile_path(source.data_selector)
            self._paginator()
        except Exception as error:  # the libraries raise errors of many kinds
            raise DefinitionError(f"{source.where}: data_selector or paginator: {error}") from None

    def pulls(self, state: str | None) -> Iterator[Pull]:
        """Yield the rows of one sweep, some `batch_rows` at a time.

        A pull without rows moves the start of the next sweep. Raises DataError when the API does not answer as the
        source says, SourceUnavailable when it did not answer after all attempts.
        """
        last = _State() if state is None else msgspec.json.decode(state, type=_State)
        cursor = self._cursor
        if cursor is not None:
            cursor.begin(last.cursor, now=self._clock.now())
        rows: list[dict[str, Any]] = []
        places: list[tuple[str, int]] = []
        for url, page in self._pages():
            for number, row in enumerate(page, start=1):
                where = f"{url}: row {number}"
                if not isinstance(row, dict):
                    raise self._error(f"{where} is {json.dumps(row):.80}; expected an object")
                try:
                    flat = flatten(row)
                    if cursor is not None:
                        cursor.see(flat)
                except ValueError as error:
                    raise self._error(f"{where}: {error}") from None
                rows.append(flat)
                places.append((url, number))
            if len(rows) >= self._source.batch_rows:
                last = _State(last.cursor if cursor is None else cursor.safe, last.pull + 1)
                yield self._pull(rows, places, last)
                rows, places = [], []
        greatest = None if cursor is None else cursor.greatest
        if rows or greatest != last.cursor:
            yield self._pull(rows, places, _State(greatest, last.pull + 1), moves=greatest != last.cursor)

    def check(self) -> str:
        """Return how many rows the first page has."""
        if self._cursor is not None:
            self._cursor.begin(None, now=self._clock.now())
        for url, page in self._pages():
            return f"{len(page):,} rows on the first page, {url}"
        return "no page"

    def _pull(
        self, rows: list[dict[str, Any]], places: list[tuple[str, int]], after: _State, *, moves: bool = False
    ) -> Pull:
        texts = [name for name, kind in self._source.dtypes.items() if kind == "text"]
        try:
            frame = pl.DataFrame(table_of(rows, texts=texts))
        except BadValue as error:
            url, number = places[error.row]
            raise self._error(f"{url}: row {number}: {error}") from None
        label = places[0][0] if places else self._source.origin
        return Pull(frame=frame.unique(maintain_order=True), state=after.text(), label=label, sparse=True, moves=moves)

    def _pages(self) -> Iterator[tuple[str, PageData[Any]]]:
        """Yield the pages of one sweep with their URLs, without secrets. Raises DataError unless it is complete."""
        source, session = self._source, self._session
        params, body = session.reveal(source.params), session.reveal(source.json)
        if self._cursor is not None and (start := self._cursor.start()) is not None:
            params[self._cursor.start_param] = start
        client = RESTClient(
            source.url,
            headers=session.reveal(source.headers),
            session=session,
            paginator_factory=_Paginators(),
            config=RuntimeConfiguration(),
        )
        pages = client.paginate(
            source.path,
            method=source.method,
            params=params,
            json=body,
            paginator=self._paginator(),
            data_selector=source.data_selector,
            hooks={"response": []},  # the session has checked the status
        )
        session.forget_answers()
        sweep = _Sweep(Request(source.method, source.origin, params=params, json=body))
        url, selector = source.origin, source.data_selector
        while True:
            try:
                page = next(pages, None)
                if page is None:
                    return
                url = session.shown(sanitize_url(page.response.request.url or ""))
                selector = selector or client.detect_data_selector(page.response)
                sweep.check(page, selector)
            except ValueError as error:  # of dlt's paginators, and of the checks of a sweep
                if isinstance(error, DataError):
                    raise
                raise self._error(f"{url}: {error!s:.400}") from None
            if page.paginator.has_next_page and isinstance(page.paginator, BaseNextUrlPaginator):
                session.expect_origin(str(page.request.url), page.response.request, "its next link leads")
            yield url, page

    def _paginator(self) -> BasePaginator | None:
        given = dict(self._source.paging)
        kind = given.pop("type")
        if kind in ("offset", "page_number"):
            given.setdefault("total_path", None)
        return None if kind == "auto" else _PAGINATORS[kind](**given)

    def _error(self, text: str) -> DataError:
        return DataError(self._session.shown(f"{self._source.where}: {text}"))


class _Sweep:
    """Checks page after page that the pages go on, none of them is a repetition, and all rows are there."""

    def __init__(self, first: Request) -> None:
        self._asked = {_signature(first)}
        self._pages: set[bytes] = set()
        self._rows = 0
        self._short: int | None = None

    def check(self, page: PageData[Any], selector: str) -> None:
        """Check one page and the request for the next. Raises ValueError."""
        pages, body = page.paginator, page.response.json()
        if body is None or ("*" not in selector and not jsonpath.find_values(selector, body)):
            raise ValueError(f"there are no rows at '{selector}'; expected a list, also when it is empty")
        self._rows += len(page)
        self._expect_new_rows(page, is_link=isinstance(pages, BaseNextUrlPaginator))
        if isinstance(pages, OffsetPaginator):
            if self._short is not None and page:
                raise ValueError(
                    f"the page before has {self._short} rows in place of {pages.limit}, and is not the last; expected "
                    f"limit to be at most what the server gives, such as {self._short}"
                )
            self._short = len(page) if len(page) < pages.limit else None
        if not pages.has_next_page:
            self._expect_end(pages, body)
        elif (asked := _signature(page.request)) in self._asked:
            raise ValueError("the next page that the server names is one that was read already: its pages never end")
        else:
            self._asked.add(asked)

    def _expect_new_rows(self, page: PageData[Any], *, is_link: bool) -> None:
        digest = hashlib.sha256(json.dumps(page, sort_keys=True).encode()).digest()
        if page and digest in self._pages:
            hint = "" if is_link else "; are base_page and the names of the paginator's parameters right?"
            raise ValueError(f"the page has the rows of an earlier page, and those of this page are missing{hint}")
        self._pages.add(digest)

    def _expect_end(self, pages: BasePaginator, body: Any) -> None:
        if getattr(pages, "maximum_value", None) is not None:
            return
        key = _more_in(body)
        if key is not None:
            raise ValueError(f"there is no next page, although '{key}' is true; is the paginator right?")
        if isinstance(pages, OffsetPaginator) and pages.total_path is not None:
            total = int(jsonpath.find_values(pages.total_path, body)[0])
            if self._rows < total - pages.initial_value:
                raise ValueError(f"the pages have {self._rows:,} rows, and the server announces {total:,}")


def _signature(request: Request) -> str:
    prepared = Request("GET", request.url, params=request.params).prepare()
    return json.dumps([prepared.url, request.json], sort_keys=True, default=str)


def _values_in(body: Any) -> dict[str, Any]:
    """Return the values of an answer and of the objects in it, by key."""
    if not isinstance(body, dict):
        return {}
    inner = {key: value for each in body.values() if isinstance(each, dict) for key, value in each.items()}
    return inner | body


def _more_in(body: Any) -> str | None:
    """Return the key by which an answer says that there are more pages, or None."""
    return next((key for key, value in _values_in(body).items() if key.lower() in _MORE and value is True), None)


_: type[Connector] = RestConnector
