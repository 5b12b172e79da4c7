"""The public functions and result classes; `surgery` offers them by name."""
