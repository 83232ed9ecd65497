"""Readers for known data sets: files in the layout in which they are published -> Raw. One file per data set."""
