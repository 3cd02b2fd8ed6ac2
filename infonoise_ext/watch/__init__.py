"""What people see of a run: its history, plots and the report."""
