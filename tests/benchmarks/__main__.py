"""Speed of the hot paths: `make bench`.

Each figure stands beside a reference that is measured in the same run, in turns with it, so that
the ratio means something on any machine. Medians of seven rounds.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from volsvc.board import Board
from volsvc.config import FeatureSettings
from volsvc.consumer import Consumer
from volsvc.domain import Tick
from volsvc.features import MinuteBar, MultiScale, ReturnWindow, SymbolTable
from volsvc.kafka_config import KafkaSettings
from volsvc.metrics import Metrics
from volsvc.models import (
    FEATURES,
    HORIZONS_S,
    PACKAGED,
    Baseline,
    Model,
    ModelHolder,
    Wish,
    packaged,
)
from volsvc.sources.generator import Generator, GeneratorSpec
from volsvc.transport import OutRecord
from volsvc.transport.codec import encode_tick
from volsvc.transport.memory import MemoryBus
from volsvc.web.schemas import PredictRequest

ROUNDS = 7
TICKS = 20_000
WINDOW = 50
MINUTES = 5_000


def medians(*works: Callable[[], object]) -> list[float]:
    """Median seconds of each work; the works take turns, so that all meet the same weather."""
    took: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, times in zip(works, took, strict=True):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in took]


def show(name: str, unit: str, ours: float, reference: str, theirs: float) -> None:
    """One row of the table: units a second, the reference's, and their ratio."""
    print(f"| {name} | {ours:,.0f} {unit}/s | {theirs:,.0f} ({reference}) | {ours / theirs:.2f} |")


def bench_window(ticks: Sequence[Tick]) -> None:
    """The exact window against a recomputation of it with numpy at each tick."""
    prices = [tick.feature_price for tick in ticks]
    few = prices[:2_000]

    def exact() -> None:
        window = ReturnWindow(WINDOW)
        for price in prices:
            window.push(price)
            _ = (window.mean, window.std)

    def recomputed() -> None:
        for end in range(2, len(few)):
            returns = np.diff(np.log(few[max(0, end - WINDOW) : end]))
            _ = (returns.mean(), returns.std(ddof=1) if len(returns) > 1 else 0.0)

    ours, theirs = medians(exact, recomputed)
    show("window update", "ticks", len(prices) / ours, "numpy over the window", len(few) / theirs)


def bench_pipeline(ticks: Sequence[Tick], model: Model) -> None:
    """Ticks through the in-process bus and the consumer, against decoding their JSON alone."""
    records = [encode_tick(tick) for tick in ticks]
    fitted = model if model.variant == "ml" else packaged().model

    def through(*, shadow: bool) -> None:
        wish = Wish(model.variant, fitted)
        asyncio.run(_consumed(records, ModelHolder(wish, shadow=shadow)))

    def decoded() -> None:
        for record in records:
            msgspec.json.decode(record.value or b"")

    shadowed, alone, theirs = medians(
        lambda: through(shadow=True), lambda: through(shadow=False), decoded
    )
    name = f"bus to board, {model.variant}"
    show(name, "ticks", len(ticks) / alone, "JSON decoding alone", len(ticks) / theirs)
    show(f"{name}, shadow", "ticks", len(ticks) / shadowed, "without it", len(ticks) / alone)


async def _consumed(records: Sequence[OutRecord], holder: ModelHolder) -> None:
    bus, topics = MemoryBus(), KafkaSettings()
    table = SymbolTable(FeatureSettings())
    consumer = asyncio.create_task(Consumer(bus, topics, table, holder, Board(), Metrics()).run())
    await asyncio.sleep(0)  # the group has to be there before the first record
    for start in range(0, len(records), 512):
        await bus.publish(topics.topic, records[start : start + 512])
    await bus.close()
    await consumer
    assert sum(len(state.history) for state in table) > 0


