"""What the monitoring is measured beside: simulated years, the usual rules, and Evidently and NannyML."""
