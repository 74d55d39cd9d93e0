"""The evidence: cohorts to per-subject figures, figures to tables."""
