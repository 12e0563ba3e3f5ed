"""Health over time, as it was counted: charts and figures of the installation, a company, a subscription."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from hookline import tallies
from hookline.dashboard import charts, series, telling, words
from hookline.dashboard.context import Dashboard, Facts, Visit
from hookline.dashboard.frame import with_query
from hookline.dashboard.series import Range, Series
from hookline.storage.views import TallyQuery
from hookline.tallies import Level

LATE_MS: Final = 60_000
"""Of the oldest due delivery: what the alert is set to."""
COMPANIES_SHOWN: Final = 8
WAITING_COUNTED_MAX: Final = 10_000
"""Of one subscription: how much more it is changes nothing."""
NONE: Final = "none"
"""Said of a share or a span of nothing."""
LATEST: Final = 10_000
"""Attempts among which the last success is looked for."""
PER: Final = {"1h": "2 minutes", "24h": "half hour", "7d": "4 hours", "30d": "day"}
PER_COMPANIES: Final = {"24h": "hour", "7d": "day", "30d": "day"}
PER_SMALL: Final = {"24h": "hour", "7d": "4 hours", "30d": "day"}


async def series_of(
    dashboard: Dashboard,
    level: Level,
    subject_ids: Sequence[int],
    shown: Range,
    *,
    company_id: int | None = None,
    spreads: bool = True,
) -> dict[int, Series]:
    """Read the series of each subject."""
    if not subject_ids:
        return {}
    now = dashboard.clock.wall_ms()
    span_ms, cell_ms = shown.cells[level]
    found = await dashboard.storage.tallies(
        TallyQuery(
            level=level,
            span_ms=span_ms,
            cell_ms=cell_ms,
            from_at=series.from_at(shown, level, now),
            subject_ids=tuple(subject_ids),
            company_id=company_id,
            spreads=spreads,
        )
    )
    return series.laid_out(found, subject_ids, shown, level, now)


def choices(visit: Visit, level: Level) -> list[tuple[str, str, str]]:
    """Return the ranges that a page of this level offers: name, text and address."""
    return [
        (each.name, f"{each.name[:-1]}{words.SPACE}{each.name[-1]}", with_query(visit, range=each.name))
        for each in series.RANGES
        if level in each.cells
    ]


async def of_visit(visit: Visit, dashboard: Dashboard) -> Facts:
    """Return the charts of the installation, or of the member's company."""
    level = Level.INSTALLATION if visit.is_operator else Level.COMPANY
    return await of_subject(visit, dashboard, level, visit.company_id or 0)


async def of_subject(visit: Visit, dashboard: Dashboard, level: Level, subject_id: int) -> Facts:
    """Return the charts of one subject in the range that is asked for."""
    now = dashboard.clock.wall_ms()
    shown = series.range_of(visit.query("range"), level)
    its = (await series_of(dashboard, level, [subject_id], shown, company_id=visit.company_id))[subject_id]
    per = PER if level is Level.INSTALLATION else PER_SMALL
    return {
        "range": shown,
        "ranges": choices(visit, level),
        "per": per[shown.name],
        "series": its,
        "share": share(its.succeeded, its.ended),
        "first": spans_of(its.start),
        "answers": spans_of(its.answer),
        "attempts_chart": charts.attempts(its, shown.text, now),
        "first_chart": charts.percentiles(its, lambda cell: cell.start, "Time to first attempt", shown.text, now),
        "answer_chart": charts.percentiles(its, lambda cell: cell.answer, "Receivers' answer time", shown.text, now),
        "age_chart": charts.age(its, LATE_MS, shown.text, now) if level is Level.INSTALLATION else None,
        "alert": f"{LATE_MS // 1000}{words.SPACE}s",
    }


