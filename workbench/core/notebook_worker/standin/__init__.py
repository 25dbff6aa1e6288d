"""Modules that Kaggle's image has and this machine may not; a notebook imports them by their own names."""
