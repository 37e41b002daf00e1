"""Bytes and values of the wire: no await, no files, no clock, no HTTP library."""
