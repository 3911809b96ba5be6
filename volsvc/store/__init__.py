"""The memory of a daemon: a SQLite file from which it goes on after a restart."""

from volsvc.store.database import DamagedStoreError, StoreError
from volsvc.store.event_table import EventQuery, KeptEvent
from volsvc.store.minute_rows import AFTER_GAP, MINUTE_ROW, PARTIAL
from volsvc.store.minute_table import Minutes
from volsvc.store.reader import StoreReader
from volsvc.store.retention import Retention
from volsvc.store.store import Feed, Store, StoreEvents

__all__ = [
    "AFTER_GAP",
    "MINUTE_ROW",
    "PARTIAL",
    "DamagedStoreError",
    "EventQuery",
    "Feed",
    "KeptEvent",
    "Minutes",
    "Retention",
    "Store",
    "StoreError",
    "StoreEvents",
    "StoreReader",
]
