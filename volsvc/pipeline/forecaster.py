"""Forecasts at points of event time, for readers of the latest store and for publication."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volsvc.domain import Outcome, PointForecast, format_time
from volsvc.features import Applied, DigestChain, SymbolTable
from volsvc.features.kernels.points import MINUTE
from volsvc.models import HORIZONS_S, Model, SymbolForecasts
from volsvc.pipeline.latest_store import LatestStore
from volsvc.pipeline.minute_record import minutes_of
from volsvc.pipeline.output_publisher import Outputs
from volsvc.serving.holder import ModelHolder
from volsvc.serving.model_choice import with_fallback
from volsvc.store import Minutes
from volsvc.telemetry.metrics import Metrics
from volsvc.transport import OutRecord
from volsvc.transport.codec import PublishedState, encode_features, encode_outcome


class Forecaster:
    """Forecasts with the current model, and learns from the forecasts that have matured."""

    def __init__(
        self,
        table: SymbolTable,
        holder: ModelHolder,
        latest_store: LatestStore,
        metrics: Metrics,
        writer: str,
        *,
        horizon_s: float = HORIZONS_S[0],
        observe: Callable[[PointForecast], None] | None = None,
        keep_minutes: Callable[[Minutes, Outputs], None] | None = None,
    ) -> None:
        """`writer` is this process's identity in the features topic.

        `horizon_s` is the horizon whose score heads `/latest`. `observe` is called with every
        forecast of the publishing grid, `keep_minutes` with the minutes that have ended and the
        records that are about to be published.
        """
        self.latest_store = latest_store
        self._table = table
        self._holder = holder
        self._metrics = metrics
        self._writer = writer
        self._horizon_s = horizon_s
        self._horizons = tuple(sorted({*HORIZONS_S, horizon_s}))
        self._observe = observe
        self._keep_minutes = keep_minutes
        latest_store.refresh = self.refresh

    def forecast(self, applied: Applied, outputs: Outputs) -> list[str]:
        """Learn and forecast at the points of applied ticks, and add the records to publish.

        Those of the publishing grid are published with the state at their tick. Returns the symbols
        whose published state is still that of now.
        """
        newest: list[str] = []
        if not len(applied.points):
            return newest
        forecasts = self._forecasts(applied.points)
        now, done = format_time(time.time_ns()), 0
        rows, kinds = applied.points["symbol"].tolist(), applied.points["kind"].tolist()
        partitions = applied.copies["partition"].tolist()
        offsets = applied.copies["offset"].tolist()
        while done < len(kinds):
            first = done
            # Published before the symbol's next point, which moves on what it has learnt.
            done, matured = forecasts.settle(first, to_grid=True)
            self._note_outcomes(matured, outputs)
            for index in range(first, done):
                row = rows[index]
                digest = self._table.digest(row)
                if kinds[index] == MINUTE:
                    bar = applied.points["bar"][index : index + 1]
                    digest.close(int(bar["minute"][0]), bar.tobytes())
                    continue
                forecast = forecasts.point_forecast(index, self._horizon_s)
                digest.add_forecast(forecast)
                self._table.forecast_history(row).add_forecast(forecast)
                if self._observe is not None:
                    self._observe(forecast)
                # The copy is of the point's tick: later ones of the slice have moved the state on.
                ticks = applied.copies[index : index + 1]
                content = self._table.stored_at(row, ticks, applied.outside.get(index))
                if self._table.is_at(row, ticks):
                    newest.append(forecast.row.symbol)
                place = partitions[index], offsets[index]
                outputs.features.append(self._encoded(forecast, digest, place, content, now))
        if self._keep_minutes is not None and MINUTE in kinds:
            self._keep_minutes(minutes_of(self._table, forecasts), outputs)
        return newest

    def learn_past(self, points: Any, outputs: Outputs) -> None:
        """Learn from the ends of bars of the past, which are kept as those of minutes are."""
        if not len(points):
            return
        forecasts = self._forecasts(points)
        forecasts.settle_without_outcomes()
        for bar, row in zip(points["bar"], points["symbol"].tolist(), strict=True):
            self._table.digest(row).close(int(bar["minute"]), bar.tobytes())
        if self._keep_minutes is not None:
            self._keep_minutes(minutes_of(self._table, forecasts), outputs)

    def publish_newest(self, rows: Sequence[int], outputs: Outputs) -> None:
        """Add records with the states of symbols at their newest ticks, before a commit.

        They depend on the size of polls, and so do not enter the digest chains.
        """
        points = self._table.newest(np.array(rows, np.int64))
        # A symbol whose every tick was rejected has no row, and so no forecast to publish.
        points = points[points["row"]["price"] > 0]
        if not len(points):
            return
        forecasts = self._forecasts(points)
        forecasts.settle()
        now = format_time(time.time_ns())
        for index, row in enumerate(points["symbol"].tolist()):
            forecast = forecasts.point_forecast(index, self._horizon_s)
            place, content = self._table.place(row), self._table.stored(row)
            digest = self._table.digest(row)
            outputs.features.append(self._encoded(forecast, digest, place, content, now))

    def _encoded(
        self,
        forecast: PointForecast,
        digest: DigestChain,
        place: tuple[int, int],
        content: bytes,
        now: str,
    ) -> OutRecord:
        closed = digest.closed
        state = PublishedState(*place, None if closed is None else closed.fields(), content)
        return encode_features(forecast, state, now, self._writer)

    def note_updated(self, rows: NDArray[np.int64]) -> None:
        """Tell the latest store which symbols have newer ticks than those published."""
        if not len(rows):
            return
        now_s = time.time()
        symbols = [self._table.symbol(row) for row in rows.tolist()]
        offsets = self._table.places(rows)[1].tolist()
        for symbol, offset in zip(symbols, offsets, strict=True):
            self.latest_store.note(symbol, now_s, offset)
        if self.latest_store.watched():
            self.refresh(symbols)

    def refresh(self, symbols: Sequence[str]) -> None:
        """Put the newest snapshots of symbols into the latest store, of those in the table."""
        rows = [row for symbol in symbols if (row := self._table.known_row(symbol)) is not None]
        if not rows:
            return
        points = self._table.newest(np.array(rows, np.int64))
        forecasts = self._forecasts(points)
        forecasts.settle()
        offsets = self._table.places(points["symbol"])[1].tolist()
        for index, offset in enumerate(offsets):
            forecast = forecasts.point_forecast(index, self._horizon_s)
            self.latest_store.put(forecast, time.time(), offset)

    def _note_outcomes(self, matured: Sequence[Outcome], outputs: Outputs) -> None:
        for outcome in matured:
            row = self._table.row(outcome.issued.symbol)
            self._table.forecast_history(row).add_outcome(outcome)
            outputs.outcomes.append(encode_outcome(outcome))

    def _forecasts(self, points: Any) -> SymbolForecasts:
        """Return the current model's forecasts at points, or the baseline's if the model fails."""
        shadow = self._holder.shadow

        def call(model: Model) -> SymbolForecasts:
            beside = shadow if shadow is not model else None
            return SymbolForecasts(self._table, model, points, self._horizons, beside)

        started = time.perf_counter()
        model, forecasts = with_fallback(self._holder.current, call)
        duration = time.perf_counter() - started
        self._metrics.model.time_inference(model.variant).observe(duration)
        return forecasts
