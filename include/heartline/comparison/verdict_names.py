"""The verdicts of a model comparison, as the pages, MLflow's tags and the hand-overs spell them."""

BETTER = "better"
WORSE = "worse"
TOO_SMALL = "too small to matter"
PROBABILITIES = "probabilities may be worse"
NO_DIFFERENCE = "no detectable difference"
VETOED = "vetoed"
