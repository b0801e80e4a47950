"""An array or group -> what is stored of it, held against what was written: a report that says what to write again."""

from daskzarr.verification.report import GroupReport, Level, VerifyReport
from daskzarr.verification.verb import verify

__all__ = ["GroupReport", "Level", "VerifyReport", "verify"]
