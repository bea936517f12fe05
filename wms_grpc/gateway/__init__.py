"""Workflow languages, read into one model and written from it.

A library as well: it needs neither server nor database, opens no path and no connection, and
bounds what it reads.
"""
