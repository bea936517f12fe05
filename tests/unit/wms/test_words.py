"""Numbers and names in sentences."""

from __future__ import annotations

import pytest

from wms_grpc.domain.words import first_few


@pytest.mark.parametrize(
    ("n_names", "expected"),
    [
        (1, "0"),
        (5, "0, 1, 2, 3, 4"),
        (6, "0, 1, 2, 3, 4 and 1 other"),
        (12, "0, 1, 2, 3, 4 and 7 others"),
    ],
)
def test_the_first_few_are_named_and_the_others_counted(n_names: int, expected: str) -> None:
    assert first_few([str(number) for number in range(n_names)], 5) == expected
