"""Fields of records, which kernels and Python read alike."""

from __future__ import annotations

import numpy as np
import pytest

from volsvc.compiled import record_type


def test_fields_are_attributes() -> None:
    """An element of an array has each field as an attribute, nested ones too."""
    dtype = record_type([("price", "f8"), ("bar", record_type([("close", "f8")]))])
    array = np.zeros(2, dtype)
    array[1].price = 1.5
    array[1].bar.close = 2.5
    assert array.tolist() == [(0.0, (0.0,)), (1.5, (2.5,))]


@pytest.mark.parametrize("name", ["size", "sum", "data", "T"])
def test_a_field_is_not_hidden_by_an_attribute(name: str) -> None:
    """Python would read the attribute where compiled code reads the field."""
    with pytest.raises(ValueError, match=f"^'{name}' cannot be a field"):
        record_type([("price", "f8"), (name, "f8")])
