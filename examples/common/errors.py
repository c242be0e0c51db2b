"""What goes wrong through no fault of the program."""


class UserError(Exception):
    """A mistake in the input, told in one line: what came, where, and what is accepted.

    The command line prints it to stderr and leaves with exit code 2.
    """
