"""Files under construction, for the modules of tables."""

from sublabel._files import create_partial, remove_abandoned

__all__ = ["create_partial", "remove_abandoned"]
