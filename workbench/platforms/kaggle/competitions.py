"""Calls about a competition of Kaggle, which tell an unknown competition from other refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workbench.core.errors import NotFoundError, PlatformError, WorkbenchError, did_you_mean
from workbench.platforms.kaggle.connection import Connection, pages
from workbench.platforms.kaggle.failures import OR_NO_SUCH, quoted, status_of

__all__ = ["CompetitionCalls"]

PAGE_SIZE = 200
"""The number of entries requested per page of a list."""


class CompetitionCalls:
    """Calls about competitions; each competition is looked up once.

    Kaggle refuses a call in the same way for a competition that does not exist and for one whose rules are not
    accepted: after such a refusal the competition itself is looked up.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._competition_by_slug: dict[str, Any] = {}

    def has_competition(self, slug: str) -> bool:
        """Tell whether a competition has been looked up and exists."""
        return slug in self._competition_by_slug

    def competition(self, slug: str, *, refresh: bool = False) -> Any:
        """Return the client's `ApiCompetition`, from an earlier call unless `refresh`.

        Raises
        ------
        NotFoundError
            When there is no such competition, with similar names.
        """
        if refresh or slug not in self._competition_by_slug:
            try:
                competition = self._connection.call(
                    f"looking up {slug!r}", "get_competition", {"competition_name": slug}, slug=slug
                )
            except (NotFoundError, PlatformError) as exc:
                if status_of(exc.__cause__) not in (403, 404):
                    raise
                raise self._unknown(slug, exc) from exc.__cause__
            if not competition.ref and not competition.title:
                raise PlatformError(f"Kaggle sent something other than a competition while looking up {slug!r}")
            self._competition_by_slug[slug] = competition
        return self._competition_by_slug[slug]

    def call(self, slug: str, action: str, method: str, **fields: Any) -> Any:
        """Make a call about a competition that may be repeated; `action` is without the slug, see `Connection.call`."""
        with self.explaining_refusals(slug):
            return self._call(slug, action, method, **fields)

    def pages(self, slug: str, action: str, method: str, **fields: Any) -> Iterator[Any]:
        """Yield every page of a list that belongs to a competition."""
        return pages(lambda token: self.call(slug, action, method, page_size=PAGE_SIZE, page_token=token, **fields))

    @contextmanager
    def explaining_refusals(self, slug: str) -> Iterator[None]:
        """Within the block, look the competition up after a refusal that may mean that it does not exist."""
        try:
            yield
        except (NotFoundError, PlatformError) as exc:
            if status_of(exc.__cause__) not in (403, 404):
                raise
            try:
                competition = self.competition(slug)
            except NotFoundError:
                raise
            except WorkbenchError:
                raise exc from exc.__cause__
            if OR_NO_SUCH not in exc.message:
                raise
            title = quoted(competition.title or "")
            hint = f"{exc.hint.partition(';')[0]}; or is {slug!r} {title} not the competition that you mean?"
            raise PlatformError(exc.message.replace(OR_NO_SUCH, ""), hint=hint) from exc.__cause__

    def _call(self, slug: str, action: str, method: str, **fields: Any) -> Any:
        """Make a call about a competition without explaining refusals."""
        return self._connection.call(f"{action} for {slug!r}", method, {"competition_name": slug, **fields}, slug=slug)

    def _unknown(self, slug: str, exc: NotFoundError | PlatformError) -> NotFoundError:
        """Return the error for a competition that Kaggle refuses to look up, with similar names as the hint."""
        quotation = exc.message.partition("“")[2].rpartition("”")[0]
        or_hidden_note = ", or none that this login may see" if status_of(exc.__cause__) == 403 else ""
        quoted_reason = f": it says {quoted(quotation)}" if quotation else ""
        hint = "check the name in the competition's address, after /competitions/"
        try:
            slugs = self._search(slug)
        except WorkbenchError:
            slugs = []
        if slugs:
            hint = did_you_mean(slug, slugs, kind="competition")
        return NotFoundError(f"Kaggle has no competition {slug!r}{or_hidden_note}{quoted_reason}", hint=hint)

    def _search(self, slug: str) -> list[str]:
        """Return the slugs that Kaggle's search finds for a slug or its beginning, and those the user has entered."""
        searches: list[dict[str, Any]] = [{"search": slug}, {"search": slug.partition("-")[0][:4]}, entered_fields()]
        slugs: list[str] = []
        for fields in searches:
            response = self._connection.call("searching competitions", "list_competitions", fields)
            # `ref` is the competition's address, which ends in its slug.
            slugs += [c.ref.rstrip("/").rpartition("/")[2] for c in response.competitions]
        return slugs


def entered_fields() -> dict[str, Any]:
    """Return the fields of a `list_competitions` request for the competitions that the user has entered."""
    from kagglesdk.competitions.types.competition_enums import CompetitionListTab

    return {"group": CompetitionListTab.COMPETITION_LIST_TAB_ENTERED, "page_size": PAGE_SIZE}