async def of_subscription(visit: Visit, dashboard: Dashboard, subscription_id: int) -> Facts:
    """Return the health of one subscription: its strip, its receiver's answer time, why attempts failed."""
    now = dashboard.clock.wall_ms()
    shown = series.range_of(visit.query("range"), Level.SUBSCRIPTION)
    its = (await series_of(dashboard, Level.SUBSCRIPTION, [subscription_id], shown, company_id=visit.company_id))[
        subscription_id
    ]
    waiting = (await dashboard.storage.waiting([subscription_id], WAITING_COUNTED_MAX))[subscription_id]
    return {
        "range": shown,
        "ranges": choices(visit, Level.SUBSCRIPTION),
        "series": its,
        "share": share(its.succeeded, its.ended),
        "answers": spans_of(its.answer),
        "strip": charts.strip(its, now),
        "strip_sentence": charts.strip_sentence(its, shown.text),
        "strip_labels": charts.time_labels(its, 46, now),
        "answer_chart": charts.percentiles(its, lambda cell: cell.answer, "Receiver's answer time", shown.text, now),
        "errors": errors_of(its),
        "last_success_at": await dashboard.storage.last_success_at(subscription_id, LATEST),
        "waiting": words.at_most(waiting, WAITING_COUNTED_MAX),
    }


async def strips(dashboard: Dashboard, subscription_ids: Sequence[int]) -> dict[int, tuple[list[charts.Stretch], str]]:
    """Return the strip of the last day of each subscription, neighbours that look the same in one piece."""
    now = dashboard.clock.wall_ms()
    found = await series_of(dashboard, Level.SUBSCRIPTION, subscription_ids, series.SMALL, spreads=False)
    return {
        each: (charts.strip(its, now, is_merged=True), charts.strip_sentence(its, series.USUAL.text))
        for each, its in found.items()
    }


class CompanyRow(NamedTuple):
    """How one company does."""

    company_id: int
    name: str
    series: Series
    share: str
    bars: list[tuple[int, float]]
    sentence: str
    answer: str


async def companies(dashboard: Dashboard, shown: Range) -> list[CompanyRow]:
    """Return the companies with the most failed attempts, the worst first, then those with the most attempts."""
    shown = series.OF_COMPANIES.get(shown.name, series.USUAL)
    now = dashboard.clock.wall_ms()
    span_ms, cell_ms = shown.cells[Level.COMPANY]
    found = await dashboard.storage.tallies(
        TallyQuery(
            level=Level.COMPANY,
            span_ms=span_ms,
            cell_ms=cell_ms,
            from_at=series.from_at(shown, Level.COMPANY, now),
            subject_ids=None,
        )
    )
    subject_ids = list({tally.subject_id for tally in found})
    all_series = series.laid_out(found, subject_ids, shown, Level.COMPANY, now)
    worst = sorted(all_series.items(), key=lambda each: (-each[1].dead, -each[1].failed, -each[1].succeeded))
    most = max((cell.failed for _, its in worst[:COMPANIES_SHOWN] for cell in its.cells), default=0)
    rows = []
    for company_id, its in worst[:COMPANIES_SHOWN]:
        company = await dashboard.storage.company(company_id)
        failed = [cell.failed for cell in its.cells]
        rows.append(
            CompanyRow(
                company_id=company_id,
                name=company.name if company else f"company {company_id}",
                series=its,
                share=share(its.succeeded, its.ended),
                bars=charts.spark(failed, most),
                sentence=f"Failed attempts per {PER_COMPANIES[shown.name]}, at most {max(failed):,}",
                answer=spans_of(its.answer)[1],
            )
        )
    return rows


def share(part: int, whole: int) -> str:
    """Say a share in percent: never 100 unless it is all, never 0 unless it is nothing."""
    if not whole:
        return NONE
    hundredths = part * 10_000 // whole
    return f"{hundredths // 100}" if hundredths % 100 == 0 else f"{hundredths / 100:.2f}"


def spans_of(spread: Any) -> list[str]:
    """Say p50, p95 and p99 of spans."""
    found = [tallies.percentile(spread, each) for _, each in series.SHARES]
    return [NONE if span is None else words.span(span) for span in found]


def errors_of(its: Series) -> list[tuple[str, str, int]]:
    """Say why attempts failed, the most frequent first: class, words, count."""
    return [(name, telling.in_short(name, status), count) for (name, status), count in its.errors.most_common()]


def last_error_of(its: Series) -> str:
    """Say why attempts failed most often in the last cell in which any did; empty where none did."""
    return next(
        (telling.in_short(*cell.errors.most_common(1)[0][0]) for cell in reversed(its.cells) if cell.errors), ""
    )
