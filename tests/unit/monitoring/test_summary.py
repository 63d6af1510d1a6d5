"""What the shadow says of a candidate, in words."""

import pytest

from heartline.monitoring import summary
from heartline.monitoring.report import Interval, Shadow


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (Interval(0.012, -0.004, 0.028), "; its Brier score is lower by 0.012 (-0.004 to 0.028)."),
        (Interval(-0.010, -0.030, 0.005), "; its Brier score is higher by 0.010 (-0.005 to 0.030)."),
        (None, "decided at 20)."),
    ],
)
def test_a_score_is_lower_or_higher(difference, said):
    shadow = Shadow("7", 800, 10, 6, 0.2, 120, difference, 3.5, 0.1, 20.0)
    assert summary.of_shadow(shadow).endswith(said)
