"""Measuring and comparing music: metrics, near-duplicates, sections."""
