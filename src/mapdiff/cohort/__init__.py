"""A multi-dose cohort on disk: layout, subjects, splits, patch sampling."""
