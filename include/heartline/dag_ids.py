"""The ids of the DAGs, for the DAG files, the plugins and the local stack. It imports nothing."""

TRAINING = "heart_training"
APPROVAL = "heart_approval"
SCORING = "heart_scoring"
MONITORING = "heart_monitoring"