def bench_generator(ticks: Sequence[Tick]) -> None:
    """Generated ticks, against making the objects alone."""
    spec = GeneratorSpec(("BTC-USD", "ETH-USD", "SOL-USD"), 7, ticks[0].time_ns)

    def generated() -> None:
        assert len(list(islice(Generator(spec).ticks(), TICKS))) == TICKS

    def copied() -> None:
        assert len([msgspec.structs.replace(tick) for tick in ticks]) == TICKS

    ours, theirs = medians(generated, copied)
    show("generator", "ticks", TICKS / ours, "copies of ticks", TICKS / theirs)


def bench_engine() -> None:
    """Minutes through the multi-scale engine with a row each, against the logarithms alone."""
    rng = np.random.default_rng(1)
    closes = 100 * np.exp(np.cumsum(rng.normal(size=MINUTES) * 1e-3))
    prices = closes.tolist()
    bars = [
        MinuteBar(29_459_520 + i, p, p * 1.001, p, 1e-6, 5e-7, 1.0) for i, p in enumerate(prices)
    ]

    def engine() -> None:
        state = MultiScale()
        for bar in bars:
            state.push(bar)
            state.row(bar.minute)

    logs = np.ones(60)

    def reference() -> None:
        for _ in bars:
            np.log(logs)

    ours, theirs = medians(engine, reference)
    show("minute and its row", "minutes", MINUTES / ours, "60 logarithms", MINUTES / theirs)


def bench_model() -> None:
    """Rows of live symbols through the fitted model, against the baseline."""
    model, baseline = packaged().model, Baseline()
    rows = np.tile(golden_rows(), (20, 1))

    def fitted() -> None:
        model.variances(rows, HORIZONS_S)

    def one_by_one() -> None:
        for index in range(100):
            model.variances(rows[index : index + 1], HORIZONS_S)

    batch, reference = medians(fitted, lambda: baseline.variances(rows, HORIZONS_S))
    show("ml, many rows", "rows", len(rows) / batch, "baseline", len(rows) / reference)
    alone, _ = medians(one_by_one, lambda: None)
    show("ml, one row a call", "rows", 100 / alone, "many rows", len(rows) / batch)


def golden_rows() -> np.ndarray[Any, np.dtype[np.float64]]:
    """The artefact's golden rows of live symbols."""
    with np.load(PACKAGED, allow_pickle=False) as file:
        golden = np.asarray(file["golden"], dtype=np.float64)
    return golden[~np.isnan(golden[:, -1])]


def bench_predict() -> None:
    """Validation and model of a request of 1,000 rows, against decoding its JSON alone."""
    row = {"ret_mean": 1e-6, "ret_std": 3e-5, "n": 49, "span_s": 10.0}
    body = msgspec.json.encode({"rows": [row] * 1_000})
    model = Baseline()

    def predicted() -> None:
        rows = PredictRequest.model_validate_json(body).rows
        matrix = np.full((len(rows), len(FEATURES)), np.nan)
        for index, item in enumerate(rows):
            matrix[index, :4] = (item.ret_mean, item.ret_std, item.n, item.span_s)
        model.predict(matrix, 60.0)

    ours, theirs = medians(predicted, lambda: msgspec.json.decode(body))
    show("/predict without HTTP", "rows", 1_000 / ours, "JSON decoding alone", 1_000 / theirs)


def main() -> None:
    """Print a Markdown table."""
    spec = GeneratorSpec(("BTC-USD", "ETH-USD", "SOL-USD"), 7, 1_767_571_200 * 10**9)
    ticks = [item.tick for item in islice(Generator(spec).ticks(), TICKS)]
    where = f"{platform.machine()}, Python {platform.python_version()}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {where}, medians of {ROUNDS} rounds\n")
    print("| path | volsvc | reference | ratio |\n| --- | --- | --- | --- |")
    bench_window(ticks)
    bench_pipeline(ticks, Baseline())
    bench_pipeline(ticks, packaged().model)
    bench_engine()
    bench_model()
    bench_predict()
    bench_generator(ticks)


if __name__ == "__main__":
    main()
