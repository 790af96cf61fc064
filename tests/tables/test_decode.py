from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sublabel.tables._decode import first_elements


@given(
    st.lists(st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3), max_size=20),
    st.integers(0, 5),
)
def test_first_elements_are_those_of_the_lists(lists, start):
    array = pa.array(lists, pa.list_(pa.int32())).slice(start)
    values = first_elements(array, -1)
    expected = [-1 if not entry or entry[0] is None else entry[0] for entry in lists[start:]]
    assert values.tolist() == expected
