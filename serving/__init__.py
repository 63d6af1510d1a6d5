"""The REST service of Heartline: it answers with the model that the registry's alias names, and never without one."""

import os

# Read when onnxruntime is imported: its telemetry thread would hang forked children at their exit.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
