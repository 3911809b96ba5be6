"""Figures of limits that the pages give in words are those of the code."""

from __future__ import annotations

import gzip

import pytest

from tests.docs.blocks import ROOT
from volsvc.client import Retries
from volsvc.commands.feeds import FLUSH_S
from volsvc.domain.forecast import COVERAGE, SECONDS_PER_YEAR
from volsvc.drift import distance, monitor, reference
from volsvc.features import forecast_history, tick_order
from volsvc.features.kernels import tick_check
from volsvc.models import artefact
from volsvc.pipeline import refused_ticks
from volsvc.scoring import sequential_test
from volsvc.serving import (
    artefact_cache,
    audit_log,
    controller,
    registry_breaker,
    registry_client,
)
from volsvc.sources import recorder
from volsvc.sources.live import message_reader, reconnect, source
from volsvc.telemetry import limited_warnings
from volsvc.training.fit import FitSpec
from volsvc.training.walkforward import DAY
from volsvc.web import admission, compression, problems
from volsvc.web.routes import predict, stream
from volsvc.web.server import connection as http

KIB, MIB = 1024, 1024**2
RETRIES = Retries()
DAYS_OF_A_FIT = FitSpec().burn_in_minutes / DAY + 7
PAGE_FILES = (ROOT / "volsvc" / "web" / "static" / "page").iterdir()
PAGE_BYTES = sum(len(gzip.compress(path.read_bytes())) for path in PAGE_FILES)
# A page, a figure as it stands there, what the code has, and what the words mean.
FIGURES = [
    ("README.md", "a year has 31,557,600 seconds", SECONDS_PER_YEAR, 31_557_600),
    ("README.md", '"coverage": 0.9,', COVERAGE, 0.9),
    ("docs/api.md", "bodies above 32 KiB, or above 4", predict.INLINE_BYTES, 32 * KIB),
    ("docs/api.md", "above 4 KiB with `handling=lenient`", predict.INLINE_LENIENT_BYTES, 4 * KIB),
    ("docs/api.md", "`handling=lenient`) | 16 |", admission.MAX_BATCHES, 16),
    ("docs/api.md", "one header; 100 headers", http.MAX_HEADERS, 100),
    ("docs/api.md", "one per ten seconds of event time", forecast_history.EVERY_S, 10),
    (
        "docs/api.md",
        "`forecasts` are those of the last hour",
        forecast_history.FORECASTS * forecast_history.EVERY_S,
        3_600,
    ),
    ("docs/api.md", "a comment follows 15 seconds of silence", stream.HEARTBEAT_S, 15),
    ("docs/api.md", "at most 100 of them", problems.MAX_ERRORS, 100),
    (
        "docs/api.md",
        "Answers of 2 KiB and more are compressed",
        compression.GZIP_FROM_BYTES,
        2 * KIB,
    ),
    ("docs/client.md", "A call is made at most four times", RETRIES.attempts, 4),
    ("docs/client.md", "up to 0.2 s, then 0.4 s", RETRIES.base_s, 0.2),
    ("docs/client.md", "then 0.4 s, up to 5 s", RETRIES.max_s, 5),
    ("docs/client.md", "more than half a minute", RETRIES.longest_wait_s, 30),
    ("docs/drift.md", "at 39 quantiles of the reference", len(distance.LEVELS), 39),
    ("docs/drift.md", "over ten bins", distance.PSI_BINS, 10),
    ("docs/drift.md", "Beyond its 70 % quantile", reference.TAIL_FROM, 0.7),
    ("docs/drift.md", "30 rows of a symbol", reference.MIN_LENGTH, 30),
    ("docs/drift.md", "40 blocks of the reference", reference.MIN_BLOCKS, 40),
    ("docs/drift.md", "reports of the last 20 windows", monitor.MAX_REPORTS, 20),
    (
        "docs/live.md",
        "twenty in a row end the connection",
        message_reader.MAX_MALFORMED_IN_A_ROW,
        20,
    ),
    ("docs/live.md", "5 % of the time since data", 100 * reconnect.OUTAGE_SHARE, 5),
    ("docs/live.md", "at most two minutes", reconnect.OUTAGE_MAX_S, 120),
    ("docs/live.md", "from 4 s to", reconnect.DECLINED_BASE_S, 4),
    ("docs/live.md", "to five minutes", reconnect.DECLINED_MAX_S, 300),
    ("docs/live.md", "an hour at most", reconnect.LONGEST_PAUSE_S, 3_600),
    ("docs/live.md", "in the next two minutes", reconnect.REFUSED_LEAST_S, 120),
    ("docs/live.md", "up to half an hour", reconnect.REFUSED_MAX_S, 1_800),
    ("docs/live.md", "message of more than 16 MiB", message_reader.MAX_MESSAGE_MIB, 16),
    ("docs/live.md", "once 20 messages in a row", message_reader.MAX_REFUSED_IN_A_ROW, 20),
    ("docs/live.md", "one a minute with the number since", limited_warnings.EVERY_S, 60),
    ("docs/live.md", "after three ticks", refused_ticks.LEAST_TICKS, 3),
    ("docs/live.md", "and five seconds without", refused_ticks.LEAST_S, 5),
    ("docs/live.md", "after a thousand messages", source.MAX_QUEUED_BATCHES, 1_000),
    ("docs/live.md", "ends at 200,000 rows", recorder.MAX_PARQUET_ROWS, 200_000),
    ("docs/live.md", "rows reach the file once a second", FLUSH_S, 1),
    ("docs/models.md", "an `.npz` of at most 64 MB", artefact.MAX_BYTES, 64 * MIB),
    ("docs/models.md", "under `data_dir/models`, at most five", artefact_cache.MAX_ARTEFACTS, 5),
    ("docs/models.md", "a call takes at most 3 s", registry_client.CALL_TIMEOUT_S, 3),
    ("docs/models.md", "After three failures in a row", registry_breaker.OPENS_AFTER, 3),
    ("docs/models.md", "at most ten times `poll_s`", controller.LONGEST_PAUSE, 10),
    ("docs/models.md", "At 256 KB a new file is begun", audit_log.MAX_BYTES, 256 * KIB),
    ("docs/models.md", "a new file is begun. Twenty are kept", audit_log.MAX_FILES, 20),
    ("docs/models.md", "(QLIKE, cut at 4)", sequential_test.MAX_LOSS, 4),
    ("docs/models.md", "seven sizes of bet", len(sequential_test.FRACTIONS), 7),
    ("docs/models.md", "a probability of at most 5 %", sequential_test.LEVEL, 0.05),
    ("docs/models.md", "the wealth reaches 20 with", 1 / sequential_test.LEVEL, 20),
    ("docs/page.md", "50 kB in all (compressed)", round(PAGE_BYTES / 1_000), 50),
    ("docs/runbook.md", "Twenty unreadable messages", message_reader.MAX_MALFORMED_IN_A_ROW, 20),
    (
        "docs/setup.md",
        "at least 37 days of one-minute bars",
        FitSpec().burn_in_minutes / DAY + 7,
        37,
    ),
    ("docs/topics.md", "among the last 64 of its symbol", tick_check.MAX_RECENT, 64),
    ("docs/topics.md", "one of the last 64 ticks", tick_check.MAX_RECENT, 64),
    ("docs/topics.md", "more than 60 s of silence", tick_check.SILENCE_NS, 60 * 10**9),
    ("docs/topics.md", "as soon as 64 later ids have come", tick_check.LATER_IDS, 64),
    ("docs/topics.md", "more than 10 s of event time newer", tick_check.LATER_NS, 10 * 10**9),
    ("docs/topics.md", "of more than 64 ids is an outage", tick_check.MAX_MISSING, 64),
    ("docs/topics.md", "at most 4,096 of a symbol", tick_order.MAX_WAITING, 4_096),
]


@pytest.mark.parametrize(("page", "words", "real", "shown"), FIGURES, ids=lambda value: str(value))
def test_a_figure_is_that_of_the_code(page: str, words: str, real: float, shown: float) -> None:
    """The page still says so, and the code still does so."""
    assert words in " ".join((ROOT / page).read_text().split())
    assert real == pytest.approx(shown)
