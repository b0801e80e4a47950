"""Stored arrays <-> dask arrays. The only folder that touches Dask's graph classes."""
