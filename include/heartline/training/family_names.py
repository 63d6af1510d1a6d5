"""The names of the model families; it imports nothing, so that a DAG file can read them at each parse."""

LOGISTIC_REGRESSION = "logistic_regression"
RANDOM_FOREST = "random_forest"

FAMILY_NAMES = (LOGISTIC_REGRESSION, RANDOM_FOREST)
