"""What went wrong, in a line."""


def failure_text(error: "BaseException") -> "str":
    """An exception as one short line, with the line of the program that it came from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = " (line %d)" % trace.tb_lineno if trace is not None else ""
    return ("%s: %s" % (type(error).__name__, error))[:300] + where
