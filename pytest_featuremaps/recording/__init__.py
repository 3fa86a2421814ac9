"""Hooks on, values in, hooks surely off."""
