"""Trials, one bag per trial, success observers, statistics and reports."""
