"""Comparing variants of a run over seeds: a plan, its cells run as whole pipeline runs, tables and pictures."""
