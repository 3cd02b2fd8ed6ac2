"""What people see of a run: its history, plots and the report."""

from .history import History

__all__ = ["History"]
