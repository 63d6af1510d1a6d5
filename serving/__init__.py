"""The REST service of Heartline. It predicts with the model under the registry's alias."""

import os

# read when onnxruntime is imported: its telemetry thread would block forked children at their exit
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
