"""What people see: logs, the view of a run, and summaries."""
