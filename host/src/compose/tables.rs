//! Result tables: limits, cells, and the line that says how much is shown.
