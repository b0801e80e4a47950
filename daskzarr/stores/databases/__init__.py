"""Databases as stores: bytes under keys in a file or on a server."""
