"""How a check says which property is broken, and what shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sublabel.errors import SublabelError


class BrokenPropertyError(SublabelError):
    """A plug-in does not hold what all of its sort must.

    Args:
        subject: The plug-in, as it prints.
        name: The property, as a sentence that should be true.
        shown: What was found instead.
        example: The smallest input that shows it; empty where there is no input.
    """

    def __init__(self, subject: str, name: str, shown: str, example: str = "") -> None:
        super().__init__(
            f"{subject} breaks the property “{name}”: {shown}" + (f"\n{example}" if example else "")
        )
        self.subject, self.name, self.shown, self.example = subject, name, shown, example


class Properties:
    """The properties of one plug-in.

    Args:
        subject: The plug-in, as it prints.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject

    def require(self, holds: object, name: str, shown: object) -> None:
        """State a property.

        Args:
            holds: Whether it does; false is broken.
            name: The property, as a sentence that should be true.
            shown: What was found.

        Raises:
            BrokenPropertyError: It does not.
        """
        if not holds:
            raise BrokenPropertyError(self.subject, name, str(shown))

    @contextmanager
    def works(self, name: str, may_refuse: tuple[type[SublabelError], ...] = ()) -> Iterator[None]:
        """State that a block of code works.

        Args:
            name: The property that any error breaks.
            may_refuse: Errors of the library that may leave the block: the plug-in refuses its input.

        Raises:
            BrokenPropertyError: Another error came out of the block.
        """
        try:
            yield
        except BrokenPropertyError:
            raise
        except may_refuse:
            raise
        except Exception as error:
            raise BrokenPropertyError(
                self.subject, name, f"it raised {type(error).__name__}: {error}"
            ) from error
