"""The methods of the monitoring: each works on aggregates and knows nothing of days and alarms."""
