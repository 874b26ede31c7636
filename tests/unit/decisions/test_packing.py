import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from greenlane.decisions.packing import pack, unpack
from greenlane.features.definition import MARKS, NEVER

edges = (0, 1, -1, 2**60, -(2**60), 2**60 - 1, 2**63 - 1, *MARKS)
vectors = st.lists(
    st.one_of(st.sampled_from(edges), st.integers(NEVER, 2**63 - 1), st.integers(-(2**60), 2**60)), max_size=60
)


@given(vectors)
@settings(max_examples=200, deadline=None)
def test_what_is_packed_is_read_back(values: list[int]) -> None:
    assert unpack(pack(np.array(values, np.int64)), len(values)).tolist() == values


def test_small_numbers_and_marks_take_a_byte_or_two() -> None:
    assert len(pack(np.array([0, 1, 15, -16, NEVER, *MARKS], np.int64))) <= 12
